"""Asks every engine now and then whether it is well, so that one that is not gets no calls, and one that is
back gets some, without a call having to find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from inference.http1.channel import BrokenOffError, Origin, SilentError
from inference.http1.pool import ConnectError, Pool
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
    ) -> None:
        self._seconds, self._engines, self._tell = seconds, engines, tell
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
            origin = Origin.parse(engine.base_url)
            asked = f"GET {origin.prefix}/health HTTP/1.1\r\nhost: {origin.authority}\r\n\r\n"
            response = await self._pool.ask(origin, asked.encode("latin-1"))
            try:
                await response.read()
            finally:
                response.close()
        except (ConnectError, BrokenOffError, SilentError, OSError, ValueError):
            self._tell(engine, False)
        else:
            self._tell(engine, response.status < 500)
