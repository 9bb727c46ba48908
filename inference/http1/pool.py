"""Connections to engines, kept for the next request. Knows how to reach an address, not which one to ask."""

import asyncio
import ssl
from collections import defaultdict, deque
from typing import cast

from inference.http1.channel import Channel, Origin, Response
from inference.http1.failures import BrokenOffError, ConnectError

_KEEP_SECONDS = 4.0
"""Idle connections are dropped before uvicorn, which engines run on, does so after five seconds."""


class Pool:
    """Connections to all origins. ``silence_seconds`` is how long an engine may say nothing."""

    def __init__(self, silence_seconds: float, connect_seconds: float) -> None:
        self.silence_seconds, self._connect_seconds = silence_seconds, connect_seconds
        self.busy: set[Channel] = set()
        self._idle: defaultdict[Origin, deque[Channel]] = defaultdict(deque)
        self._tls: ssl.SSLContext | None = None
        self._tick: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Call in the event loop."""
        self.loop = asyncio.get_running_loop()
        self._sweep()

    def stop(self) -> None:
        """Close everything."""
        if self._tick is not None:
            self._tick.cancel()
        for channel in [*self.busy, *(one for idle in self._idle.values() for one in idle)]:
            channel.abort()
        self._idle.clear()

    async def ask(self, origin: Origin, request: bytes) -> Response:
        """Send a request's bytes on a kept connection or a new one; returns when the answer's head is there.

        A kept connection that the engine had just dropped costs nothing but the time to make another. Raises
        ConnectError, BrokenOffError, SilentError.
        """
        while (channel := self._kept(origin)) is not None:
            try:
                return await channel.ask(request)
            except BrokenOffError:
                if not channel.was_dropped:
                    raise
        return await (await self._connect(origin)).ask(request)

    def keep(self, channel: Channel) -> None:
        """From a channel: it is free."""
        channel.idle_since = self.loop.time()
        self._idle[channel.origin].append(channel)

    def forget(self, channel: Channel) -> None:
        """From a channel: it has closed."""
        self.busy.discard(channel)
        idle = self._idle.get(channel.origin)
        if idle is not None and channel in idle:
            idle.remove(channel)

    def _kept(self, origin: Origin) -> Channel | None:
        idle = self._idle.get(origin)
        while idle:
            channel = idle.pop()
            if not channel.is_closed and self.loop.time() - channel.idle_since < _KEEP_SECONDS:
                return channel
            channel.abort()
        return None

    async def _connect(self, origin: Origin) -> Channel:
        context = self._tls_context() if origin.tls else None
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, made = await self.loop.create_connection(
                    lambda: cast("asyncio.Protocol", Channel(self, origin)),
                    origin.host,
                    origin.port,
                    ssl=context,
                )
        except TimeoutError as error:
            raise ConnectError("no connection in time") from error
        except OSError as error:
            raise ConnectError(f"no connection ({error.strerror or error})") from error
        return cast("Channel", made)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _sweep(self) -> None:
        now = self.loop.time()
        for channel in list(self.busy):
            channel.check(now)
        for idle in self._idle.values():
            while idle and now - idle[0].idle_since >= _KEEP_SECONDS:
                idle.popleft().abort()
        self._tick = self.loop.call_later(min(1.0, self.silence_seconds / 4), self._sweep)
