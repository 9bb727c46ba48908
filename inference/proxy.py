"""The server in front of the engines: who may call, what they may ask for, and what it tells about itself.

What happens within one call is in inference.call; bytes and connections are in inference.http1. Run it with
``python -m inference.proxy --port 8080 --name proxy-1``. No Django, no database, no ClickHouse.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

import orjson
import uvloop

from inference import errors, headers, memory
from inference.call import Call, Room
from inference.checks import Checks
from inference.counters import Counters
from inference.cutting import IS_COMPILED
from inference.errors import Refusal
from inference.follower import Follower
from inference.http1.client import Client
from inference.http1.request import Request
from inference.http1.server import Limits, Server
from inference.intake import Intake
from inference.metrics import Metrics
from inference.report import spool_name
from inference.routing import Key, Snapshot, Upstream
from inference.spool import Keys, Spool, SpoolBusyError
from inference.surfaces import SURFACES, Surface
from inference.upstream import Upstreams

log = logging.getLogger(__name__)
_MODELS = "/v1/models"
_GRACE_SECONDS = 30.0
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
    health_seconds: float = 5.0
    """Between health checks of the engines; 0: none."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Where keys' limits are counted."""
    limits: Limits = field(default_factory=Limits)
    """What a client's connection may do."""
    spool_keys: Keys | None = None
    """What the spool is encrypted under; None: it is not."""

    @classmethod
    def from_environment(cls, name: str) -> "Settings":
        """From FLYWHEEL_* (docs/operate.md). Raises ValueError that names what is no number or key."""
        home = Path(os.environ.get("FLYWHEEL_HOME", "var")).resolve()
        return cls(
            home=home,
            spool=Path(os.environ.get("FLYWHEEL_SPOOL", home / "spool")),
            web_url=os.environ.get("FLYWHEEL_WEB_URL", "http://127.0.0.1:8000"),
            token=os.environ.get("FLYWHEEL_INTERNAL_TOKEN", ""),
            name=name,
            body_limit=int(_number("FLYWHEEL_BODY_LIMIT", 32 << 20)),
            spool_limit=int(_number("FLYWHEEL_SPOOL_LIMIT", 20 << 30)),
            silence_seconds=_number("FLYWHEEL_ENGINE_SILENCE", 300),
            health_seconds=_number("FLYWHEEL_HEALTH_SECONDS", 5, zero=True),
            redis_url=os.environ.get("FLYWHEEL_REDIS_URL", "redis://127.0.0.1:6379/0"),
            limits=Limits(
                upload_seconds=_number("FLYWHEEL_UPLOAD_SECONDS", 60),
                stalled_seconds=_number("FLYWHEEL_STALLED_SECONDS", 60),
            ),
            spool_keys=Keys.from_environment(),
        )


def _number(name: str, usual: float, *, zero: bool = False) -> float:
    given = os.environ.get(name)
    try:
        found = usual if given is None else float(given)
    except ValueError:
        found = -1.0
    if not (found > 0 or (zero and found == 0)) or math.isinf(found):
        raise ValueError(f"{name} is no number{'' if zero else ' above zero'}: {given!r}")
    return found


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a path does for who has a key."""

    method: str
    serve: Callable[[Key, Request, Client], Awaitable[None]]


class Proxy:
    """Everything that one process serves."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.spool = Spool(settings.spool, limit_bytes=settings.spool_limit, keys=settings.spool_keys)
        self._spool_name = spool_name(settings.spool)
        self.follower = Follower(
            settings.web_url,
            settings.token,
            settings.name,
            settings.home / "proxy" / "snapshot.json",
            self._news,
        )
        self.server = Server(self.handle, _complain, settings.limits)
        self._upstreams = Upstreams(self.metrics, settings.silence_seconds)
        self._checks = Checks(
            settings.health_seconds, self._engines, self._upstreams.checked, self._upstreams.captures
        )
        # Two proxies of one name, or one after the other, are two to whoever counts.
        self._run = os.urandom(4).hex()
        one = f"{settings.name}/{self._run}"
        self._counters = Counters(settings.redis_url, one, self.metrics)
        self._room = Room(
            self.follower,
            self.spool,
            self._upstreams,
            self._counters,
            self.metrics,
            settings.name,
            settings.body_limit,
        )
        intake = Intake(
            self.spool,
            self._counters,
            self.metrics,
            settings.body_limit,
            masks=self._masks,
        )
        self._pages: dict[str, Page] = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
        }
        self._endpoints: dict[str, Endpoint] = {
            **{path: Endpoint("POST", partial(self._call, one)) for path, one in SURFACES.items()},
            _MODELS: Endpoint("GET", self._models),
            "/version": Endpoint("GET", self._version),
            "/v1/feedback": Endpoint("POST", intake.feedback),
            "/v1/traces": Endpoint("POST", intake.traces),
        }
        self._model = Endpoint("GET", self._models)

    async def start(self, host: str, port: int, *, share_port: bool = False) -> None:
        """Open the spool and the connections, begin to follow the routes, and listen.

        Raises OSError and SpoolBusyError.
        """
        self.spool.start()
        self._upstreams.start()
        self.follower.load()
        self._checks.start()
        self._prepare(self.follower.snapshot)
        self._following = asyncio.create_task(self.follower.follow(self._changed))
        await self.server.start(host, port, share_port=share_port)

    async def stop(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Let calls end, and close what start opened; every recording that was closed is on disk after it."""
        await self.server.stop(grace_seconds)
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following
        await self._checks.stop()
        await self._counters.stop()
        self._upstreams.stop()
        await self.spool.stop()

    async def handle(self, request: Request, client: Client) -> None:
        """Serve one request."""
        path = request.path
        if (page := self._pages.get(path)) is not None:
            status, body, kind = page()
            client.answer(status, [(b"content-type", kind)], body)
            return
        endpoint = self._endpoints.get(path)
        if endpoint is None and path.startswith(_MODELS + "/"):
            endpoint = self._model
        if endpoint is None:
            _refuse(client, errors.not_found(path))
            return
        secret = headers.secret(request.headers)
        key = self.follower.snapshot.authorise(secret, time.time()) if secret else None
        if key is None:
            self.metrics.unauthenticated.inc()
            _refuse(client, errors.unauthenticated(), surface=SURFACES.get(path))
        elif request.method != endpoint.method:
            _refuse(client, errors.wrong_method(request.method, path), (b"allow", endpoint.method.encode()))
        else:
            await endpoint.serve(key, request, client)

    async def _call(self, surface: Surface, key: Key, request: Request, client: Client) -> None:
        self.metrics.in_flight += 1
        try:
            await Call(self._room, key, surface, request, client).serve()
        finally:
            self.metrics.in_flight -= 1

    async def _version(self, key: Key, request: Request, client: Client) -> None:
        client.answer(200, [headers.JSON], orjson.dumps({"version": metadata.version("flywheel")}))

    async def _models(self, key: Key, request: Request, client: Client) -> None:
        name = unquote(request.path.removeprefix(_MODELS).removeprefix("/"))
        found = [
            {"id": route.name, "object": "model", "created": route.created, "owned_by": "flywheel"}
            for route in self.follower.snapshot.routes_for(key)
            if name in ("", route.name)
        ]
        if not name:
            client.answer(200, [headers.JSON], orjson.dumps({"object": "list", "data": found}))
        elif found:
            client.answer(200, [headers.JSON], orjson.dumps(found[0]))
        else:
            _refuse(client, errors.unknown_model(f"The model '{name}' does not exist."))

    def _changed(self, snapshot: Snapshot) -> None:
        log.info("routing snapshot %d is in force", snapshot.number)
        self._prepare(snapshot)

    def _prepare(self, snapshot: Snapshot) -> None:
        if any(key.limits is not None for key in snapshot.keys.values()):
            self._counters.start()
        self._upstreams.keep({engine.name for engine in self._engines()})

    def _masks(self, key: Key) -> bool:
        return self.follower.snapshot.masks(key)

    def _engines(self) -> Iterator[Upstream]:
        for version in self.follower.snapshot.versions.values():
            yield from version.upstreams

    def _news(self) -> dict[str, str]:
        """What web is told of the spool: also while its disk is full, and nothing can be written there."""
        return {
            "spool": self._spool_name,
            "run": self._run,
            "dropped": str(int(self.metrics.dropped_so_far())),
            "problem": self.spool.error[:300],
        }

    def _health(self) -> tuple[int, bytes, bytes]:
        return 200, b'{"status":"ok"}', b"application/json"

    def _ready(self) -> tuple[int, bytes, bytes]:
        """Whether calls can be served now, and if not, why not."""
        why = self.spool.error and f"the spool takes nothing: {self.spool.error}"
        if not self.follower.known:
            why = "no routing snapshot yet"
        if self.server.is_stopping:
            why = "stopping"
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
        self._upstreams.measure()
        return 200, self.metrics.page(), b"text/plain; version=0.0.4; charset=utf-8"


def _refuse(
    client: Client, refusal: Refusal, *more: tuple[bytes, bytes], surface: Surface | None = None
) -> None:
    said = refusal.body if surface is None else surface.error(refusal.status, refusal.body)
    client.answer(refusal.status, [headers.JSON, *more], said)


def _complain(status: int, why: str) -> bytes:
    return errors.no_request(status, why).body


async def _serve(proxy: Proxy, host: str, port: int, *, share_port: bool) -> None:
    """Until told to stop; calls in flight may take half a minute to end."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await proxy.start(host, port, share_port=share_port)
    _collect_rarely()
    await told.wait()
    await proxy.stop()


def _collect_rarely() -> None:
    """Look for cycles less often than Python does by itself, and never among what a start made: at full load
    that took a sixth of the serving thread's time, and calls leave next to no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def main() -> int:
    """Command line. Exit 1, with one line, when the port or the spool can't be had; 2 for a bad setting."""
    parser = argparse.ArgumentParser(prog="python -m inference.proxy", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--name", default=socket.gethostname(), help="How web lists this proxy.")
    parser.add_argument(
        "--share-port",
        action="store_true",
        help="Listen beside other proxies of this machine (SO_REUSEPORT); each needs a spool of its own.",
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    memory.give_back()
    try:
        settings = Settings.from_environment(options.name)
    except ValueError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 2
    log.info("the hot path is %s", "compiled" if IS_COMPILED else "interpreted")
    if settings.spool_keys is not None:
        log.info("the spool is encrypted under key %s", settings.spool_keys.ids[0])
    proxy = Proxy(settings)
    try:
        uvloop.run(_serve(proxy, options.host, options.port, share_port=options.share_port))
    except (OSError, SpoolBusyError) as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
