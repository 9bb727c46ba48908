"""Records of the spool that are no exchanges: stored once, and only when somebody was told that they are."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from inference import clickhouse, filters, queries
from inference.clickhouse import Store
from inference.drain import Drain
from inference.raw import RawExchange
from tests.inference import spooled
from tests.inference.test_drain import SUICIDE, drain_all


@pytest.fixture
def store(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    return _emptied()


def _emptied() -> Store:
    clickhouse.migrate()
    found = clickhouse.connect()
    for table in ("events", "facts", "exchanges", "tokens", "spans"):
        found.command(f"TRUNCATE TABLE {table}")
    return found


def said(count: int) -> list[RawExchange]:
    """Exchanges, each followed by what its user said."""
    made = list(spooled.raws(range(count)))
    return [one for raw in made for one in (raw, spooled.event(raw.exchange_id, thumbs="down", user="u1"))]


def count(store: Store) -> tuple[int, int, int]:
    """Events, distinct events, and events whose exchange is there."""
    found = store.query(
        "SELECT count(), uniqExact(event_id), countIf(exchange_id IN (SELECT exchange_id FROM facts)) "
        "FROM events"
    ).result_rows[0]
    return found[0], found[1], found[2]


def test_feedback_is_stored_beside_its_exchange_once(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, said(10))
    drain = drain_all(tmp_path, batch=3)
    assert count(store) == (10, 10, 10)
    assert drain.status.quarantined == 0
    thumbs, user, score, data, source = store.query(
        "SELECT thumbs, user, score, data, source FROM events LIMIT 1"
    ).result_rows[0]
    assert (thumbs, user, score, source) == ("down", "u1", None, "coding desk")
    assert orjson.loads(data) == {"thumbs": "down", "user": "u1"}


@pytest.mark.slow
@pytest.mark.parametrize("inserts", [1, 3, 5])
def test_killed_between_tables_no_feedback_is_lost_or_doubled(
    store: Store, tmp_path: Path, inserts: int
) -> None:
    spooled.spool(tmp_path, said(6))
    death = ("inference.clickhouse", "Store", "send", "after", str(inserts))
    killed = subprocess.run(
        [sys.executable, "-c", SUICIDE, *death, "--spool", str(tmp_path)], timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    drain_all(tmp_path)
    assert count(store) == (6, 6, 6)


def test_what_nobody_was_told_is_kept_is_not_stored(store: Store, tmp_path: Path) -> None:
    """Its sender got no answer and sends it again."""
    left = spooled.event(trace_id="a" * 32, score=1)
    spooled.spool(tmp_path, [replace(left, closed={"end_reason": "client_left"}), *said(1)])
    assert drain_all(tmp_path).status.quarantined == 0
    assert count(store) == (1, 1, 1)


def test_of_a_trace_it_is_kept_without_an_exchange(store: Store, tmp_path: Path) -> None:
    spooled.spool(tmp_path, [spooled.event(trace_id="a" * 32, score=0.5)])
    drain_all(tmp_path)
    found = store.query("SELECT toString(exchange_id), trace_id, score FROM events").result_rows
    assert [tuple(row) for row in found] == [("00000000-0000-0000-0000-000000000000", "a" * 32, 0.5)]


def test_a_kind_that_is_not_known_is_kept_aside(store: Store, tmp_path: Path) -> None:
    strange, broken = spooled.event(trace_id="a" * 32, score=1), spooled.event(trace_id="b" * 32, score=1)
    strange.opened["kind"] = "horoscope"
    del broken.opened["source"]
    spooled.spool(tmp_path, [strange, broken, *said(1)])
    drain = Drain(tmp_path)
    assert drain.step() == 4
    drain.close()
    assert drain.status.quarantined == 2
    reasons = {json.loads(kept.read_bytes())["reason"] for kept in (tmp_path / "quarantine").glob("*.json")}
    assert any("horoscope" in reason for reason in reasons)
    assert any("source" in reason for reason in reasons)
    assert count(store) == (1, 1, 1)


def test_the_newest_of_each_user_counts_and_a_trace_speaks_for_its_exchanges(
    store: Store, tmp_path: Path
) -> None:
    one, two, three, four = list(spooled.raws(range(4)))
    spooled.spool(
        tmp_path,
        [
            *(one, two, three, four),
            # In the order of saying, which is not the order of coming.
            spooled.event(one.exchange_id, thumbs="up", user="a", at_us=2_000_000),
            spooled.event(one.exchange_id, thumbs="down", user="a", at_us=1_000_000),
            spooled.event(two.exchange_id, thumbs="up", user="a"),
            spooled.event(two.exchange_id, thumbs="down", user="b", comment="no"),
            spooled.event(trace_id=three.opened["trace_id"], score=0.25, correction="J45"),
        ],
    )
    drain_all(tmp_path)

    def matching(line: str) -> set[str]:
        asked = filters.parse(line)
        found = {row.exchange_id for row in queries.explore(asked).rows}
        assert queries.count(asked) == len(found)
        return found

    assert matching("feedback:up") == {one.exchange_id, two.exchange_id}
    assert matching("feedback:down") == matching("feedback:comment") == {two.exchange_id}
    assert matching("feedback:score") == matching("score:<0.5") == {three.exchange_id}
    assert matching("feedback:down,correction route:icd-chapter") == {two.exchange_id, three.exchange_id}
    assert matching("feedback:any") == {one.exchange_id, two.exchange_id, three.exchange_id}
    assert matching("score:>=0.5") == set()
    assert queries.suggest("feedback", "co") == ["comment", "correction"]
    assert [row.answer for row in queries.sample(filters.parse("feedback:up"), 5)] == ["Respiratory"] * 2
    said = queries.events(three.exchange_id, three.opened["trace_id"])
    assert [(event.exchange_id, event.data["score"]) for event in said] == [("", 0.25)]
    assert [event.data["user"] for event in queries.events(two.exchange_id)] == ["a", "b"]
    assert queries.events(four.exchange_id) == []
