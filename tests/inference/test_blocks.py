"""Blocks that are made ahead store what rows do, and what of them is lost is noticed and repaired."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.transform import NativeTransform
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import clickhouse, cuts, exchange, native, storing
from inference.answer import Tokens
from inference.captured import CapturedTokens
from inference.clickhouse import RejectedError, Store
from inference.cuts import Block, Types
from inference.drain import Drain
from inference.preparing import Ready
from inference.raw import RawExchange
from inference.records import parse
from inference.rows import BY_NAME, TABLES, Record, Row, rows
from tests.inference import spooled
from tests.inference.test_drain import KEYS, counts, drain_all, store
from tests.inference.test_packing import tokens

__all__ = ["store"]  # a fixture
NOW = 1_790_000_000_000_000
MONTH = 31 * 86_400_000_000
words = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Exchanges, some with many choices, tokens of engines' own, and feedback; in several months."""
    made: list[Record] = []
    for number in range(draw(st.integers(1, 4))):
        when = NOW + number + draw(st.integers(0, 2)) * MONTH
        tags = draw(st.dictionaries(words, words, max_size=3))
        given = spooled.raw(number, started_us=when, user=draw(words), session=draw(words), tags=tags)
        one = exchange.parse(given)
        choices = [replace(each, choice=at) for at, each in enumerate(draw(st.lists(tokens(), max_size=3)))]
        made.append(
            replace(
                one,
                tokens=choices,
                prompt_token_ids=draw(st.lists(st.integers(0, 2**32 - 1), max_size=3)),
                tokens_match=draw(st.sampled_from([None, True, False])),
                first_token_seconds=draw(st.one_of(st.none(), st.floats(0, 9))),
            )
        )
        made.append(_captured(one, draw(tokens())))
        event = parse(spooled.event(one.exchange_id, at_us=when, said=draw(words)))
        assert event is not None
        made.append(event)
    return made


def _captured(one: Any, made: Tokens) -> CapturedTokens:
    return CapturedTokens(
        *(one.exchange_id, one.attempt, one.started_us, "w", "t", "raw_logprobs"),
        *(replace(made, choice=7, source="engine"), [], "stop", True),
    )


def types(store: Store) -> Types:
    return {table.name: store.types(table.name, table.columns) for table in TABLES}


def blocks_of(store: Store, made: Sequence[Row]) -> list[Block]:
    known = types(store)
    return [cut.block(known[cut.table.name]) for cut in cuts.cuts(made)]


def all_rows(made: Sequence[Record]) -> list[Row]:
    return [row for one in rows(made) for row in one]


def stored(store: Store, table: str) -> list[tuple[Any, ...]]:
    names = ", ".join(f"`{name}`" for name in BY_NAME[table].columns)
    order = ", ".join(key for key, _ in BY_NAME[table].key)
    found = store.query(f"SELECT {names} FROM {table} ORDER BY {order}").result_rows
    return [tuple(repr(value) for value in row) for row in found]


def by_the_client(store: Store, cut: cuts.Cut) -> bytes:
    """What clickhouse-connect itself makes of a cut's rows, whose arrays are lists."""
    plain = [
        [value.tolist() if hasattr(value, "tolist") else value for value in row.values]
        for row in cut.rows.values()
    ]
    kinds = [get_from_name(name) for name in types(store)[cut.table.name]]
    context = InsertContext(
        cut.table.name, list(cut.table.columns), kinds, plain, compression=False, block_size=len(plain)
    )
    return b"".join(NativeTransform.build_insert(context)).partition(b"FORMAT Native\n")[2]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=records())
def test_a_block_is_what_the_client_makes_of_its_rows_byte_for_byte(store: Store, made: list[Record]) -> None:
    for cut in cuts.cuts(all_rows(made)):
        values = [row.values for row in cut.rows.values()]
        assert native.block(cut.table.columns, types(store)[cut.table.name], values) == by_the_client(
            store, cut
        )


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=records())
def test_blocks_store_what_rows_do(store: Store, made: list[Record]) -> None:
    wanted = all_rows(made)
    found = []
    for name in ("blocks", "rows"):
        for table in BY_NAME:
            store.command(f"TRUNCATE TABLE {table}")
        if name == "blocks":
            assert storing.store_blocks(store, blocks_of(store, wanted), f"{name} {id(made)}")
        else:
            storing.store_rows(store, wanted, f"{name} {id(made)}", again=False)
        found.append({table: stored(store, table) for table in BY_NAME})
    assert found[0] == found[1]


@pytest.mark.parametrize("number", [2**32, -1])
def test_a_number_that_does_not_fit_is_refused_and_not_cut(store: Store, number: int) -> None:
    made = all_rows([replace(one, prompt_token_ids=[1, number]) for one in spooled.exchanges([1])])
    with pytest.raises(OverflowError):
        blocks_of(store, made)
    with pytest.raises(RejectedError):
        storing.store_rows(store, made, "out of range", again=False)


def keys(store: Store, table: str) -> set[tuple[Any, ...]]:
    """As rows have them."""
    texts = ", ".join(f"toString({it})" if kind == "UUID" else it for it, kind in BY_NAME[table].key)
    return {tuple(row) for row in store.query(f"SELECT {texts} FROM {table}").result_rows}


@pytest.mark.parametrize("few", [False, True], ids=["all", "one"])
@pytest.mark.parametrize("table", ["tokens", "spans", "exchanges", "facts"])
def test_what_was_acknowledged_and_lost_is_stored_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, few: bool
) -> None:
    raws = list(spooled.raws(range(6)))
    own = [exchange.parse(raw) for raw in raws]
    # Others' rows of the same time, and the same exchanges' further attempts, do not stand for what is lost.
    others = [*spooled.exchanges(range(50, 60)), *(replace(one, attempt=3, trace_id="") for one in own)]
    storing.store(store, others, "others", again=False)
    original = Store.send
    lost: list[str] = []

    def losing(self: Store, name: str, *given: Any) -> None:
        original(self, name, *given)
        if name == table and not lost:
            lost.append(name)
            some = own[:1] if few else own
            gone = ", ".join(f"'{one.trace_id if name == 'spans' else one.exchange_id}'" for one in some)
            which = f"TraceId IN ({gone})" if name == "spans" else f"exchange_id IN ({gone}) AND attempt = 0"
            before = len(keys(self, name))
            self.command(f"ALTER TABLE {name} DELETE WHERE {which} SETTINGS mutations_sync = 2")
            assert len(keys(self, name)) == before - len(some)

    monkeypatch.setattr(Store, "send", losing)
    spooled.spool(tmp_path, raws)
    drain_all(tmp_path)
    assert lost == [table]
    wanted = all_rows([*own, *others])
    for name in KEYS:
        assert keys(store, name) == {row.key for row in wanted if row.table == name}
    assert all(count == distinct for count, distinct in counts(store).values())


def test_the_usual_batch_makes_no_rows_in_the_drain(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("by rows")

    monkeypatch.setattr(storing, "store_rows", never)
    spooled.spool(tmp_path, spooled.raws(range(6)))
    assert drain_all(tmp_path).status.stored == 6
    assert set(counts(store).values()) == {(6, 6)}


@pytest.mark.parametrize("processes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_refused_block_goes_by_rows_and_costs_only_what_is_wrong(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    original = storing.store_blocks
    asked: list[int] = []

    def refusing(*given: Any) -> bool:
        asked.append(1)
        original(*given)
        raise RejectedError("a block")

    monkeypatch.setattr(storing, "store_blocks", refusing)
    spooled.spool(tmp_path, [*spooled.raws(range(4)), spooled.raw(9, closed={"status": 70_000})])
    spooled.spool(tmp_path, spooled.raws(range(20, 24)))
    drain = drain_all(tmp_path, batch=5, processes=processes)
    assert (len(asked), drain.status.stored, drain.status.quarantined) == (1, 9, 1)
    assert counts(store)["exchanges"] == counts(store)["facts"] == (8, 8)


def test_a_type_that_changed_in_between_costs_nothing(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(4)))
    drain = Drain(tmp_path, batch=2)
    try:
        assert drain.step() == 2
        store.command("ALTER TABLE facts MODIFY COLUMN status UInt32")
        while drain.step():
            pass
    finally:
        drain.close()
        store.command("ALTER TABLE facts MODIFY COLUMN status UInt16")
    assert set(counts(store).values()) == {(4, 4)}


def test_without_the_types_all_goes_by_rows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise clickhouse.Unavailable("away")

    monkeypatch.setattr(Store, "types", away)
    monkeypatch.setattr(storing, "store_blocks", away)
    spooled.spool(tmp_path, spooled.raws(range(3)))
    drain_all(tmp_path)
    assert set(counts(store).values()) == {(3, 3)}


def test_an_erasure_that_is_asked_for_between_preparing_and_storing_is_honoured(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain = Drain(tmp_path, batch=3)
    gone = spooled.raws(range(3))
    spooled.spool(tmp_path, gone)
    called: list[int] = []

    def none(raws: Sequence[RawExchange]) -> list[RawExchange]:
        called.append(len(raws))
        return []

    monkeypatch.setattr(drain._erased, "erasures", lambda: frozenset({"one"}))
    monkeypatch.setattr(drain._erased, "_newest", datetime.now(UTC))
    monkeypatch.setattr(drain._erased, "without", none)
    monkeypatch.setattr(drain._quarantine, "erase", lambda *_: None)
    try:
        while drain.step():
            pass
    finally:
        drain.close()
    assert called == [3]
    assert set(counts(store).values()) == {(0, 0)}


def test_ready_is_what_a_batch_comes_to(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, spooled.raws(range(3)))
    drain = Drain(tmp_path)
    try:
        found, _ = drain._reader.take(10)
        made = drain._preparing.end(drain._preparing.begin(found, types(store)))
        assert isinstance(made, Ready)
        assert [(one.table, one.count) for one in made.blocks] == [
            (name, 3) for name in ("tokens", "spans", "exchanges", "facts")
        ]
        assert not isinstance(drain._preparing.end(drain._preparing.begin(found, None)), Ready)
    finally:
        drain.close()
