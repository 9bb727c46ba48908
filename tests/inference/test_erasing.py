"""What was erased is gone from every table and from disk, and what of it still arrives is dropped."""

import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from inference import clickhouse, erased, erasing, quarantine
from inference.clickhouse import Store
from inference.drain import Drain
from inference.raw import RawExchange
from inference.spool import KeyMissingError, Keys
from inference.uuid7 import uuid7
from tests.clickhouse_fixture import ClickHouseProcess
from tests.inference import spooled

SALT = "ab" * 32
MARK = "xyzzy-marker"


@pytest.fixture
def store(clickhouse_process: ClickHouseProcess, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    clickhouse_migrate()
    for table in (*erasing.TABLE_NAMES, "erased"):
        clickhouse_process.run(f"TRUNCATE TABLE {clickhouse.rpartition('/')[2]}.{table}")
    return connect()


def clickhouse_migrate() -> None:
    clickhouse.migrate()


def connect() -> Store:
    return clickhouse.connect()


def wish(user: str = MARK, before: datetime | None = None) -> erasing.Wish:
    return erasing.Wish(
        uuid.uuid4(), SALT, erased.digest(SALT, user), before or datetime.now(UTC) + timedelta(seconds=1)
    )


def application_spans(trace_id: str, key: str = "coding desk", **attributes: str) -> RawExchange:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = bytes.fromhex(trace_id), bytes(7) + b"\x09"
    span.start_time_unix_nano = time.time_ns()
    span.name = "retrieval"
    for name, value in attributes.items():
        attribute = span.attributes.add()
        attribute.key, attribute.value.string_value = name.replace("_", "."), value
    opened = {
        "kind": "spans",
        "content_type": "application/x-protobuf",
        "at_us": time.time_ns() // 1000,
        "source": key,
    }
    closed = {"end_reason": "complete"}
    return RawExchange(str(uuid7()), 0, opened, request.SerializeToString(), b"", closed)


def theirs() -> list[RawExchange]:
    """One of each kind: by name, by session, by exchange, by trace, by a span's attribute."""
    named = spooled.raw(1, user=MARK, session="s-" + MARK, text=f"of {MARK}", tags={"who": MARK})
    silent = spooled.raw(2, session="s-" + MARK, text=f"also {MARK}")
    return [
        named,
        silent,
        spooled.event(named.exchange_id, comment=f"said {MARK}"),
        spooled.event(trace_id=named.opened["trace_id"], comment=f"traced {MARK}"),
        spooled.event(str(uuid7()), comment=f"on another's {MARK}", user=MARK),
        application_spans(named.opened["trace_id"], document=MARK),
        application_spans("f" * 32, user_id=MARK, document=MARK),
    ]


def others() -> list[RawExchange]:
    one = spooled.raw(11, user="bob", session="s-bob")
    return [one, spooled.raw(12), spooled.event(one.exchange_id, comment="fine", user="bob"),
            application_spans("e" * 32, user_id="bob")]  # fmt: skip


def drain(spool: Path, keys: Keys | None = None, **how: Any) -> Drain:
    made = Drain(spool, keys=keys, **how)
    try:
        while made.step():
            pass
    finally:
        made.close()
    return made


def erase(store: Store, one: erasing.Wish) -> dict[str, int]:
    erasing.announce(store, one)
    erasing.collect(store, one)
    counted = erasing.count(store, one)
    since = erasing.now(store)
    erasing.delete(store, one)
    wait_for(lambda: erasing.remaining(store, since).mutations == 0)
    return counted


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows(store: Store) -> dict[str, int]:
    return {t: store.query(f"SELECT count() FROM {t}").result_rows[0][0] for t in erasing.TABLE_NAMES}


def test_a_users_rows_go_from_every_table_and_nobody_elses(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, others())
    drain(tmp_path)
    before = rows(store)
    spooled.spool(tmp_path, theirs())
    drain(tmp_path)
    counted = erase(store, one := wish())
    assert counted == {"tokens": 2, "spans": 4, "exchanges": 2, "facts": 2, "events": 3}
    assert rows(store) == before
    assert set(erasing.count(store, one).values()) == {0}
    assert MARK not in str(store.query("SELECT * FROM erased").result_rows)


def test_every_table_with_peoples_data_is_known(store: Store) -> None:
    """A new table says here that it holds nobody's data, or is erased from."""
    found = store.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    harmless = {"migrations", "erased", "held", "kept_from", "vitals"}
    assert {name for (name,) in found} - harmless == set(erasing.TABLE_NAMES)


def test_what_still_comes_is_dropped_whoever_brings_it(store: Store, tmp_path: Path) -> None:
    late, newer = theirs(), spooled.raw(30, user=MARK, started_us=int((time.time() + 3600) * 1e6))
    spooled.spool(tmp_path, others())
    drain(tmp_path)
    before = rows(store)
    erasing.announce(store, one := wish())
    spooled.spool(tmp_path / "a", [*late[:2], newer])
    spooled.spool(tmp_path / "b", late[2:])
    drain(tmp_path / "a")  # then the other host's drain knows of the exchanges, too
    assert drain(tmp_path / "b").status.stored == len(late[2:])
    after = rows(store)
    # What the user does later is new: it is stored.
    assert {name: after[name] - before[name] for name in after} == {
        "tokens": 1, "spans": 1, "exchanges": 1, "facts": 1, "events": 0,
    }  # fmt: skip
    assert erasing.later(store, one) == 5
    assert MARK not in str(store.query("SELECT * FROM erased").result_rows)


def by_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How large the batches were that could not go as blocks, from now on."""
    seen: list[int] = []
    one_by_one = Drain._store_rows

    def noted(self: Drain, batch: Any, *rest: Any, **more: Any) -> None:
        seen.append(len(batch))
        one_by_one(self, batch, *rest, **more)

    monkeypatch.setattr(Drain, "_store_rows", noted)
    return seen


@pytest.mark.slow
def test_of_several_batches_on_their_way_it_is_dropped_with_its_companions(
    store: Store, tmp_path: Path
) -> None:
    """What tells of a dropped record comes in a batch after it, and names nobody itself."""
    erasing.announce(store, wish())
    for number in range(8):
        named = spooled.raw(number, user=MARK, session="s-" + MARK, text=f"of {MARK}")
        spooled.spool(tmp_path, [
            named,
            spooled.event(named.exchange_id, comment=f"said {MARK}"),
            application_spans(named.opened["trace_id"], document=MARK),
        ])  # fmt: skip
    drain(tmp_path, batch=1, processes=3)
    assert set(rows(store).values()) == {0}


def test_what_an_erasure_does_not_touch_goes_as_blocks(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every drain would be slow for ever after the first one."""
    erasing.announce(store, wish(before=datetime.now(UTC) - timedelta(hours=1)))
    seen = by_rows(monkeypatch)
    spooled.spool(tmp_path, [*others(), spooled.raw(13, user=MARK, started_us=time.time_ns() // 1000)])
    drain(tmp_path)
    assert not seen
    found = rows(store)
    assert (found["exchanges"], found["events"], found["spans"]) == (3, 1, 4)


@pytest.mark.parametrize("which", range(len(theirs())))
def test_what_an_erasure_touches_does_not(
    which: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind alone, when the rest of it has been dropped already."""
    late = theirs()
    erasing.announce(store, wish())
    spooled.spool(tmp_path / "a", late[:which] + late[which + 1 :])
    drain(tmp_path / "a")
    before, seen = rows(store), by_rows(monkeypatch)
    spooled.spool(tmp_path / "b", [late[which]])
    drain(tmp_path / "b")
    assert seen == [1]
    assert rows(store) == before


def test_what_was_kept_aside_is_deleted_too(store: Store, tmp_path: Path) -> None:
    broken, other = spooled.raw(1, user=MARK), spooled.raw(2, user="bob")
    del broken.opened["route"], other.opened["route"]
    spooled.spool(tmp_path, [broken, other])
    assert drain(tmp_path).status.quarantined == 2
    erasing.announce(store, one := wish())
    spooled.spool(tmp_path, [broken])  # and what comes later is not kept aside either
    assert drain(tmp_path).status.quarantined == 1
    assert erasing.later(store, one) == 1
    (left,) = (tmp_path / "quarantine").glob("*.json")
    assert orjson.loads(left.read_bytes())["opened"]["user"] == "bob"


def test_of_an_encrypted_spool_it_is_dropped_and_deleted_too(store: Store, tmp_path: Path) -> None:
    keys, broken, other = Keys.parse("0f" * 32), spooled.raw(1, user=MARK), spooled.raw(2, user="bob")
    del broken.opened["route"], other.opened["route"]
    spooled.spool(tmp_path, [broken, other], keys)
    assert drain(tmp_path, keys).status.quarantined == 2
    erasing.announce(store, one := wish())
    late, before = theirs(), rows(store)
    spooled.spool(tmp_path, late, keys)
    assert drain(tmp_path, keys).status.quarantined == 1
    (left,) = (tmp_path / "quarantine").glob("*.json")
    assert quarantine.content(left, keys)["opened"]["user"] == "bob"
    after = rows(store)
    assert [after[name] - before[name] for name in ("exchanges", "facts", "tokens", "events")] == [0] * 4
    assert erasing.later(store, one) == 6


def test_what_is_kept_aside_under_a_key_that_is_gone_stops_the_drain_that_must_erase_it(
    store: Store, tmp_path: Path
) -> None:
    broken = spooled.raw(1, user=MARK)
    del broken.opened["route"]
    spooled.spool(tmp_path, [broken], old := Keys.parse("0f" * 32))
    assert drain(tmp_path, old).status.quarantined == 1
    erasing.announce(store, wish())
    (left,) = (tmp_path / "quarantine").glob("*.json")
    for keys in (None, Keys.parse("a1" * 32)):
        with pytest.raises(KeyMissingError, match=f"{left} is encrypted under key {old.ids[0]}"):
            drain(tmp_path, keys)
        assert left.exists()
    assert drain(tmp_path, Keys.parse("a1" * 32 + " " + "0f" * 32)).status.quarantined == 0


def test_no_byte_of_it_is_left_on_the_stores_disk(
    store: Store, tmp_path: Path, clickhouse_process: ClickHouseProcess
) -> None:
    spooled.spool(tmp_path, [*theirs(), *others()])
    drain(tmp_path)
    since = erasing.now(store)
    for table in erasing.TABLE_NAMES:
        # Uncompressed and unmerged, so that a search of the files finds what is there.
        columns = store.query(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
            f"AND table = '{table}' AND type LIKE '%String%' AND default_kind = ''"
        ).result_rows
        changes = ", ".join(f"MODIFY COLUMN `{name}` {kind} CODEC(NONE)" for name, kind in columns)
        store.command(f"ALTER TABLE {table} {changes}")
        soon = "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1"
        store.command(f"ALTER TABLE {table} MODIFY SETTING {soon}")
        # A table's cleaner goes by the settings that it was begun with.
        store.command(f"DETACH TABLE {table} SYNC")
        store.command(f"ATTACH TABLE {table}")
    assert found_in(clickhouse_process.path)
    erase(store, wish())
    wait_for(lambda: erasing.remaining(store, since).old_parts == 0)
    wait_for(lambda: not found_in(clickhouse_process.path))


def found_in(folder: Path) -> list[Path]:
    """Files with the marker, as it is or inside zstd frames."""
    files = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    return [path for path in files if path.is_file() and MARK.encode() in readable(path)]


def readable(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    try:
        return content + zstandard.ZstdDecompressor().decompressobj().decompress(content)
    except zstandard.ZstdError:
        return content


def test_a_wish_takes_nothing_but_digits() -> None:
    good: dict[str, Any] = {
        "erasure": uuid.uuid4(),
        "salt": SALT,
        "hash": "c" * 64,
        "before": datetime.now(UTC),
    }
    erasing.Wish(**good)
    for name in ("salt", "hash"):
        with pytest.raises(ValueError, match="hexadecimal"):
            erasing.Wish(**good | {name: "' OR 1 --".ljust(64)})
