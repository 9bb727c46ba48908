"""The full disk: each route's policy holds while it is full, and all is well once there is room again.

The spool lies on a small file system where one can be mounted (tmpfs, which needs root), else on one that is
small in the processes' own eyes (tests.faults.small_disk).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.clients import Clients
from tests.faults.stack import Stack, running, until
from tests.faults.verdict import Verdict, judge

ROOM = 24 << 20


@dataclass
class Full:
    """What came of it under one policy."""

    policy: str
    disk: str
    served_when_full: int = 0
    refused_when_full: int = 0
    dropped: int = 0
    served_after: int = 0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def kept(self) -> bool:
        if self.policy == "refuse":
            right = self.refused_when_full > 0 and self.dropped == 0 and self.verdict.kept
        else:  # what the proxy counts as dropped covers what is missing; nothing else may be missing
            right = self.served_when_full > 0 and 0 < self.dropped >= len(self.verdict.lost)
            right = right and not (self.verdict.doubled or self.verdict.torn or self.verdict.wrong)
        return right and self.served_after > 0

    def summary(self) -> dict[str, Any]:
        """For the report's line."""
        return {
            "disk": self.disk,
            "served_when_full": self.served_when_full,
            "refused_when_full": self.refused_when_full,
            "dropped": self.dropped,
            "served_after": self.served_after,
            **self.verdict.counts(),
        }


@contextlib.contextmanager
def small(folder: Path, room: int) -> Iterator[bool]:
    """Mount a small file system there; gives whether that was possible."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={room},mode=700", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
        ).returncode
        == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def full(home: Path, policy: str, seed: int, *, mount: bool = True) -> Full:
    """Fill the disk under load with the drain away, then bring the drain back and judge."""
    with small(home / "disk", ROOM) if mount else contextlib.nullcontext(False) as mounted:
        spool = home / "disk" / "spool"
        room = home / "room"
        room.write_text(str(ROOM))
        through = () if mounted else ("tests.faults.small_disk", str(spool), str(room))
        launch = {"proxy": through, "drain": through}
        stack = Stack(home, spool=spool, launch=launch, disk_full=policy)
        found = Full(policy, "tmpfs" if mounted else "in the processes' eyes")
        with running(stack, "engine", "clickhouse", "proxy", "drain"):
            asyncio.run(_fill(stack, found, seed))
        return found


async def _fill(stack: Stack, found: Full, seed: int) -> None:
    load = Clients(stack.url, 8, random.Random(seed), filler_bytes=400_000)
    await load.start()
    await until(lambda: len(load.ledger.acknowledged) > 10)
    # The drain can store nothing; it stays, for it must be able to free a full disk.
    await asyncio.to_thread(stack["clickhouse"].kill)
    await until(lambda: not _ready(stack))
    answered, failed = len(load.ledger.acknowledged), load.ledger.failed
    await asyncio.sleep(1.0)
    found.served_when_full = len(load.ledger.acknowledged) - answered
    found.refused_when_full = load.ledger.failed - failed
    stack["clickhouse"].start()
    await until(lambda: _ready(stack))
    answered = len(load.ledger.acknowledged)
    await until(lambda: len(load.ledger.acknowledged) > answered + 10)
    found.served_after = len(load.ledger.acknowledged) - answered
    await load.finish()
    found.dropped = int(await asyncio.to_thread(stack.metric, "flywheel_dropped_captures_total"))
    await asyncio.to_thread(stack["proxy"].stop)
    await asyncio.to_thread(stack.settle)
    found.verdict = await asyncio.to_thread(judge, stack.clickhouse_url, load.ledger)


def _ready(stack: Stack) -> bool:
    return stack["proxy"].ready()
