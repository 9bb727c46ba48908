"""Several batches on their way into the store at a time: whatever fails, every exchange is there once."""

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from inference import storing
from inference.batches import RECORD, BatchRecord
from inference.clickhouse import Store, Unavailable
from inference.drain import Drain, read_status
from inference.spool import Position
from tests.inference import spooled
from tests.inference.test_drain import SUICIDE, counts, drain_all, start, store, wait_for

__all__ = ["store"]  # a fixture


def test_the_record_gives_back_what_was_written_and_refuses_what_is_none(tmp_path: Path) -> None:
    record = BatchRecord(tmp_path)
    assert record.load() == []
    for broken in (b"\0", b"{}", b'{"batches": 3}', b'{"batches": [{"batch": "b"}]}', b"[]"):
        (tmp_path / RECORD).write_bytes(broken)
        with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
            record.load()
    (tmp_path / RECORD).write_bytes(
        b'{"batches": [{"batch": "b", "until": "%b"}]}' % str(Position(1, 2, 3)).encode()
    )
    assert record.load() == [("b", Position(1, 2, 3))]
    record.clear()
    assert record.load() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "death",
    [
        ("inference.batches", "", "replace", "after", 2),  # two are recorded, one is being sent
        ("inference.clickhouse", "Store", "send", "before", 4),
        ("inference.clickhouse", "Store", "send", "after", 4),
        ("inference.clickhouse", "Store", "send", "after", 9),
        ("inference.drain", "SpoolReader", "commit", "before", 1),
        ("inference.drain", "SpoolReader", "commit", "after", 1),
        ("inference.drain", "SpoolReader", "commit", "after", 3),
    ],
)
def test_killed_with_several_on_their_way_nothing_is_lost_or_doubled(
    store: Store, tmp_path: Path, death: tuple[str, str, str, str, int]
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(40)))
    command = [sys.executable, "-c", SUICIDE, *map(str, death), "--spool", str(tmp_path)]
    killed = subprocess.run([*command, "--batch", "5", "--processes", "3"], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    drain_all(tmp_path, batch=7)
    assert set(counts(store).values()) == {(40, 40)}


@pytest.mark.slow
def test_killed_again_and_again_with_several_on_their_way(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(1500)))
    chance = random.Random(11)
    several = 0
    for _ in range(5):
        process = start(tmp_path, "--batch", "20", "--interval", "0", "--processes", "3")
        had = read_status(tmp_path)
        wait_for(lambda had=had: (now := read_status(tmp_path)) is not None and now != had)  # type: ignore[misc]
        time.sleep(chance.random() / 3)
        process.kill()
        process.wait()
        several += len(BatchRecord(tmp_path).load()) > 1
    drain_all(tmp_path)
    assert set(counts(store).values()) == {(1500, 1500)}
    assert several


def test_told_to_stop_before_it_has_read_anything_it_forgets_no_batch(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(9)))
    death = ("inference.clickhouse", "Store", "send", "after", "2")
    subprocess.run([sys.executable, "-c", SUICIDE, *death, "--spool", str(tmp_path)], timeout=60, check=False)
    recorded = BatchRecord(tmp_path).load()
    drain = Drain(tmp_path)
    drain.stop()
    assert drain.step() == 0
    drain.close()
    assert recorded
    assert BatchRecord(tmp_path).load() == recorded
    drain_all(tmp_path)
    assert set(counts(store).values()) == {(9, 9)}


@pytest.mark.slow
@pytest.mark.parametrize("reached", [False, True])
def test_one_that_fails_among_others_is_stored_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    """The answer to a batch is lost, before or after it was stored, while others are on their way."""
    spooled.spool(tmp_path, spooled.raws(range(60)))
    original, lock, calls = storing.store_blocks, threading.Lock(), [0]

    def failing(*given: Any, **how: Any) -> bool:
        with lock:
            calls[0] += 1
            fails = calls[0] in (2, 6)
        if fails and not reached:
            raise Unavailable("away")
        whole = original(*given, **how)
        if fails:
            raise Unavailable("away")
        return whole

    monkeypatch.setattr(storing, "store_blocks", failing)
    drain = Drain(tmp_path, batch=5, processes=2)
    failures = 0
    while drain.status.stored < 60:
        try:
            drain.step()
        except Unavailable:
            failures += 1
    drain.step()
    drain.close()
    assert failures
    assert set(counts(store).values()) == {(60, 60)}
    assert not (tmp_path / RECORD).exists()


@pytest.mark.slow
def test_several_are_on_their_way_and_end_in_order(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(40)))
    original, lock = storing.store_blocks, threading.Lock()
    first, second = threading.Event(), threading.Event()
    begun: list[str] = []

    def meeting(trace_store: Store, blocks: Any, batch: str) -> bool:
        with lock:
            begun.append(batch)
            number = len(begun)
        if number == 1:
            assert second.wait(20), "the second batch waits for the first"
        elif number == 2:
            whole = original(trace_store, blocks, batch)
            second.set()
            assert not first.is_set()
            return whole
        whole = original(trace_store, blocks, batch)
        if number == 1:
            first.set()
        return whole

    monkeypatch.setattr(storing, "store_blocks", meeting)
    drain = Drain(tmp_path, batch=10, processes=2)
    assert drain.step() == 10
    assert first.is_set()
    assert [name for name, _ in BatchRecord(tmp_path).load()][:2] == begun[:2]
    assert [drain.step() for _ in range(4)] == [10, 10, 10, 0]
    drain.close()
    assert set(counts(store).values()) == {(40, 40)}


@pytest.mark.slow
def test_told_to_stop_what_is_on_its_way_is_ended_and_nothing_else_begun(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(60)))
    original, lock, calls = storing.store_blocks, threading.Lock(), [0]
    drain = Drain(tmp_path, batch=5, processes=2)

    def stopping(*given: Any, **how: Any) -> bool:
        with lock:
            calls[0] += 1
        if calls[0] > 2:
            drain.stop()
        return original(*given, **how)

    monkeypatch.setattr(storing, "store_blocks", stopping)
    drain.run(0.01)
    drain.close()
    begun = calls[0]
    assert drain.status.stored == 5 * begun < 60
    assert not (tmp_path / RECORD).exists()
    assert set(counts(store).values()) == {(5 * begun, 5 * begun)}
