"""A proxy that is told to stop under load drains its connections, loses nothing, and ends in time; and its
memory stays flat, over many requests and with many slow streams open.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.faults.clients import PATH, Clients, body
from tests.faults.stack import SECRET, Stack, running, until
from tests.faults.verdict import judge

_TIME_LIMIT = 45.0
"""Seconds: half a minute for calls in flight, and what ending takes on a busy machine."""


def stop(home: Path, rounds: int, seed: int) -> dict[str, Any]:
    """SIGTERM under load, so many times; ``kept`` says whether all went well."""
    stack = Stack(home)
    with running(stack, "engine", "clickhouse", "proxy", "drain"):
        load, longest = asyncio.run(_stop(stack, rounds, random.Random(seed)))
        stack["proxy"].stop()
        stack.settle()
        verdict = judge(stack.clickhouse_url, load.ledger)
        exits = stack["proxy"].exits
    kept = verdict.kept and set(exits) == {0}
    return {"rounds": rounds, "longest_seconds": round(longest, 1), **verdict.counts(), "kept": kept}


async def _stop(stack: Stack, rounds: int, chance: random.Random) -> tuple[Clients, float]:
    load, longest = Clients(stack.url, 12, chance, pace_ms=20.0), 0.0
    await load.start()
    for _ in range(rounds):
        await asyncio.sleep(chance.uniform(0.5, 1.0))
        began = time.monotonic()
        await asyncio.to_thread(stack["proxy"].stop, _TIME_LIMIT)
        longest = max(longest, time.monotonic() - began)
        stack["proxy"].start()
        await asyncio.to_thread(stack["proxy"].wait_ready)
    await load.finish()
    return load, longest


def memory(home: Path, requests: int, streams: int) -> dict[str, Any]:
    """Resident MB of the proxy after a tenth of so many requests, after all, and with slow streams open."""
    stack = Stack(home, env={"FLYWHEEL_SPOOL_LIMIT": str(40 << 30)})
    with running(stack, "engine", "clickhouse", "proxy", "drain"):
        return asyncio.run(_memory(stack, requests, streams))


async def _memory(stack: Stack, requests: int, streams: int) -> dict[str, Any]:
    began, proxy = time.monotonic(), stack["proxy"]
    timeout = aiohttp.ClientTimeout(total=None)
    headers = {"authorization": f"Bearer {SECRET}"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=headers
    ) as http:
        await _ask(http, stack, requests // 10)
        warm = proxy.rss_mb()
        await _ask(http, stack, requests - requests // 10)
        after = proxy.rss_mb()
        seconds = time.monotonic() - began
        open_streams = [asyncio.create_task(_slow(http, stack)) for _ in range(streams)]
        await until(lambda: stack.seen()["running"] >= streams or any(one.done() for one in open_streams))
        for stream in open_streams:
            if stream.done():
                stream.result()
        await asyncio.sleep(3.0)
        slow = proxy.rss_mb()
        for stream in open_streams:
            stream.cancel()
        await asyncio.gather(*open_streams, return_exceptions=True)
        # Whoever leaves is no longer worked for.
        await until(lambda: stack.seen()["running"] == 0)
    return {
        "requests": requests,
        "streams": streams,
        "requests_per_second": round(requests / seconds),
        "rss_mb_after_a_tenth": round(warm, 1),
        "rss_mb_after_all": round(after, 1),
        "rss_mb_with_streams": round(slow, 1),
        "kept": after < warm * 1.2 + 10 and slow < after + 100,
    }


async def _ask(http: aiohttp.ClientSession, stack: Stack, requests: int) -> None:
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            async with http.post(stack.url + PATH, json=body("tokens=2", stream=False)) as response:
                await response.read()

    await asyncio.gather(*(client() for _ in range(32)))


async def _slow(http: aiohttp.ClientSession, stack: Stack) -> None:
    order = "tokens=100000 pace=500"
    async with http.post(stack.url + PATH, json=body(order, stream=True)) as response:
        async for _ in response.content:
            pass
