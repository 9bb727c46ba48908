"""The storm: kill -9 of any process, in any order and together, while clients call.

When the dust has settled, what every client saw complete must be in the trace store, whole and once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.clients import Clients
from tests.faults.stack import Process, Stack
from tests.faults.verdict import Verdict, judge

_PATIENCE = 120.0


@dataclass
class Storm:
    """What happened."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    """Calls in flight at the moment of the kills, by process."""
    died: list[str] = field(default_factory=list)
    """Processes that ended though nobody killed them."""
    asked: int = 0
    failed: int = 0
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def kept(self) -> bool:
        return self.verdict.kept and not self.died and self.verdict.acknowledged > 0

    def summary(self) -> dict[str, Any]:
        """For the report's line."""
        return {
            "kills": dict(self.kills),
            "in_flight": dict(self.in_flight),
            **self.verdict.counts(),
            "asked": self.asked,
            "failed": self.failed,
            "died": self.died,
            "seconds": round(self.seconds, 1),
        }


async def storm(stack: Stack, victims: Sequence[str], kills: int, seed: int, *, clients: int = 12) -> Storm:
    """Kill ``kills`` processes of a running stack under load, let the dust settle, and judge."""
    chance, found, began = random.Random(seed), Storm(seed), time.monotonic()
    load = Clients(stack.url, clients, random.Random(seed + 1))
    await load.start()
    try:
        while found.kills.total() < kills:
            await _grows(load)
            await asyncio.sleep(chance.uniform(0.0, 0.6))
            hit = _choose(chance, victims, kills - found.kills.total())
            if "drain" in hit and chance.random() < 0.7:
                await _under_way(stack, chance)
            await asyncio.gather(*(_kill(stack[name], found, load) for name in hit))
            await asyncio.sleep(chance.choice((0.0, chance.uniform(0.0, 0.8))))
            for name in hit:
                stack[name].start()
    finally:
        await load.finish()
    await asyncio.to_thread(_settle, stack, victims)
    ledger = load.ledger
    found.asked, found.failed = ledger.asked, ledger.failed
    found.verdict = await asyncio.to_thread(judge, stack.clickhouse_url, ledger)
    found.seconds = time.monotonic() - began
    return found


def _choose(chance: random.Random, victims: Sequence[str], left: int) -> list[str]:
    """Mostly one, sometimes several, sometimes all at once."""
    count = min(left, chance.choice((1, 1, 1, 1, 2, 2, 3, len(victims))))
    return chance.sample(list(victims), min(count, len(victims)))


async def _kill(process: Process, found: Storm, load: Clients) -> None:
    if not process.running:
        found.died.append(f"{process.name}: {process.tail()[-400:]}")
        return
    found.kills[process.name] += 1
    found.in_flight[process.name] += load.ledger.in_flight
    await asyncio.to_thread(process.kill)


async def _grows(load: Clients) -> None:
    """Until an answer more has been seen: every kill hits something that works."""
    before, deadline = len(load.ledger.acknowledged), time.monotonic() + _PATIENCE
    while len(load.ledger.acknowledged) == before:
        assert time.monotonic() < deadline, "no answer came in two minutes"
        load.check()
        await asyncio.sleep(0.01)


async def _under_way(stack: Stack, chance: random.Random) -> None:
    """Until the drain is somewhere within a batch, going by how long the last one took. At most 13 s."""
    # A restarted drain finds the last one's record there, and the next batch begins when that is stored.
    deadline = time.monotonic() + 10.0
    while not stack["drain"].ready() and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    began = await _when(stack, present=True)
    took = await _when(stack, present=False) - began
    await _when(stack, present=True)
    await asyncio.sleep(chance.uniform(0.1, 0.9) * took)


async def _when(stack: Stack, *, present: bool) -> float:
    """When the record of a batch is there, or not any more."""
    record, deadline = stack.spool / "batch.json", time.monotonic() + 1.0
    while record.exists() is not present and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return time.monotonic()


def _settle(stack: Stack, victims: Sequence[str]) -> None:
    for name in victims:
        stack[name].wait_ready()
    # Its open exchanges end with it, and nothing is written any more.
    stack["proxy"].stop()
    stack.settle()
