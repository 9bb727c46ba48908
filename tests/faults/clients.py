"""Clients under faults: they call, and believe nothing but what they saw.

An exchange counts as acknowledged when its client saw the whole answer: the JSON body to its end, or a
stream's event with the finish reason. What each one then said is kept, to compare with what was stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.faults.engine import text_of
from tests.faults.stack import SECRET

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Seen:
    """A whole answer, as its client saw it."""

    text: str
    at: float
    """When, on this machine's monotonic clock."""


@dataclass
class Ledger:
    """What all clients of a test saw."""

    acknowledged: dict[str, Seen] = field(default_factory=dict)
    in_flight: int = 0
    asked: int = 0
    failed: int = 0
    """Calls without a whole answer, refusals included."""
    left: int = 0
    """Calls that the client broke off itself."""
    wrong: list[str] = field(default_factory=list)
    """Whole answers that say something else than the engine did."""


def body(order: str, *, stream: bool, **more: Any) -> dict[str, Any]:
    """A chat whose last message orders the engine about."""
    return {"model": "desk", "messages": [{"role": "user", "content": order}], "stream": stream, **more}


class Clients:
    """So many at once, each calling again and again in its own mix, until stopped."""

    def __init__(
        self,
        url: str,
        count: int,
        chance: random.Random,
        *,
        pace_ms: float = 3.0,
        filler_bytes: int = 0,
    ) -> None:
        """``filler_bytes``: random bytes, which nothing compresses, that every request carries besides."""
        self.ledger = Ledger()
        self._url, self._count, self._chance, self._pace_ms = url, count, chance, pace_ms
        self._filler = filler_bytes
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Begin to call."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout)
        seeds = [self._chance.random() for _ in range(self._count)]
        self._tasks = [asyncio.create_task(self._client(random.Random(seed))) for seed in seeds]

    def check(self) -> None:
        """Raises what a client met that no client should."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def finish(self) -> None:
        """Let every call come to its end, and stop."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._http.close()

    async def _client(self, chance: random.Random) -> None:
        while not self._stopping:
            self.ledger.asked += 1
            self.ledger.in_flight += 1
            try:
                ended = await self._call(chance)
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                ended = False
            finally:
                self.ledger.in_flight -= 1
            if not ended:
                self.ledger.failed += 1
                await asyncio.sleep(0.02)

    async def _call(self, chance: random.Random) -> bool:
        tokens, stream = chance.choice((1, 3, 12, 40)), chance.random() < 0.6
        nonce = f"{chance.getrandbits(48):x}"
        pace = chance.choice((0.0, 0.0, self._pace_ms))
        filler = "x" * chance.choice((0, 0, 0, 500, 20_000, 100_000))
        filler = chance.randbytes(self._filler).hex() if self._filler else filler
        sent = body(f"tokens={tokens} pace={pace} nonce={nonce} {filler}", stream=stream)
        leaves = chance.randrange(tokens) if stream and chance.random() < 0.05 else None
        headers = {"authorization": f"Bearer {SECRET}"}
        async with self._http.post(self._url + PATH, json=sent, headers=headers) as response:
            exchange_id = response.headers.get("x-flywheel-exchange-id", "")
            if response.status != 200:
                await response.read()
                return False
            text = await (self._stream(response, leaves) if stream else _whole(response))
            if text is None:
                return False
            self._acknowledge(exchange_id, text, text_of(tokens, nonce))
            if chance.random() < 0.5:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    await response.read()
            return True

    async def _stream(self, response: aiohttp.ClientResponse, leaves: int | None) -> str | None:
        pieces: list[str] = []
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            for choice in orjson.loads(line[6:]).get("choices", ()):
                pieces.append(choice["delta"].get("content") or "")
                if choice.get("finish_reason"):
                    return "".join(pieces)
            if leaves is not None and len(pieces) > leaves:
                self.ledger.left += 1
                response.close()
                return None
        return None

    def _acknowledge(self, exchange_id: str, text: str, expected: str) -> None:
        self.ledger.acknowledged[exchange_id] = Seen(text, time.monotonic())
        if text != expected:
            self.ledger.wrong.append(exchange_id)


async def _whole(response: aiohttp.ClientResponse) -> str | None:
    message = orjson.loads(await response.read())
    (choice,) = message["choices"]
    text: str = choice["message"]["content"]
    return text if choice["finish_reason"] else None
