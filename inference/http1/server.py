"""Listens for clients, and looks after their connections' time and the room for their uploads."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, cast

from inference.http1.client import Client
from inference.http1.failures import TooSlowError
from inference.http1.request import Request

_CUT_OFF_SECONDS = 1.0
Handler = Callable[[Request, Client], Awaitable[None]]
Complain = Callable[[int, str], bytes]
"""Makes the body, in the protocol's own form, of an answer to what is no request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may do. Bytes and seconds."""

    head_bytes: int = 64 << 10
    uploads_bytes: int = 64 << 20
    """Of large bodies, of all clients together, that are in memory before their calls begin."""
    idle_seconds: float = 75.0
    head_seconds: float = 20.0
    upload_seconds: float = 60.0
    """For a body; each 64 KiB that come buy a second more."""
    stalled_seconds: float = 60.0
    """How long a client may read nothing of what waits for it."""
    linger_seconds: float = 2.0


class Server:
    """Listens, and looks after the connections' time and the room for uploads."""

    def __init__(self, handler: Handler, complain: Complain, limits: Limits | None = None) -> None:
        self.handler, self.complain = handler, complain
        self.limits = limits or Limits()
        self.clients: set[Client] = set()
        self.is_stopping = False
        self.date = b""
        """The header, of this second."""
        self._uploads = 0
        self._waiting: deque[tuple[int, Request, asyncio.Future[None]]] = deque()
        self._listening: Any = None
        """An asyncio.Server, but for uvloop's own sockets."""
        self._empty = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listening is not None
        return int(self._listening.sockets[0].getsockname()[1])

    def now(self) -> float:
        """The loop's clock, in seconds."""
        return self.loop.time()

    async def start(self, host: str, port: int, *, share_port: bool = False) -> None:
        """Listen. ``share_port``: other processes may listen there too. Raises OSError."""
        self.loop = asyncio.get_running_loop()
        self._sweep()
        self._listening = await self.loop.create_server(
            lambda: cast("asyncio.Protocol", Client(self)),
            host,
            port,
            reuse_port=share_port or None,
            backlog=2048,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Take nothing new, let what is served end, and cut off what takes longer than the grace."""
        self.is_stopping = True
        if self._listening is not None:
            self._listening.close()
        for client in list(self.clients):
            client.wind_down()
        await self._until_all_left(grace_seconds)
        for client in list(self.clients):
            client.cut_off()
        await self._until_all_left(_CUT_OFF_SECONDS)
        if self._tick is not None:
            self._tick.cancel()

    def left(self, client: Client) -> None:
        """From a connection: it has closed."""
        self.clients.discard(client)
        if not self.clients:
            self._empty.set()

    async def _until_all_left(self, seconds: float) -> None:
        if self.clients:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    async def reserve(self, request: Request, size: int) -> None:
        """Wait for room for a large body. Raises TooSlowError when there is none for too long."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append((min(size, self.limits.uploads_bytes), request, waiter))
        self._grant()
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                await waiter
        except TimeoutError as error:
            raise TooSlowError from error

    def release(self, request: Request) -> None:
        """A call that has ended needs its body no more."""
        if request.reserved:
            self._uploads -= request.reserved
            request.reserved = 0
            self._grant()

    def _grant(self) -> None:
        """Room to those who wait for it, in their order."""
        while self._waiting:
            size, request, waiter = self._waiting[0]
            if not waiter.done():
                if self._uploads + size > self.limits.uploads_bytes:
                    return
                self._uploads += size
                request.reserved = size
                waiter.set_result(None)
            self._waiting.popleft()

    def _sweep(self) -> None:
        self.date = b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
        now = self.now()
        for client in list(self.clients):
            client.check(now)
        limits = self.limits
        shortest = min(
            limits.head_seconds, limits.upload_seconds, limits.stalled_seconds, limits.idle_seconds
        )
        self._tick = self.loop.call_later(min(1.0, shortest / 4), self._sweep)
