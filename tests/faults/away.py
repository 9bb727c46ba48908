"""ClickHouse away for long: what came meanwhile is stored several times as fast as it came; proxy and drain
stay small; the spool grows to its limit, and then the policy holds.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.clients import Clients, Ledger
from tests.faults.stack import Stack, running, until
from tests.faults.verdict import Verdict, judge

_PROXY_MB = 100.0
"""Most memory that it may ever have had: eight clients send 800 KB each to a disk that takes no more."""
_DRAIN_MB = 400.0
"""Most resident memory. A drain at work holds two batches of up to 16 MB each, as frames, values and rows:
210 MB with ordinary ones, however long it catches up, and some 300 with few and huge ones."""


@dataclass
class Away:
    """What came of it."""

    seconds: float
    arrived_per_second: float = 0.0
    stored_per_second: float = 0.0
    spool_mb: float = 0.0
    limit_mb: float = 0.0
    refused_at_limit: int = 0
    proxy_mb: float = 0.0
    drain_mb: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def kept(self) -> bool:
        small = self.proxy_mb < _PROXY_MB and self.drain_mb < _DRAIN_MB
        return small and self.spool_mb <= self.limit_mb and self.refused_at_limit > 0 and self.verdict.kept

    def summary(self) -> dict[str, Any]:
        """For the report's line; ``catches_up`` is the rate of storing over that of arriving."""
        rate = self.stored_per_second / self.arrived_per_second if self.arrived_per_second else 0.0
        rounded = {
            name: round(getattr(self, name), 1)
            for name in (
                *("seconds", "arrived_per_second", "stored_per_second"),
                *("spool_mb", "limit_mb", "proxy_mb", "drain_mb"),
            )
        }
        return {
            **rounded,
            "catches_up": round(rate, 1),
            "refused_at_limit": self.refused_at_limit,
            **self.verdict.counts(),
        }


def away(home: Path, seconds: float, seed: int, *, limit_mb: int = 24) -> Away:
    """Take ClickHouse away for so long, fill the spool to its limit, bring it back, and judge."""
    found = Away(seconds, limit_mb=limit_mb * 1.048576)
    stack = Stack(home, env={"FLYWHEEL_SPOOL_LIMIT": str(limit_mb << 20)})
    with running(stack, "engine", "clickhouse", "proxy", "drain"):
        ledger = Ledger()
        stack["clickhouse"].kill()
        asyncio.run(_load(stack, found, ledger, seed))
        _catch_up(stack, found)
        stack["clickhouse"].kill()
        asyncio.run(_flood(stack, found, ledger, seed))
        stack["clickhouse"].start()
        stack["proxy"].stop()
        stack.settle()
        found.verdict = judge(stack.clickhouse_url, ledger)
    return found


def _catch_up(stack: Stack, found: Away) -> None:
    """From the first batch that was stored to the last."""
    before = _stored(stack)
    stack["clickhouse"].start()
    deadline = time.monotonic() + 120
    while (first := _stored(stack)) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    stack.settle()
    found.stored_per_second = (_stored(stack) - first) / (time.monotonic() - began)


def _stored(stack: Stack) -> int:
    status = stack.status()
    return status.stored if status is not None else 0


async def _load(stack: Stack, found: Away, ledger: Ledger, seed: int) -> None:
    load = Clients(stack.url, 8, random.Random(seed))
    load.ledger, began = ledger, time.monotonic()
    await load.start()
    await asyncio.sleep(found.seconds)
    found.arrived_per_second = len(ledger.acknowledged) / (time.monotonic() - began)
    await load.finish()


async def _flood(stack: Stack, found: Away, ledger: Ledger, seed: int) -> None:
    flood = Clients(stack.url, 8, random.Random(seed + 1), filler_bytes=400_000)
    flood.ledger = ledger
    await flood.start()
    await until(lambda: not stack["proxy"].ready())
    failed = ledger.failed
    await asyncio.sleep(1.0)
    found.refused_at_limit = ledger.failed - failed
    await flood.finish()
    found.proxy_mb, found.drain_mb = stack["proxy"].peak_mb(), stack["drain"].rss_mb()
    found.spool_mb = stack.spool_bytes() / 1e6
