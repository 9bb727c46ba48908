"""A canned engine that streams as vLLM does, one chunk an event: all at once, or one event each 5 ms.

``python -m bench.proxy.engine BURST LARGE SMALL`` serves three ports of 127.0.0.1: the large stream at once,
and the large and the small one in the engine's pace, with the time of sending as each token's text.
"""

import asyncio
import contextlib
import sys
import time
from collections import deque
from typing import ClassVar, cast

import uvloop

from bench.proxy import answers, paced

_PHASES = 10
"""Streams begin at this many moments within a pace, so that their events don't all come at once."""
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event), event)


class _Asked(asyncio.Protocol):
    """Calls ``answer`` for each whole request."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            _, _, length = self._rest[:end].lower().partition(b"content-length:")
            whole = end + 4 + int(length.split(b"\r\n", 1)[0] or 0)
            if len(self._rest) < whole:
                return
            asked, self._rest = self._rest[:whole], self._rest[whole:]
            self.answer(asked)

    def answer(self, asked: bytes) -> None:
        raise NotImplementedError


class Burst(_Asked):
    """The large stream's chunks in one go."""

    BODY = _HEAD + b"".join(map(_chunk, answers.events(logprobs=True))) + _END

    def answer(self, asked: bytes) -> None:
        if asked.startswith(b"POST"):
            self.transport.write(self.BODY)
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


class Paced(_Asked):
    """One event a pace, stamped."""

    events: ClassVar[list[tuple[bytes, bytes]]]
    """What stands before and after the stamp in each chunk."""
    clock: ClassVar["Clock"]

    def answer(self, asked: bytes) -> None:
        if asked.startswith(b"POST"):
            self.transport.write(_HEAD)
            self.clock.join(self)
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    def send(self, position: int) -> bool:
        """Send one event; whether there are more."""
        before, after = self.events[position]
        self.transport.write(b"%s%d%s" % (before, time.time_ns(), after) if after else before)
        return position + 1 < len(self.events)


class Clock:
    """Sends everyone's next event, a phase after the other."""

    def __init__(self) -> None:
        self._phases: deque[list[tuple[Paced, int]]] = deque([] for _ in range(_PHASES))
        self._asked = asyncio.Event()

    def join(self, stream: Paced) -> None:
        """Begin a stream in the phase that has the fewest."""
        min(self._phases, key=len).append((stream, 0))
        self._asked.set()

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if not any(self._phases):
                self._asked.clear()
                await self._asked.wait()  # rests while others are measured
                due = loop.time()
            due += paced.PACE_SECONDS / _PHASES
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._phases.rotate(-1)
            phase = self._phases[0]
            phase[:] = [
                (stream, at + 1)
                for stream, at in phase
                if not stream.transport.is_closing() and stream.send(at)
            ]


def _split(events: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Chunks cut where their stamp goes. The finishing one has none: its way through a proxy may wait
    for a disk. What follows it comes with it."""
    stamp = b"%d" % answers.STAMP
    made = []
    for event in events[: answers.TOKENS]:
        before, _, after = _chunk(event).partition(stamp)
        made.append((before, after))
    return [*made, (b"".join(map(_chunk, events[answers.TOKENS :])) + _END, b"")]


async def serve(burst: int, large: int, small: int) -> None:
    """Until it is cancelled."""
    loop, clock = asyncio.get_running_loop(), Clock()
    kinds: dict[int, type[_Asked]] = {burst: Burst}
    for port, logprobs in ((large, True), (small, False)):
        word = f" {answers.STAMP}"
        events = _split(answers.events(logprobs=logprobs, usage=logprobs, word=word))
        kinds[port] = type("Paced", (Paced,), {"events": events, "clock": clock})
    async with contextlib.AsyncExitStack() as stack:
        for port, kind in kinds.items():
            await stack.enter_async_context(await loop.create_server(kind, "127.0.0.1", port, backlog=1024))
        await clock.run()


if __name__ == "__main__":
    uvloop.run(serve(*map(int, sys.argv[1:4])))
