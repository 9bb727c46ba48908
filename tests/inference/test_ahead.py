"""Preparing ahead, in a thread and in processes: whoever dies, every exchange is stored once."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inference import ahead, storing
from inference import drain as drain_module
from inference.ahead import Made
from inference.clickhouse import Store, Unavailable
from inference.drain import Drain, read_status
from inference.spool.reader import Ended, decode
from tests.inference import spooled
from tests.inference.test_drain import KEYS, counts, drain_all, start, store, wait_for

__all__ = ["store"]  # a fixture
_prepare = ahead._prepare


def stumbling(batch: Sequence[Ended], **how: Any) -> Made:
    """Runs in a process, which a record with a certain word in it ends."""
    if any(b"poison" in decode(one).request for one in batch):
        os.kill(os.getpid(), signal.SIGKILL)
    return _prepare(batch, **how)


def dying(batch: Sequence[Ended], **how: Any) -> Made:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def is_gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_a_bound_cut_off_does_not_wait_for_the_interval(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_BATCH_BYTES", 1)
    spooled.spool(tmp_path, spooled.raws(range(6)))
    drain = Drain(tmp_path)
    said = drain._say

    def stop_at_the_end(*, stored: int = 0, problem: str = "") -> None:
        said(stored=stored, problem=problem)
        if drain.status.stored == 6:
            drain.stop()

    monkeypatch.setattr(drain, "_say", stop_at_the_end)
    drain.run(interval_seconds=3600)
    drain.close()
    assert set(counts(store).values()) == {(6, 6)}


def test_what_was_read_ahead_of_a_failure_is_read_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(12)))
    drain, original, calls = Drain(tmp_path, batch=4), storing.store_blocks, [0]

    def failing(*given: Any, **how: Any) -> bool:
        calls[0] += 1
        if calls[0] == 2:
            raise Unavailable("away")
        return original(*given, **how)

    monkeypatch.setattr(storing, "store_blocks", failing)
    assert drain.step() == 4
    with pytest.raises(Unavailable):
        drain.step()
    assert [drain.step() for _ in range(3)] == [4, 4, 0]
    drain.close()
    assert set(counts(store).values()) == {(12, 12)}


@pytest.mark.slow
def test_processes_store_what_a_thread_does(store: Store, tmp_path: Path) -> None:
    broken, damaged = spooled.raw(98), spooled.raw(99, closed={"status": 70_000})
    del broken.opened["route"]
    raws = [*spooled.raws(range(30)), broken, damaged]
    found = []
    for name, processes in (("thread", 0), ("processes", 2)):
        for table in KEYS:
            store.command(f"TRUNCATE TABLE {table}")
        spooled.spool(tmp_path / name, raws)
        drain = drain_all(tmp_path / name, batch=8, processes=processes)
        assert (drain.status.stored, drain.status.quarantined) == (32, 2)
        found.append(
            [
                store.query(f"SELECT * {but} FROM {table} ORDER BY 1, 2, 3").result_rows
                for table, but in (
                    *((one, "EXCEPT stored_at") for one in KEYS if one != "spans"),
                    ("spans", ""),
                )
            ]
        )
    assert found[0] == found[1]
    assert len(found[0][0]) == 30


@pytest.mark.slow
def test_a_record_that_kills_its_reader_is_kept_aside_and_the_rest_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_prepare", stumbling)
    poison = spooled.raw(99, messages=[{"role": "user", "content": "poison"}])
    spooled.spool(tmp_path, [*spooled.raws(range(5)), poison, *spooled.raws(range(5, 12))])
    drain = drain_all(tmp_path, batch=4, processes=1)
    assert (drain.status.stored, drain.status.quarantined) == (13, 1)
    assert set(counts(store).values()) == {(12, 12)}
    (kept,) = (tmp_path / "quarantine").glob("*.json")
    assert poison.exchange_id in kept.name


@pytest.mark.slow
def test_where_no_process_lives_nothing_is_blamed_on_a_record(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(2)))
    with monkeypatch.context() as broken:
        broken.setattr(ahead, "_prepare", dying)
        drain = Drain(tmp_path, processes=1)
        with pytest.raises(OSError, match="do not live"):
            drain.step()
        drain.close()
    assert list((tmp_path / "quarantine").glob("*.json")) == []
    drain_all(tmp_path, processes=1)
    assert set(counts(store).values()) == {(2, 2)}


@pytest.mark.slow
def test_a_killed_process_costs_nothing(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(1200)))
    chance, killed = random.Random(3), 0
    drain = start(tmp_path, "--batch", "30", "--interval", "0.01", "--processes", "2")
    try:
        while (status := read_status(tmp_path)) is None or status.stored < 1200:
            assert drain.poll() is None
            # With one more a record might be blamed for them.
            if killed < 4 and (here := children(drain.pid)):
                os.kill(chance.choice(here), signal.SIGKILL)
                killed += 1
            time.sleep(chance.random() / 2)
    finally:
        drain.terminate()
        assert drain.wait(timeout=60) == 0
    assert killed
    assert set(counts(store).values()) == {(1200, 1200)}


@pytest.mark.slow
def test_told_to_stop_with_its_processes_it_ends_well_and_leaves_none(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(400)))
    command = ["--batch", "20", "--interval", "0.01", "--processes", "2"]
    drain = start(tmp_path, *command, start_new_session=True)
    wait_for(lambda: (status := read_status(tmp_path)) is not None and status.stored > 0)
    here = children(drain.pid)
    # As a terminal or a supervisor does: to all of them at once.
    os.killpg(drain.pid, signal.SIGTERM)
    assert drain.wait(timeout=60) == 0
    assert here
    wait_for(lambda: all(map(is_gone, here)))
    drain_all(tmp_path)
    assert set(counts(store).values()) == {(400, 400)}


@pytest.mark.slow
def test_killed_itself_it_leaves_no_process_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(400)))
    drain = start(tmp_path, "--batch", "20", "--processes", "2")
    wait_for(lambda: len(children(drain.pid)) == 2 and (tmp_path / "batch.json").exists())
    here = children(drain.pid)
    drain.kill()
    drain.wait()
    wait_for(lambda: all(map(is_gone, here)))
    drain_all(tmp_path)
    assert set(counts(store).values()) == {(400, 400)}
