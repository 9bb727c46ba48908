"""Sends each shape both ways, one request at a time, and keeps what differs.

Where answers differ the engine is asked again: what it does not answer the same twice is no fault of ours.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.differential.compare import Answer, difference
from tests.differential.shapes import TEXT, Shape
from tests.inference.double import SECRET, Running, proxying

SERVED, PUBLIC = "smollm2-135m", "desk"
_REPEATS = 3


@dataclass
class Found:
    """What a run came to."""

    shapes: int = 0
    answered: int = 0
    """With status 200."""
    streamed: int = 0
    refused: int = 0
    broken: int = 0
    """Begun by the engine and broken off by it, though it went on living."""
    differences: list[str] = field(default_factory=list)
    undetermined: list[str] = field(default_factory=list)
    """The engine's own answers differed from each other."""
    killers: list[str] = field(default_factory=list)
    """Requests that ended the engine, direct or not."""
    token_mismatches: int = 0
    """Rows that say themselves that ids and usage don't fit."""

    def as_json(self) -> str:
        """One line."""
        counts = {
            name: len(value) if isinstance(value, list) else value for name, value in vars(self).items()
        }
        return json.dumps(counts)


async def run(
    engine: str,
    home: Path,
    shapes: Sequence[Shape],
    revive: Callable[[], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Found:
    """All of them. ``revive`` is called when the engine has died; without it, that is an error.

    ``tell`` hears how far it is.
    """
    found = Found()
    async with proxying(home, engine, silence_seconds=120) as proxy:
        for number, shape in enumerate(shapes):
            if tell and number % 50 == 0:
                tell(f"{number} of {len(shapes)}: {found.as_json()}")
            try:
                await _one(proxy, engine, shape, found, tell)
            except (aiohttp.ClientError, TimeoutError) as error:
                if revive is None:
                    raise
                found.killers.append(f"{shape}: {error}")
                revive()
                await _is_served_again(proxy)
            except asyncio.CancelledError:
                break  # Ctrl-C: what was found counts
        _check_rows(proxy, found)
    return found


async def _one(
    proxy: Running, engine: str, shape: Shape, found: Found, tell: Callable[[str], None] | None
) -> None:
    directly = await _ask(proxy.http, engine, shape, SERVED)
    if directly.status >= 500 or directly.is_broken:
        await _is_alive(proxy.http, engine)
    proxied = await _ask(proxy.http, proxy.url, shape, PUBLIC)
    found.shapes += 1
    found.answered += directly.status == 200
    found.streamed += directly.is_stream
    found.broken += directly.is_broken
    found.refused += directly.status != 200
    first = difference(directly, proxied, served=SERVED, public=PUBLIC)
    if not first:
        return
    await _is_served_again(proxy)
    for _ in range(_REPEATS):
        again = await _ask(proxy.http, engine, shape, SERVED)
        if difference(directly, again, served=SERVED, public=SERVED):
            found.undetermined.append(f"{shape}: {first}")
            return
        proxied = await _ask(proxy.http, proxy.url, shape, PUBLIC)
        if not difference(directly, proxied, served=SERVED, public=PUBLIC):
            found.undetermined.append(f"{shape}: {first}")
            return
    found.differences.append(f"{shape}\n    {first}")
    if tell:
        tell(found.differences[-1])


async def _is_served_again(proxy: Running) -> None:
    """An engine that was away or slow gets no calls from the proxy until a health check has passed."""
    plain = Shape(TEXT, {"prompt": "a", "max_tokens": 1, "temperature": 0})
    for _ in range(120):
        if (await _ask(proxy.http, proxy.url, plain, PUBLIC)).status != 503:
            return
        await asyncio.sleep(0.5)


async def _ask(http: aiohttp.ClientSession, base: str, shape: Shape, model: str) -> Answer:
    data = json.dumps({**shape.body, "model": model}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {SECRET}"}
    async with http.post(base + shape.path, data=data, headers=headers) as response:
        named = {name.lower(): value for name, value in response.headers.items()}
        body, is_broken = b"", False
        try:
            async for part in response.content.iter_any():
                body += part
        except aiohttp.ClientPayloadError:
            is_broken = True
        return Answer(response.status, named, body, is_broken)


async def _is_alive(http: aiohttp.ClientSession, engine: str) -> None:
    async with http.get(engine + "/health") as response:
        if response.status != 200:
            raise aiohttp.ClientError(f"the engine's health is {response.status}")


def _check_rows(proxy: Running, found: Found) -> None:
    """Every answer that gave tokens has them in its row."""
    for exchange in proxy.spooled():
        given: Any = exchange
        if given.status != 200 or given.capture != "wire" or not given.completion_tokens:
            continue
        if given.tokens_match is False:
            found.token_mismatches += 1
        elif not given.tokens:
            found.differences.append(f"exchange {given.exchange_id} has no tokens: {given.request!r}")
