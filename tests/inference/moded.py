"""An engine in a logprobs mode: what vLLM 0.32 on a CPU answered in each of the four, over a real socket.

``modes.json`` has, by mode and temperature, the logprobs of its answers to inference.logprobs_mode's request,
rounded to four places.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORDED: dict[str, dict[str, dict[str, Any]]] = json.loads(
    Path(__file__).with_name("modes.json").read_text()
)


@dataclass
class Moded:
    """What it answers, and what it was asked."""

    mode: str = "raw_logprobs"
    plugin: Any = None
    """What its capture plugin says; None: it has none."""
    secret: str = ""
    status: int = 200
    body: Any = None
    """Of every completion, in the place of what was recorded."""
    models: Any = field(default_factory=lambda: {"data": [{"id": "smollm2-135m"}]})
    elsewhere: str = ""
    """Where it sends everybody."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    """Path and body."""

    def answer(self, path: str, body: Any, key: str) -> tuple[int, Any]:
        self.asked.append((path, body))
        if path == "/flywheel/capture":
            return (404, {}) if self.plugin is None else (200, self.plugin)
        if self.elsewhere:
            return 307, {}
        if self.secret and key != f"Bearer {self.secret}":
            return 401, {"error": "Unauthorized"}
        if path == "/v1/models":
            return 200, self.models
        if path != "/v1/completions":
            return 404, {}
        if self.body is not None or self.status != 200:
            return self.status, self.body
        return 200, {"choices": [{"logprobs": RECORDED[self.mode][str(body["temperature"])]}]}


@contextmanager
def engine(moded: Moded) -> Iterator[str]:
    """Serve it; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _reply(self, body: Any) -> None:
            status, said = moded.answer(self.path, body, self.headers.get("authorization", ""))
            content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("location", moded.elsewhere)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
