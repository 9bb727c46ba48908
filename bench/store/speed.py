"""How fast pages are answered while the drain inserts, and how fast it drains."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench.store import fill, sample
from bench.store.pages import questions
from inference import clickhouse, readers, storing
from inference.clickhouse import Store
from inference.drain import read_status
from inference.exchange import parse
from inference.spool import Spool

_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Answered:
    """One question at one size: seconds, at the median and at the 95th percentile."""

    name: str
    median: float
    p95: float


def spool(folder: Path, count: int, first: int) -> None:
    """Write exchanges as a proxy does, and let go of the spool."""
    asyncio.run(_spool(folder, count, first))


async def _spool(folder: Path, count: int, first: int) -> None:
    writer = Spool(folder)
    writer.start()
    for raw in sample.exchanges(count, first=first):
        recording = writer.record(UUID(raw.exchange_id))
        recording.open(raw.opened, raw.request)
        recording.write(raw.response)
        await recording.close(raw.closed, durable=False)
        await writer.room()
    await writer.stop()


def filled(size: int) -> Store:
    """The store of FLYWHEEL_CLICKHOUSE_URL with so many exchanges of the last weeks."""
    clickhouse.migrate()
    store = clickhouse.connect()
    for table in ("tokens", "exchanges", "facts", "spans"):
        store.command(f"TRUNCATE TABLE {table}")
    found = sample.exchanges(len(sample.recorded()))
    storing.store(store, [parse(raw) for raw in found], f"base of {size}", again=True)
    base = fill.keep_base(store)
    fill.multiply(store, base, range(size), size, time.time_ns() // 1000)
    return store


@readers.as_the_system()
def pages(code: Path, folder: Path, count: int) -> list[Answered]:
    """Every page's queries, again and again, while a drain has ``count`` exchanges to store. ``code`` is the
    checkout that the drain is run from, or the copy of it in which the hot path is compiled.
    """
    spool(folder, count, first=5_000_000)
    with _draining(code, folder):
        asked = questions()
        for question in asked:
            question.ask()
        took: dict[str, list[float]] = {question.name: [] for question in asked}
        for _ in range(_ROUNDS):
            for question in asked:
                began = time.perf_counter()
                question.ask()
                took[question.name].append(time.perf_counter() - began)
    return [
        Answered(name, sorted(seconds)[_ROUNDS // 2], sorted(seconds)[-1 - _ROUNDS // 20])
        for name, seconds in took.items()
    ]


@contextmanager
def _draining(code: Path, folder: Path, processes: int = 0) -> Iterator[int]:
    command = [sys.executable, "-m", "inference.drain", "--spool", str(folder), "--interval", "0.05"]
    command += ["--processes", str(processes)]
    process = subprocess.Popen(command, cwd=code, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, slots=True)
class Drained:
    """How fast a drain stores and verifies, its start left out."""

    per_second: float
    cpu_seconds: float
    """Of processor time, for each exchange: the drain's and its processes', not the trace store's."""
    own_seconds: float
    """Of that, what the drain itself needs, which no more processes make less."""
    peak_mb: float
    """The most resident memory that the drain had."""


def drained(code: Path, folder: Path, count: int, processes: int) -> Drained:
    """A spool of so many exchanges into the store."""
    spool(folder, count, first=8_000_000)
    with _draining(code, folder, processes) as drain:
        began = _wait(folder, 1)
        first, *before = read_status(folder), *_cpu_seconds(drain)
        ended = _wait(folder, count)
        own, others = (after - earlier for after, earlier in zip(_cpu_seconds(drain), before, strict=True))
        peak_mb = _peak_mb(drain)
    assert first is not None
    stored = count - first.stored
    return Drained(stored / (ended - began), (own + others) / stored, own / stored, peak_mb)


def _peak_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _cpu_seconds(process: int) -> tuple[float, float]:
    """Processor time so far, of a process and of its children."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return _cpu_of(process), sum(map(_cpu_of, children))


def _cpu_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait(folder: Path, stored: int) -> float:
    while (status := read_status(folder)) is None or status.stored < stored:
        time.sleep(0.01)
    return time.perf_counter()
