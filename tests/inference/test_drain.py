"""The drain stores every exchange once, whatever dies and when."""

import contextlib
import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference import batches, clickhouse, records, storing
from inference.clickhouse import Store, Unavailable
from inference.drain import Drain, read_status
from inference.raw import RawExchange
from inference.rows import Record, Row
from inference.spool import SpoolBusyError, files
from inference.spool.reader import Ended
from tests.clickhouse_fixture import ClickHouseProcess
from tests.inference import spooled

KEYS = {
    "exchanges": "exchange_id, attempt",
    "tokens": "exchange_id, attempt, choice, source",
    "spans": "TraceId, SpanId",
    "facts": "exchange_id, attempt",
}
# Runs the drain in a process that kills itself at the given call of the given function, before or after it.
SUICIDE = """
import importlib, os, signal, sys
module, owner, name, when, call = sys.argv[1:6]
place = importlib.import_module(module)
place = getattr(place, owner) if owner else place
original, left = getattr(place, name), [int(call)]
def dying(*args, **kwargs):
    own = left[0] = left[0] - 1  # calls of several threads may be under way
    if when == "before" and own == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if when == "after" and own == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(place, name, dying)
from inference import drain
sys.exit(drain.main(sys.argv[6:]))
"""


@pytest.fixture
def store(clickhouse_process: ClickHouseProcess, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    _migrate()
    for table in KEYS:
        clickhouse_process.run(f"TRUNCATE TABLE {clickhouse.rpartition('/')[2]}.{table}")
    return _connect()


def _migrate() -> None:
    clickhouse.migrate()


def _connect() -> Store:
    return clickhouse.connect()


def counts(store: Store) -> dict[str, tuple[int, int]]:
    """Rows, and distinct rows, of each table."""
    return {
        table: tuple(store.query(f"SELECT count(), uniqExact({key}) FROM {table}").result_rows[0])
        for table, key in KEYS.items()
    }


def drain_all(spool: Path, **options: Any) -> Drain:
    drain = Drain(spool, **options)
    try:
        while drain.step():
            pass
    finally:
        drain.close()
    return drain


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_everything_spooled_is_stored_once(store: Store, tmp_path: Path) -> None:
    ids = spooled.spool(tmp_path, spooled.raws(range(30)))
    drain = drain_all(tmp_path, batch=7)
    assert set(counts(store).values()) == {(30, 30)}
    found = store.query("SELECT toString(exchange_id) FROM facts").result_rows
    assert sorted(row[0] for row in found) == sorted(ids)
    assert (drain.status.stored, drain.status.quarantined, drain.status.oldest_unstored_at) == (30, 0, None)
    assert drain_all(tmp_path).status.stored == 30
    assert set(counts(store).values()) == {(30, 30)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "death",
    [
        ("inference.batches", "", "replace", "after", 1),  # recorded, nothing sent
        ("inference.clickhouse", "Store", "send", "after", 1),  # one table
        ("inference.clickhouse", "Store", "send", "after", 3),  # three tables
        ("inference.clickhouse", "Store", "send", "after", 5),  # into the second batch
        ("inference.drain", "SpoolReader", "commit", "before", 1),  # all sent and verified
        ("inference.drain", "SpoolReader", "commit", "after", 2),  # checkpoint moved, record still there
        ("inference.spool.reader", "", "replace", "before", 1),  # while the checkpoint moves
    ],
)
def test_killed_between_steps_nothing_is_lost_or_doubled(
    store: Store, tmp_path: Path, death: tuple[str, str, str, str, int]
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(20)))
    command = [sys.executable, "-c", SUICIDE, *map(str, death)]
    killed = subprocess.run([*command, "--spool", str(tmp_path), "--batch", "8"], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    drain_all(tmp_path, batch=5)
    assert set(counts(store).values()) == {(20, 20)}


@pytest.mark.slow
@pytest.mark.parametrize("inserts", [1, 2, 3, 4])
def test_who_sees_an_exchange_sees_its_tokens_and_span(store: Store, tmp_path: Path, inserts: int) -> None:
    spooled.spool(tmp_path, spooled.raws(range(5)))
    death = ("inference.clickhouse", "Store", "send", "after", str(inserts))
    subprocess.run([sys.executable, "-c", SUICIDE, *death, "--spool", str(tmp_path)], timeout=60, check=False)
    found = {table: rows for table, (rows, _) in counts(store).items()}
    assert sum(found.values()) == 5 * inserts
    if found["exchanges"]:
        assert found["tokens"] == found["spans"] == 5
    if found["facts"]:
        assert found["exchanges"] == 5


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_doubled(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(1500)))
    chance = random.Random(7)
    for _ in range(6):
        process = start(tmp_path, "--batch", "40", "--interval", "0")
        wait_for((tmp_path / "batch.json").exists)
        time.sleep(chance.random() / 5)
        process.kill()
        process.wait()
    drain_all(tmp_path)
    assert set(counts(store).values()) == {(1500, 1500)}


def start(spool: Path, *options: str, **how: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "inference.drain", "--spool", str(spool), *options]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **how)


@pytest.mark.slow
def test_the_process_drains_and_ends_cleanly_on_sigterm(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(5)))
    process = start(tmp_path, "--interval", "0.05")
    wait_for(lambda: (status := read_status(tmp_path)) is not None and status.stored == 5)
    spooled.spool(tmp_path, spooled.raws(range(5, 8)))
    wait_for(lambda: (status := read_status(tmp_path)) is not None and status.stored == 8)
    with pytest.raises(SpoolBusyError):
        Drain(tmp_path)
    # Both proxies' processes are gone and their segments stored: nothing of them stays.
    wait_for(lambda: list(tmp_path.glob("*.segment")) == [])
    process.terminate()
    assert process.wait(timeout=20) == 0
    assert set(counts(store).values()) == {(8, 8)}


@pytest.mark.slow
def test_without_the_store_it_waits_and_then_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ClickHouseProcess(tmp_path / "engine")
    drain = Drain(tmp_path / "spool")
    thread = threading.Thread(target=drain.run, args=(0.01,))
    try:
        monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", f"{engine.address}/flywheel")
        clickhouse.migrate()
        engine.kill()
        spooled.spool(tmp_path / "spool", spooled.raws(range(9)))
        thread.start()
        wait_for(lambda: (status := read_status(tmp_path / "spool")) is not None and status.problem != "")
        status = read_status(tmp_path / "spool")
        assert status is not None
        assert status.oldest_unstored_at is not None
        assert status.stored == 0
        engine.start()
        wait_for(lambda: drain.status.stored == 9)
        assert drain.status.problem == ""
        assert set(counts(clickhouse.connect()).values()) == {(9, 9)}
    finally:
        drain.stop()
        thread.join()
        drain.close()
        engine.stop()


def test_a_store_that_is_away_for_long_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was on its way is let go with each failure, and not by a full collection: those are rare."""
    caplog.set_level(logging.CRITICAL, "urllib3")  # what is logged here is kept, with the error it names
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")
    spooled.spool(tmp_path, spooled.raws(range(3)))
    drain = Drain(tmp_path)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with contextlib.suppress(Unavailable):
                drain.step()
        held = [one for one in gc.get_objects() if type(one) in (Ended, Row)]
    finally:
        gc.enable()
        drain.close()
    assert drain.status.stored == 0
    assert held == []


def test_what_cannot_be_parsed_is_kept_and_counted(store: Store, tmp_path: Path) -> None:
    broken, whole = spooled.raw(1), spooled.raw(2)
    del broken.opened["route"]
    spooled.spool(tmp_path, [broken, whole])
    drain = drain_all(tmp_path)
    assert (drain.status.quarantined, counts(store)["facts"]) == (1, (1, 1))
    (kept,) = (tmp_path / "quarantine").glob("*.json")
    content = json.loads(kept.read_bytes())
    assert content["exchange_id"] == broken.exchange_id
    assert "route" in content["reason"]
    assert kept.stat().st_mode & 0o077 == 0


def test_a_parsers_mistake_costs_one_exchange_its_row(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [spooled.raw(number) for number in range(3)]
    original = records.parse

    def stumbling(raw: RawExchange) -> Record | None:
        if raw.exchange_id == raws[1].exchange_id:
            raise IndexError("list index out of range")
        return original(raw)

    monkeypatch.setattr(records, "parse", stumbling)
    spooled.spool(tmp_path, raws)
    drain = drain_all(tmp_path)
    assert counts(store)["exchanges"] == (2, 2)
    assert drain.status.quarantined == 1


def test_a_full_disk_is_freed_from_the_reserve(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled.spool(tmp_path, spooled.raws(range(3)))
    drain_all(tmp_path)
    reserve = tmp_path / "reserve"
    assert reserve.stat().st_blocks * 512 >= 1 << 20
    spooled.spool(tmp_path, spooled.raws(range(3, 6)))
    original = files.replace

    def full(path: Path, content: bytes) -> None:
        if reserve.exists():
            raise OSError(28, "No space left on device")
        original(path, content)

    monkeypatch.setattr(batches, "replace", full)
    drain = Drain(tmp_path)
    thread = threading.Thread(target=drain.run, args=(0.01,))
    thread.start()
    try:
        wait_for(lambda: drain.status.stored == 6)
    finally:
        drain.stop()
        thread.join()
        drain.close()
    assert set(counts(store).values()) == {(6, 6)}


def test_an_unreadable_record_of_a_batch_doubles_nothing(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(20)))
    death = ("inference.clickhouse", "Store", "send", "after", "3")
    subprocess.run([sys.executable, "-c", SUICIDE, *death, "--spool", str(tmp_path)], timeout=60, check=False)
    (tmp_path / "batch.json").write_bytes(b"\0\0")
    drain = drain_all(tmp_path)
    assert set(counts(store).values()) == {(20, 20)}
    assert drain.status.damaged == 1


def test_a_row_that_fits_no_table_does_not_hold_up_the_others(store: Store, tmp_path: Path) -> None:
    raws = [spooled.raw(number) for number in range(6)]
    raws[3].closed["status"] = 70_000
    spooled.spool(tmp_path, raws)
    drain = drain_all(tmp_path)
    found = counts(store)
    # Its tokens were written before its own row was refused; without that row nothing shows them.
    assert found["exchanges"] == found["facts"] == (5, 5)
    assert found["tokens"] == found["spans"] == (6, 6)
    (kept,) = (tmp_path / "quarantine").glob("*.json")
    assert raws[3].exchange_id in kept.name
    assert drain.status.quarantined == 1


def test_damage_in_the_spool_is_counted_once_and_costs_one_exchange(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(5)))
    (segment,) = tmp_path.glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    drain = drain_all(tmp_path)
    assert counts(store)["exchanges"] == (4, 4)
    assert drain.status.damaged >= 1
    assert (tmp_path / "quarantine" / "damage.jsonl").read_text().count("\n") == drain.status.damaged
    assert drain_all(tmp_path).status.damaged == drain.status.damaged


def test_a_batch_sent_twice_counts_once_whatever_is_already_there(store: Store) -> None:
    made = spooled.exchanges(range(10))
    storing.store(store, made[:4], "first", again=False)
    for _ in range(3):
        storing.store(store, made, "second", again=True)
        assert set(counts(store).values()) == {(10, 10)}


def test_rows_that_vanished_after_they_were_acknowledged_are_sent_again(store: Store) -> None:
    made = spooled.exchanges(range(10))
    storing.store(store, made, "batch", again=False)
    store.command(f"DELETE FROM tokens WHERE exchange_id = '{made[2].exchange_id}'")
    store.command("DELETE FROM facts WHERE 1")
    # The tokens of these inserts are still remembered, so that a plain repetition is swallowed.
    storing.store(store, made, "batch", again=True)
    assert set(counts(store).values()) == {(10, 10)}


def test_a_batch_may_span_months(store: Store) -> None:
    day = 86_400_000_000
    made = [spooled.exchanges([n], started_us=1_790_000_000_000_000 + n * 20 * day)[0] for n in range(6)]
    storing.store(store, made, "batch", again=False)
    assert set(counts(store).values()) == {(6, 6)}
    found = store.query("SELECT uniqExact(toYYYYMM(started_at)) FROM exchanges").result_rows
    assert found[0][0] >= 4


def test_an_open_exchange_of_a_dead_proxy_is_a_row(store: Store, tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, uuid\n"
        "from inference.spool import Spool\n"
        "from tests.inference import spooled\n"
        "async def main():\n"
        "    from pathlib import Path\n"
        f"    spool = Spool(Path({str(tmp_path)!r}))\n"
        "    spool.start()\n"
        "    one, two = spooled.raw(1), spooled.raw(2)\n"
        "    first = spool.record(uuid.UUID(one.exchange_id)); first.open(one.opened, one.request)\n"
        "    second = spool.record(uuid.UUID(two.exchange_id)); second.open(two.opened, two.request)\n"
        "    second.write(two.response); await second.close(two.closed)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=False, env={**os.environ, "PYTHONPATH": "."}
    )
    assert killed.returncode == -signal.SIGKILL
    drain_all(tmp_path)
    found = store.query("SELECT end_reason, tokens_expected FROM exchanges ORDER BY end_reason").result_rows
    assert [tuple(row) for row in found] == [("proxy_died", False), ("stop", True)]
