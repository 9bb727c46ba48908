"""A small engine and a proxy in front of it, on real sockets, for tests.

The engine answers as vLLM does: recorded requests with their recorded answers, and others by what the last
message orders ("die", "hang", "HTTP 500" …). It keeps what it was sent.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvicorn
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from inference import records
from inference.exchange import Exchange
from inference.proxy import Proxy, Settings
from inference.rows import Record
from inference.spool import SpoolReader
from tests.inference.recorded import PAIRS

SECRET = "fw-test"
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Run an ASGI application; gives its base address."""
    config = uvicorn.Config(
        app, port=0, log_level="error", ws="none", http="httptools", timeout_graceful_shutdown=1
    )
    config.load()
    server = uvicorn.Server(config)
    # Without ``serve`` and ``shutdown``, which wait in steps of a tenth of a second and take the signals.
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    assert server.started, "the server did not start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    """Let running answers end, a second long; then end them."""
    for listener in server.servers:
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    if tasks := set(server.server_state.tasks):
        _, late = await asyncio.wait(tasks, timeout=1)
        for task in late:
            task.cancel()
    await server.lifespan.shutdown()


@contextlib.asynccontextmanager
async def listening(app: Proxy) -> AsyncIterator[str]:
    """Run a proxy; gives its base address."""
    await app.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{app.server.port}"
    finally:
        await app.stop(grace_seconds=1)


def piece(text: str, finish: str | None = None) -> bytes:
    """One event of a chat, without tokens."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "x", "model": "smollm2-135m", "choices": [choice]}) + b"\n\n"


@dataclass
class Engine:
    """The engine, and what it saw."""

    asked: list[tuple[str, Message, dict[str, str]]] = field(default_factory=list)
    """Path, body and headers of each request."""
    left: int = 0
    """How many requests were broken off by whoever asked."""
    refuses_logprobs: bool = False
    is_well: bool = True
    """What it says when its health is asked for."""
    capture: Message | None = None
    """What it says of its capture plugin; None: it has none."""
    usage: Message | None = None
    """What an echo says it came to."""
    most_logprobs: int = 20
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """What a stream waits for after its first piece when it is told to wait."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/health":
            await reply(send, 200 if self.is_well else 503, {})
            return
        if scope["path"] == "/flywheel/capture":
            await reply(send, 200 if self.capture else 404, self.capture or {})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = orjson.loads(body)
        sent = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["path"], asked, sent))
        answer = asyncio.create_task(self._answer(scope["path"], asked, send))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        self.left += not answer.done()
        gone.cancel()
        answer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answer

    async def _answer(self, path: str, asked: Message, send: Send) -> None:
        if self.refuses_logprobs and asked.get("logprobs") is not None:
            await reply(send, 400, {"error": {"message": "logprobs are not supported", "code": 400}})
            return
        for pair in PAIRS.values():
            if pair.path == path and asked in (pair.request, pair.injected):
                found = pair.captured if asked == pair.injected else pair.plain
                await begin(send, found.status, found.type)
                for at in range(0, len(found.body), 1500):
                    part = found.body[at : at + 1500]
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body"})
                return
        if (asked.get("top_logprobs") or 0) > self.most_logprobs:
            why = f"Requested sample logprobs of 9, which is greater than max allowed: {self.most_logprobs}"
            await reply(send, 400, {"error": {"message": why, "code": 400}})
            return
        if path == "/tokenize" and "messages" not in asked:
            await begin(send, 200, "application/json")
            said = b'{"count": 2,  "max_model_len":1024,"tokens":[1,2],"token_strs":null}'
            await send({"type": "http.response.body", "body": said})
            return
        order = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
        await getattr(self, f"_{str(order).replace(' ', '_')}", self._echo)(asked, send)

    async def _echo(self, asked: Message, send: Send) -> None:
        text = str(asked.get("messages", asked.get("prompt")))
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
            usage = {"usage": self.usage} if self.usage else {}
            await reply(send, 200, {"model": asked["model"], "choices": [choice], **usage})
            return
        last = b"data: " + orjson.dumps({"choices": [], "usage": self.usage}) + b"\n\n" if self.usage else b""
        await stream(send, piece(text), piece("", "stop"), last, b"data: [DONE]\n\n")

    async def _quarrel(self, asked: Message, send: Send) -> None:
        if asked.get("logprobs") is not None:
            await reply(send, 400, {"error": {"message": "not with these stop words", "code": 400}})
        else:
            await self._echo(asked, send)

    async def _HTTP_500(self, asked: Message, send: Send) -> None:
        await reply(send, 500, {"error": {"message": "out of memory", "code": 500}})

    async def _HTTP_429(self, asked: Message, send: Send) -> None:
        await reply(send, 429, {"error": {"message": "busy", "code": 429}})

    async def _come_later(self, asked: Message, send: Send) -> None:
        head = [(b"content-type", b"application/json"), (b"retry-after", b"7")]
        head.append((b"X-RateLimit-Limit-Requests", b"9"))
        await send({"type": "http.response.start", "status": 429, "headers": head})
        await send({"type": "http.response.body", "body": b'{"error":{"message":"busy"}}'})

    async def _a_page(self, asked: Message, send: Send) -> None:
        await begin(send, 502, "text/html")
        await send({"type": "http.response.body", "body": b"<h1>Bad gateway</h1>"})

    async def _no_json(self, asked: Message, send: Send) -> None:
        await begin(send, 200, "application/json")
        await send({"type": "http.response.body", "body": b"{oops"})

    async def _hang(self, asked: Message, send: Send) -> None:
        await asyncio.sleep(3600)

    async def _begin_and_hang(self, asked: Message, send: Send) -> None:
        await begin(send, 200, "text/event-stream")
        await send({"type": "http.response.body", "body": piece("one"), "more_body": True})
        await asyncio.sleep(3600)

    async def _begin_and_stop(self, asked: Message, send: Send) -> None:
        await stream(send, piece("one"))

    async def _error_inside(self, asked: Message, send: Send) -> None:
        await stream(send, piece("one"), b'data: {"error":{"message":"cuda"}}\n\n', b"data: [DONE]\n\n")

    async def _malformed(self, asked: Message, send: Send) -> None:
        await stream(send, piece("one"), b"data: {oops\n\n", b"data: [DONE]\n\n")

    async def _wait(self, asked: Message, send: Send) -> None:
        await begin(send, 200, "text/event-stream")
        await send({"type": "http.response.body", "body": piece("one"), "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": piece("two", "stop") + b"data: [DONE]\n\n"})


async def begin(send: Send, status: int, kind: str) -> None:
    """Send an answer's head."""
    headers = [(b"content-type", kind.encode()), (b"x-engine", b"double")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def reply(send: Send, status: int, body: Any) -> None:
    """Send a JSON answer."""
    await begin(send, status, "application/json")
    await send({"type": "http.response.body", "body": orjson.dumps(body)})


async def stream(send: Send, *events: bytes) -> None:
    """Send an event stream, event by event, and end it."""
    await begin(send, 200, "text/event-stream")
    for event in events:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body"})


def snapshot(*engines: str, number: int = 1, secret: str = SECRET, **route: Any) -> Message:
    """A routing snapshot: the key SECRET, the route "desk", one version on these engines."""
    return {
        "version": number,
        "keys": {
            sha256(secret.encode()).hexdigest(): {
                "id": 1,
                "name": "clinic",
                "routes": None,
                "expires_at": None,
                "may_call_versions": True,
            }
        },
        "routes": {
            "desk": {
                "capture": "all",
                "top_k": 5,
                "durability": "strict",
                "disk_full": "refuse",
                "revision": 0,
                "created": 1_700_000_000,
                "targets": [{"version": "smollm2-135m", "weight": 100}],
                **route,
            }
        },
        "versions": {
            "smollm2-135m": {
                "weights": "a" * 64,
                "base_weights": "a" * 64,
                "tokenizer": "c" * 64,
                "kind": "base",
                "upstreams": [f"e{position}" for position in range(len(engines))],
            }
        },
        "upstreams": {
            f"e{position}": {"base_url": url, "secret_env": "", "logprobs_mode": "raw_logprobs"}
            for position, url in enumerate(engines)
        },
    }


@dataclass
class Running:
    """A running proxy and a way to call it."""

    url: str
    app: Proxy
    settings: Settings
    http: aiohttp.ClientSession
    openai: AsyncOpenAI

    async def post(
        self, body: Any, path: str = "/v1/chat/completions", secret: str = SECRET, **headers: str
    ) -> tuple[int, Any, bytes]:
        """Post JSON (or raw bytes); gives status, headers and body."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"authorization": f"Bearer {secret}"} if secret else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(self.url + path, data=data, headers=sent) as response:
            return response.status, response.headers, await response.read()

    async def raw(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Ask for a path as it stands, with the key; gives status and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rsplit(":", 1)[1]))
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\nconnection: close\r\n"
        )
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, content = said.decode().partition("\r\n\r\n")
        return int(head.split(" ")[1]), content.encode()

    async def exchanges(self, count: int) -> list[Exchange]:
        """The spool's exchanges, once there are ``count``."""
        while len(found := self.spooled()) < count:  # noqa: ASYNC110 – another thread writes them
            await asyncio.sleep(0.01)
        assert len(found) == count
        return found

    def spooled(self) -> list[Exchange]:
        """What exchanges the spool holds now."""
        return [record for record in self.records() if isinstance(record, Exchange)]

    def records(self) -> list[Record]:
        """Everything that the spool holds now."""
        with SpoolReader(self.settings.spool) as reader:
            found = [records.parse(raw) for _, raw in reader.read(10_000)]
        return [record for record in found if record is not None]


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """A proxy, and clients of it."""
    app = Proxy(settings)
    async with (
        listening(app) as url,
        aiohttp.ClientSession() as http,
        # No TLS here, and reading every authority's certificate for each test takes an eighth of all time.
        DefaultAsyncHttpxClient(verify=False) as plain,
        AsyncOpenAI(base_url=url + "/v1", api_key=SECRET, max_retries=0, http_client=plain) as client,
    ):
        yield Running(url, app, settings, http, client)


@contextlib.asynccontextmanager
async def proxying(
    home: Path, *engines: str, found: Message | None = None, web_url: str = "", **settings: Any
) -> AsyncIterator[Running]:
    """A proxy in front of engines, started from a kept snapshot; with web away, unless it has an address."""
    kept = home / "proxy" / "snapshot.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(orjson.dumps(snapshot(*engines) if found is None else found))
    web_url = web_url or f"http://127.0.0.1:{free_port()}"
    async with running(Settings(home, home / "spool", web_url, "token", "proxy", **settings)) as one:
        yield one


def call(order: str, **more: Any) -> Message:
    """A chat whose last message tells the engine what to do."""
    return {"model": "desk", "messages": [{"role": "user", "content": order}], **more}
