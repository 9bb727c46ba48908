"""The server in front of the engines: who may call, what they may ask for, and what it tells about itself.

A raw ASGI application; what happens within one call is in inference.call. Run it with
``python -m inference.proxy --port 8080 --name proxy-1``. No Django, no database, no ClickHouse.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvicorn

from inference import errors, headers
from inference.call import PATHS, Call, Message, Receive, Room, Send
from inference.errors import Refusal
from inference.follower import Follower
from inference.metrics import Metrics
from inference.routing import Key, Snapshot
from inference.spool import Spool
from inference.upstream import Upstreams

log = logging.getLogger(__name__)
_MODELS = "/v1/models"
Page = Callable[[], tuple[int, bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are, and the limits."""

    home: Path
    spool: Path
    web_url: str
    token: str
    name: str
    body_limit: int = 32 << 20
    spool_limit: int = 20 << 30
    silence_seconds: float = 300.0
    """How long an engine may say nothing."""

    @classmethod
    def from_environment(cls, name: str) -> "Settings":
        """From FLYWHEEL_*; docs/operate.md lists them."""
        home = Path(os.environ.get("FLYWHEEL_HOME", "var")).resolve()
        return cls(
            home=home,
            spool=Path(os.environ.get("FLYWHEEL_SPOOL", home / "spool")),
            web_url=os.environ.get("FLYWHEEL_WEB_URL", "http://127.0.0.1:8000"),
            token=os.environ.get("FLYWHEEL_INTERNAL_TOKEN", ""),
            name=name,
            body_limit=int(os.environ.get("FLYWHEEL_BODY_LIMIT", f"{32 << 20}")),
            spool_limit=int(os.environ.get("FLYWHEEL_SPOOL_LIMIT", f"{20 << 30}")),
            silence_seconds=float(os.environ.get("FLYWHEEL_ENGINE_SILENCE", "300")),
        )


class Proxy:
    """The ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.spool = Spool(settings.spool, limit_bytes=settings.spool_limit)
        self.follower = Follower(
            settings.web_url, settings.token, settings.name, settings.home / "proxy" / "snapshot.json"
        )
        self._upstreams = Upstreams(settings.silence_seconds)
        self._room = Room(
            self.follower, self.spool, self._upstreams, self.metrics, settings.name, settings.body_limit
        )
        self._pages: dict[str, Page] = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def start(self) -> None:
        """Open the spool and the connections, and begin to follow the routes."""
        self.spool.start()
        await self._upstreams.start()
        self.follower.load()
        self._following = asyncio.create_task(self.follower.follow(self._changed))

    async def stop(self) -> None:
        """Close what start opened; every recording that was closed is on disk after it."""
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following
        await self._upstreams.stop()
        await self.spool.stop()

    async def _live(self, receive: Receive, send: Send) -> None:
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...]
        steps = (("startup", self.start), ("shutdown", self.stop))
        for step, act in steps:
            await receive()
            try:
                await act()
            except Exception as error:
                log.exception("%s failed", step)
                await send({"type": f"lifespan.{step}.failed", "message": str(error)})
                return
            await send({"type": f"lifespan.{step}.complete"})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if page := self._pages.get(path):
            await _answer(send, *page())
            return
        is_models = path == _MODELS or path.startswith(_MODELS + "/")
        if path not in PATHS and not is_models:
            await _refuse(send, errors.not_found(path))
            return
        secret = headers.secret(dict(scope["headers"]))
        key = self.follower.snapshot.authorise(secret, time.time()) if secret else None
        if key is None:
            self.metrics.unauthenticated.inc()
            await _refuse(send, errors.unauthenticated())
        elif method != ("GET" if is_models else "POST"):
            await _refuse(send, errors.wrong_method(method, path))
        elif is_models:
            await self._models(send, key, path.removeprefix(_MODELS).removeprefix("/"))
        else:
            with self.metrics.in_flight.track_inprogress():
                await Call(self._room, key, scope, receive, send).serve()

    async def _models(self, send: Send, key: Key, name: str) -> None:
        found = [
            {"id": route.name, "object": "model", "created": route.created, "owned_by": "flywheel"}
            for route in self.follower.snapshot.routes_for(key)
            if name in ("", route.name)
        ]
        if not name:
            await _answer(send, 200, orjson.dumps({"object": "list", "data": found}))
        elif found:
            await _answer(send, 200, orjson.dumps(found[0]))
        else:
            await _refuse(send, errors.unknown_model(f"The model '{name}' does not exist."))

    def _changed(self, snapshot: Snapshot) -> None:
        log.info("routing snapshot %d is in force", snapshot.number)

    def _health(self) -> tuple[int, bytes, bytes]:
        return 200, b'{"status":"ok"}', b"application/json"

    def _ready(self) -> tuple[int, bytes, bytes]:
        """Whether calls can be served now, and if not, why not."""
        why = self.spool.error and f"the spool takes nothing: {self.spool.error}"
        if not self.follower.known:
            why = "no routing snapshot yet"
        state = {
            "status": "not ready" if why else "ready",
            "why": why,
            "snapshot": self.follower.snapshot.number,
        }
        return 503 if why else 200, orjson.dumps(state), b"application/json"

    def _metrics(self) -> tuple[int, bytes, bytes]:
        self.metrics.spool_bytes.set(self.spool.disk_bytes())
        self.metrics.spool_queued.set(self.spool.queued_bytes)
        self.metrics.spool_healthy.set(not self.spool.error)
        self.metrics.snapshot.set(self.follower.snapshot.number)
        return 200, self.metrics.page(), b"text/plain; version=0.0.4; charset=utf-8"


async def _answer(send: Send, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    sent = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Send, refusal: Refusal) -> None:
    await _answer(send, refusal.status, refusal.body)


def main() -> None:
    """Serve until told to stop; calls in flight may take half a minute to end."""
    parser = argparse.ArgumentParser(prog="python -m inference.proxy", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--name", default=socket.gethostname(), help="How web lists this proxy.")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        Proxy(Settings.from_environment(options.name)),
        host=options.host,
        port=options.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
