"""A real HTTP server that speaks as much of the OpenAI protocol as the wheel asks for: proxy or engine."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class TinyEngine:
    """What it answers, and what it was asked."""

    answer: Callable[[str, str], str] = lambda model, question: "Injury"
    """(model, question) → text; may raise KeyError: the model is not known."""
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies, with the tags header as "tags" and the path as "path"."""
    url: str = ""


def _handler(engine: TinyEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

        def do_GET(self) -> None:
            self.reply(200, {"object": "list", "data": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            engine.asked.append({**body, "path": self.path, "tags": self.headers.get("x-flywheel-tags", "")})
            if engine.status != 200:
                self.reply(engine.status, {"error": {"message": "not today"}})
                return
            question = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
            try:
                text = engine.answer(body["model"], question)
            except KeyError:
                self.reply(404, {"error": {"message": f"no model {body['model']}"}})
                return
            choice = {"index": 0, "finish_reason": "stop", "text": text,
                      "message": {"role": "assistant", "content": text}}  # fmt: skip
            self.reply(200, {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
                             "choices": [choice]})  # fmt: skip

        def reply(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.send_header("x-flywheel-exchange-id", str(uuid.uuid4()))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@contextmanager
def serve(engine: TinyEngine) -> Iterator[TinyEngine]:
    """On a free port, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine))
    server.daemon_threads = True
    engine.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
