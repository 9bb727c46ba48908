"""128 streams at the engine's pace: what an event costs in CPU, and how late it comes.

An event carries the time at which the engine sent it, so its delay is known when it arrives. What the engine
and this client add to it is measured without a proxy and taken off.
"""

import asyncio
import re
import time
from array import array
from dataclasses import dataclass, field
from typing import cast

from bench.proxy import answers
from bench.proxy.load import BadAnswersError, Request

STREAMS, PACE_SECONDS = 128, 0.005
_STAMP = re.compile(rb'"content":" (\d{19})"')


@dataclass
class Heard:
    """What came: ``delays`` in nanoseconds, one an event."""

    delays: "array[int]" = field(default_factory=lambda: array("q"))
    streams: int = 0
    deadline: float = 0.0

    @property
    def events(self) -> int:
        """How many the engine sent: the role and the tokens."""
        return self.streams * (answers.TOKENS + 1)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6


class _Listener(asyncio.Protocol):
    """One connection: asks, hears the stream to its end, asks again."""

    def __init__(self, request: bytes, heard: Heard) -> None:
        self._request, self._heard, self._tail = request, heard, b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        if self._tail:
            data = self._tail + data
        last = 0
        for found in _STAMP.finditer(data):
            last = found.end()
            if (sent := int(found[1])) != answers.STAMP:
                self._heard.delays.append(now - sent)
        if data.endswith(b"0\r\n\r\n"):
            self._tail = b""
            self._again()
        else:
            self._tail = data[max(last, len(data) - 40) :]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(BadAnswersError(f"a stream broke off: {error}"))

    def _again(self) -> None:
        self._heard.streams += 1
        if time.monotonic() < self._heard.deadline:
            self._transport.write(self._request)
        else:
            self.ended.set_result(None)
            self._transport.close()


async def listen(request: Request, seconds: float) -> Heard:
    """Keep ``STREAMS`` streams going for a while, and hear the last of each to its end.

    They begin spread over the time that one takes: begun together they would also end together, each time.
    """
    loop = asyncio.get_running_loop()
    heard = Heard(deadline=time.monotonic() + seconds)
    raw, listeners = request.raw(), []
    for _ in range(STREAMS):
        _, listener = await loop.create_connection(lambda: _Listener(raw, heard), "127.0.0.1", request.port)
        listeners.append(listener)
        await asyncio.sleep(answers.TOKENS * PACE_SECONDS / STREAMS)
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(one.ended for one in listeners))
    return heard
