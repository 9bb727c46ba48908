"""Tokens that an engine kept itself: two spools, two drains, any order; rows once, facts complete."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference import clickhouse, filters, heatmap, late, queries
from inference.clickhouse import Store, Unavailable
from inference.drain import Drain
from inference.engine.recorder import Recorder
from inference.engine.tag import Tag
from inference.raw import RawExchange
from inference.stored import TOKENS_DEADLINE
from tests.clickhouse_fixture import ClickHouseProcess
from tests.inference import spooled

LOGPROBS = [-0.25, -1.5]


@pytest.fixture
def store(clickhouse_process: ClickHouseProcess, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    _migrate()
    for table in ("exchanges", "tokens", "facts"):
        clickhouse_process.run(f"TRUNCATE TABLE {clickhouse.rpartition('/')[2]}.{table}")
    return _connect()


def _migrate() -> None:
    clickhouse.migrate()


def _connect() -> Store:
    return clickhouse.connect()


def asked(number: int = 0) -> RawExchange:
    """An exchange whose engine captures: no tokens in its answer."""
    return spooled.raw(number, capture="engine", top_k=0, logprobs=[])


def engine_keeps(spool: Path, *exchanges: RawExchange, positions: int = 0, **changes: Any) -> None:
    """Each exchange's tokens into the engine's spool; with ``positions`` so many, then it is killed."""

    async def run() -> None:
        recorder = Recorder(spool, vllm="0.32.0")
        recorder.logprobs_mode = "raw_logprobs"
        recorder.start()
        for one in exchanges:
            tag = Tag(
                **{
                    "exchange_id": one.exchange_id,
                    "attempt": 0,
                    "top_k": 2,
                    "tokenizer": "b2" * 32,
                    "started_us": one.opened["started_us"],
                    "weights": spooled.WEIGHTS,
                    **changes,
                }
            )
            collector = recorder.collector(tag, tag.choice, [])
            for position, logprob in enumerate(LOGPROBS * (positions // 2 or 1)):
                ids = np.array([[100 + position, 100 + position, 7]], np.int32)
                collector.take((ids, np.array([[logprob, logprob, -3.0]], np.float32), None, None))
            if not positions:
                collector.end("stop", len(LOGPROBS))
        recorder.stop()

    asyncio.run(run())


def drain(spool: Path, **options: Any) -> None:
    one = Drain(spool, **options)
    try:
        while one.step():
            pass
    finally:
        one.close()


def facts(store: Store) -> list[tuple[str, float | None, float | None, float | None]]:
    sql = "SELECT toString(exchange_id), mean_p, least_p, entropy FROM facts FINAL ORDER BY started_at"
    found = store.query(sql)
    return [tuple(row) for row in found.result_rows]


def entropy_of(logprob: float) -> float:
    """Of a position as the engine keeps it here: this token and one of -3."""
    known = [math.exp(logprob), math.exp(-3.0)]
    return heatmap.entropy(known)


@pytest.mark.parametrize("order", [("engine", "proxy"), ("proxy", "engine")])
def test_tokens_join_their_exchange_whichever_comes_first(
    store: Store, tmp_path: Path, order: tuple[str, str]
) -> None:
    some = [asked(0), asked(1), asked(2)]
    spooled.spool(tmp_path / "proxy", some)
    engine_keeps(tmp_path / "engine", *some)
    for name in order:
        drain(tmp_path / name, batch=2)
    mean = math.exp(sum(LOGPROBS) / 2)
    assert [name for name, *_ in facts(store)] == [one.exchange_id for one in some]
    for _, mean_p, least_p, entropy in facts(store):
        assert (mean_p, least_p) == pytest.approx((mean, math.exp(-1.5)))
        assert entropy == pytest.approx(sum(map(entropy_of, LOGPROBS)) / 2)
    decided = store.query("SELECT deciding_entropy, deciding_margin FROM facts FINAL").result_rows
    for row in decided:
        assert row == pytest.approx((entropy_of(-1.5), math.exp(-1.5) - math.exp(-3.0)))
    found = queries.exchange(some[0].exchange_id)
    assert found is not None
    (tokens,) = found.tokens
    assert (tokens.source, tokens.ids, tokens.logprobs) == ("engine", [100, 101], LOGPROBS)
    assert (tokens.top_ids, tokens.top_offsets) == ([100, 7, 101, 7], [0, 2, 4])
    assert (found.capture, found.tokens_expected) == ("engine", True)
    assert not found.tokens_missing(found.stored_at + TOKENS_DEADLINE * 2)
    assert sum(day.count for day in queries.daily()) == 3
    assert store.query("SELECT count() FROM facts").result_rows[0][0] > 3, "not merged yet"
    assert queries.count(filters.parse("")) == queries.count(filters.parse("route:icd-chapter")) == 3


def test_an_exchange_whose_tokens_never_come_is_missing_them_until_they_do(
    store: Store, tmp_path: Path
) -> None:
    one = asked()
    spooled.spool(tmp_path / "proxy", [one])
    drain(tmp_path / "proxy")
    found = queries.exchange(one.exchange_id)
    assert found is not None
    assert not found.tokens_missing(found.stored_at)
    late_at = found.stored_at + TOKENS_DEADLINE * 2
    assert found.tokens_missing(late_at)
    engine_keeps(tmp_path / "engine", one)
    drain(tmp_path / "engine")
    found = queries.exchange(one.exchange_id)
    assert found is not None
    assert not found.tokens_missing(late_at)


def test_tokens_are_as_many_as_the_engine_counted(store: Store, tmp_path: Path) -> None:
    one = asked()
    spooled.spool(tmp_path / "proxy", [one])
    engine_keeps(tmp_path / "engine", one)
    drain(tmp_path / "proxy")
    drain(tmp_path / "engine")
    found = queries.exchange(one.exchange_id)
    assert found is not None
    assert found.tokens_match is None, "the answer itself shows no tokens"
    assert not replace(found, completion_tokens=2).tokens_differ(found.stored_at)
    assert replace(found, completion_tokens=3).tokens_differ(found.stored_at)
    # Of two choices one has come: the other may be on its way.
    two = replace(found, completion_tokens=4, choices=found.choices * 2)
    assert not two.tokens_differ(found.stored_at)
    assert two.tokens_differ(found.stored_at + TOKENS_DEADLINE * 2)


def tokens_counted(store: Store) -> list[int]:
    return [row[0] for row in store.query("SELECT completion_tokens FROM facts FINAL").result_rows]


@pytest.mark.parametrize(
    "order", [("first", "proxy", "second"), ("proxy", "first", "second"), ("first", "second", "proxy")]
)
def test_tokens_are_counted_where_the_engine_did_not_say_how_many(
    store: Store, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """A stream of two choices without usage, whatever comes first."""
    one = asked()
    spooled.spool(tmp_path / "proxy", [one])
    engine_keeps(tmp_path / "first", one)
    engine_keeps(tmp_path / "second", one, choice=1)
    for name in order:
        drain(tmp_path / name)
    assert tokens_counted(store) == [4]
    found = queries.exchange(one.exchange_id)
    assert found is not None
    assert found.completion_tokens == 4


def test_what_an_engine_counted_stands(store: Store, tmp_path: Path) -> None:
    one = asked()
    said = one.response.replace(b'"completion_tokens":0', b'"completion_tokens":9')
    spooled.spool(tmp_path / "proxy", [replace(one, response=said)])
    engine_keeps(tmp_path / "engine", one)
    drain(tmp_path / "proxy")
    drain(tmp_path / "engine")
    assert tokens_counted(store) == [9]


def test_an_engine_that_was_killed_keeps_what_was_on_disk(store: Store, tmp_path: Path) -> None:
    one = asked()
    spooled.spool(tmp_path / "proxy", [one])
    engine_keeps(tmp_path / "engine", one, positions=6000)
    drain(tmp_path / "proxy")
    drain(tmp_path / "engine")
    found = queries.exchange(one.exchange_id)
    assert found is not None
    (tokens,) = found.tokens
    assert 2000 < len(tokens.ids) < 6000
    assert tokens.logprobs[:2] == LOGPROBS


def test_a_scoring_stands_beside_and_changes_no_facts(store: Store, tmp_path: Path) -> None:
    one = asked()
    spooled.spool(tmp_path / "proxy", [one])
    engine_keeps(tmp_path / "engine", one, source="teacher", weights="f" * 64)
    drain(tmp_path / "proxy")
    drain(tmp_path / "engine")
    assert facts(store) == [(one.exchange_id, None, None, None)]
    found = queries.exchange(one.exchange_id)
    assert found is not None
    assert [tokens.source for tokens in found.tokens] == ["teacher"]


def test_a_join_that_was_cut_off_is_made_up_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = asked()
    spooled.spool(tmp_path / "proxy", [one])
    drain(tmp_path / "proxy")
    engine_keeps(tmp_path / "engine", one)
    plain = late.join

    def away(*_: Any) -> int:
        raise Unavailable("away")

    monkeypatch.setattr(late, "join", away)
    broken = Drain(tmp_path / "engine")
    with pytest.raises(Unavailable):
        broken.step()
    broken.close()
    assert facts(store) == [(one.exchange_id, None, None, None)]
    monkeypatch.setattr(late, "join", plain)
    drain(tmp_path / "engine")
    assert facts(store)[0][1] is not None
    assert store.query("SELECT count() FROM tokens").result_rows == [(1,)]
