"""The power cut: at every recorded step, with what a disk may then hold, nothing acknowledged is missing.

Two recordings: a writer and a drain with a model of the trace store (tests.faults.workload), and the proxy's
own process with clients in front of it.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from inference.drain import Drain
from inference.exchange import parse
from inference.spool import Keys, SpoolReader
from tests.faults.clients import Clients, Ledger
from tests.faults.disk_model import WAYS, Disk, Step, read_log
from tests.faults.stack import Stack, running
from tests.faults.workload import ModelStore, plain_blocks


@dataclass
class Cuts:
    """What came of all the cuts of one recording."""

    seed: int
    steps: int = 0
    cuts: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return self.acknowledged > 0 and self.cuts > 0 and not (self.lost or self.doubled or self.torn)

    def summary(self) -> dict[str, int]:
        """For the report's line."""
        return {
            "steps": self.steps,
            "cuts": self.cuts,
            "acknowledged": self.acknowledged,
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "torn": len(self.torn),
        }


def cut_writer_and_drain(home: Path, seed: int, *, rounds: int, most_cuts: int, way: str = "") -> Cuts:
    """Record a workload, cut the power everywhere (at ``most_cuts`` places), and drain what is left."""
    folder, log = home / "spool", home / "log"
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.faults.recorded", str(log), str(folder), *([way] if way else [])]
    command += ["tests.faults.workload", str(folder), str(seed), str(rounds)]
    subprocess.run(command, check=True, timeout=300)
    steps = read_log(log)
    found, chance = Cuts(seed, len(steps)), random.Random(seed)
    for disk, store, acks, how in _cuts(folder.resolve(), steps, most_cuts, chance, found):
        with TemporaryDirectory() as place, plain_blocks():
            disk.after_power_cut(Path(place), how, chance)
            drain = Drain(Path(place), store.connect, keys=Keys.from_environment())
            while drain.step():
                pass
            drain.close()
            if drain.status.quarantined:
                found.torn.append("quarantined")
        stored = {str(row["exchange_id"]): row for row in store.rows.get("exchanges", ())}
        listed = {str(row["exchange_id"]) for row in store.rows.get("facts", ())}
        tokens = {str(row["exchange_id"]) for row in store.rows.get("tokens", ())}
        for exchange_id, text in acks.items():
            if not (exchange_id in stored and exchange_id in listed and exchange_id in tokens):
                found.lost.append(f"{exchange_id} {how}")
            elif "".join(one["text"] for one in orjson.loads(stored[exchange_id]["choices"])) != text:
                found.torn.append(f"{exchange_id} {how}")
        found.doubled += [f"{one} {how}" for one in store.twice()]
    return found


def _cuts(
    folder: Path, steps: Sequence[Step], most: int, chance: random.Random, found: Cuts
) -> Iterator[tuple[Disk, ModelStore, dict[str, str], str]]:
    """The disk, the store and the acknowledgements after each step."""
    chosen = set(chance.sample(range(len(steps)), min(most, len(steps))))
    disk, acks = Disk(folder), dict[str, str]()
    inserts: list[Step] = []
    for place, step in enumerate(steps):
        disk.apply(step)
        if step[1] == "ack":
            acks[step[2][0]] = step[2][1]
        elif step[1] == "insert":
            inserts.append(step)
        if place not in chosen:
            continue
        for how in WAYS:
            store = ModelStore()
            for _, _, (table, columns, rows, token) in inserts:
                store.insert(table, columns, rows, token)
            found.cuts += 1
            yield disk, store, acks, how
    found.acknowledged = len(acks)


def cut_proxy(home: Path, seed: int, *, seconds: float, most_cuts: int, way: str = "") -> Cuts:
    """Record a proxy's process under load, cut the power everywhere, and read the spool that is left."""
    log, spool = home / "log", home / "spool"
    launch = ("tests.faults.recorded", str(log), str(spool.resolve()), *([way] if way else []))
    stack = Stack(home, launch={"proxy": launch})
    with running(stack, "engine", "proxy"):
        ledger = asyncio.run(_load(stack, seconds, seed))
    steps = read_log(log)
    found, chance = Cuts(seed, len(steps), acknowledged=len(ledger.acknowledged)), random.Random(seed)
    chosen = set(chance.sample(range(len(steps)), min(most_cuts, len(steps))))
    when = sorted((int(seen.at * 1e9), exchange_id) for exchange_id, seen in ledger.acknowledged.items())
    disk = Disk(spool.resolve())
    for place, step in enumerate(steps):
        disk.apply(step)
        if place not in chosen:
            continue
        # An answer that was whole before the next step had ended owes nothing to that step.
        until = steps[place + 1][0] if place + 1 < len(steps) else step[0]
        acknowledged = [exchange_id for _, exchange_id in when[: bisect_left(when, (until, ""))]]
        for how in WAYS:
            found.cuts += 1
            with TemporaryDirectory() as there:
                disk.after_power_cut(Path(there), how, chance)
                _read(Path(there), acknowledged, ledger, found, how)
    return found


async def _load(stack: Stack, seconds: float, seed: int) -> Ledger:
    clients = Clients(stack.url, 8, random.Random(seed))
    await clients.start()
    await asyncio.sleep(seconds)
    await clients.finish()
    return clients.ledger


def _read(spool: Path, acknowledged: Sequence[str], ledger: Ledger, found: Cuts, how: str) -> None:
    with SpoolReader(spool, Keys.from_environment()) as reader:
        given = [raw for _, raw in reader.read(1_000_000, max_bytes=1 << 40)]
    read = {raw.exchange_id: raw for raw in given}
    if len(read) != len(given):
        found.doubled.append(how)
    for exchange_id in acknowledged:
        if exchange_id not in read:
            found.lost.append(f"{exchange_id} {how}")
            continue
        exchange = parse(read[exchange_id])
        text = "".join(choice.text for choice in exchange.choices)
        if exchange.end_reason != "stop" or text != ledger.acknowledged[exchange_id].text:
            found.torn.append(f"{exchange_id} {how}")
