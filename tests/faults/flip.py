"""A flipped byte in a segment: it costs at most the exchange it hit, and is counted and reported."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.clients import Clients, Ledger
from tests.faults.stack import Stack, running
from tests.faults.verdict import Verdict, judge


@dataclass
class Flips:
    """What came of it."""

    flips: int
    damaged: int
    """Places that the drain reports."""
    verdict: Verdict

    @property
    def kept(self) -> bool:
        found = self.verdict
        cheap = len(found.lost) <= self.flips and not (found.doubled or found.torn or found.wrong)
        return cheap and self.damaged >= self.flips

    def summary(self) -> dict[str, Any]:
        """For the report's line."""
        return {"flips": self.flips, "damaged": self.damaged, **self.verdict.counts()}


def flip(home: Path, count: int, seed: int) -> Flips:
    """Spool under load, flip bytes of the segments, far from each other, then drain and judge."""
    chance = random.Random(seed)
    stack = Stack(home)
    with running(stack, "engine", "clickhouse", "proxy"):
        ledger = asyncio.run(_load(stack, chance))
        stack["proxy"].stop()
        (segment,) = stack.spool.glob("*.segment")
        content = bytearray(segment.read_bytes())
        each = len(content) // count
        for number in range(count):
            # Not near the next one's part: two in one exchange would prove less.
            at = number * each + chance.randrange(max(1, each // 2))
            content[at] ^= 1 << chance.randrange(8)
        segment.write_bytes(content)
        stack.start("drain")
        stack.settle()
        status = stack.status()
        assert status is not None
        return Flips(count, status.damaged, judge(stack.clickhouse_url, ledger))


async def _load(stack: Stack, chance: random.Random) -> Ledger:
    load = Clients(stack.url, 8, chance)
    await load.start()
    await asyncio.sleep(2.0)
    await load.finish()
    return load.ledger
