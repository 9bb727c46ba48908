"""Asks every engine now and then whether it is well, so that one that is not gets no calls, and one that is
back gets some, without a call having to find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

import orjson

from inference.engine.tag import PATH
from inference.http1.channel import Origin
from inference.http1.failures import BrokenOffError, ConnectError, SilentError
from inference.http1.pool import Pool
from inference.routing import Upstream

log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 2.0


class Checks:
    """Asks for ``/health`` every so many seconds; with 0 never. ``tell`` hears of each whether it is alive.

    Any answer below 500 counts: an engine without such a path is there all the same.
    """

    def __init__(
        self,
        seconds: float,
        engines: Callable[[], Iterable[Upstream]],
        tell: Callable[[Upstream, bool], None],
        tell_capture: Callable[[Upstream, str], None] = lambda _engine, _version: None,
    ) -> None:
        self._seconds, self._engines, self._tell = seconds, engines, tell
        self._tell_capture = tell_capture
        self._pool = Pool(_PATIENCE_SECONDS, _PATIENCE_SECONDS)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; call in the event loop."""
        if self._seconds > 0:
            self._pool.start()
            self._task = asyncio.create_task(self._check_all())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._pool.stop()

    async def _check_all(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await asyncio.gather(*(self._check(one) for one in set(self._engines())))

    async def _check(self, engine: Upstream) -> None:
        try:
            status, _ = await self._get(engine, "/health")
            self._tell(engine, status < 500)
            status, told = await self._get(engine, PATH)
            self._tell_capture(engine, version(told) if status == 200 else "")
        except (ConnectError, BrokenOffError, SilentError, OSError, ValueError):
            self._tell(engine, False)
            self._tell_capture(engine, "")

    async def _get(self, engine: Upstream, path: str) -> tuple[int, bytes]:
        origin = Origin.parse(engine.base_url)
        asked = f"GET {origin.prefix}{path} HTTP/1.1\r\nhost: {origin.authority}\r\n\r\n"
        response = await self._pool.ask(origin, asked.encode("latin-1"))
        try:
            return response.status, await response.read()
        finally:
            response.close()


def version(told: bytes) -> str:
    """The plugin's version, from what an engine says of its capture; nothing when it takes no records now."""
    try:
        found = orjson.loads(told)
    except orjson.JSONDecodeError:
        return ""
    captures = isinstance(found, dict) and found.get("capture") is True
    return str(found.get("version", "")) if captures else ""
