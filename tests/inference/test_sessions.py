"""The list of conversations: each once where it was last spoken in, with all that it came to."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from inference import clickhouse, filters, purposes, queries, storing
from inference.exchange import Exchange, parse
from inference.queries import Cursor, session_lists
from inference.stored import SessionPage, SessionSummary
from tests.inference import spooled

NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE = 60_000_000


def make(minute: int, session: str, **changes: object) -> Exchange:
    return parse(spooled.raw(minute, started_us=NOON + minute * MINUTE, session=session, **changes))


TURNS = [
    # One that never ends has a turn between all others; every fifth minute one begins that has two turns.
    *(make(minute, "endless", user="ann") for minute in range(0, 100, 2)),
    *(make(minute, f"short {minute // 10}", user="bob") for minute in range(1, 100, 5)),
    make(101, "failing", closed={"end_reason": "engine_error", "status": 502}, text="", route="billing"),
    make(102, "failing", logprobs=[-2.5, -0.1], model="other"),
    make(103, "failing", logprobs=[], model="other"),
    *(make(minute, "") for minute in (104, 105)),
]


@pytest.fixture(scope="module")
def stored(clickhouse: str) -> Iterator[list[Exchange]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        _fill()
        yield TURNS


def _fill() -> None:
    clickhouse.migrate()
    storing.store(clickhouse.connect(), TURNS, "batch", again=False)


def asked(line: str, before: Cursor | None = None, limit: int = 50) -> SessionPage:
    return queries.sessions(filters.parse(line), before, limit)


def paged(line: str, limit: int) -> list[list[SessionSummary]]:
    pages, page = [], asked(line, limit=limit)
    pages.append(page.rows)
    while page.older is not None:
        page = asked(line, Cursor.parse(str(page.older)), limit)
        pages.append(page.rows)
    return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
@pytest.mark.parametrize(("spare", "window"), [(1, 1000), (10, 1000), (10, 3)])
def test_each_is_listed_once_in_the_order_of_its_last_turn(
    stored: list[Exchange], limit: int, spare: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_lists, "SPARE", spare)
    monkeypatch.setattr(session_lists, "WINDOW", window)
    last: dict[str, int] = {}
    for one in stored:
        last[one.conversation] = max(one.started_us, last.get(one.conversation, 0))
    found = [row.name for page in paged("", limit) for row in page]
    assert found == sorted(last, key=lambda name: -last[name])


def test_a_filter_lists_those_where_something_matches(stored: list[Exchange]) -> None:
    assert [row.name for row in asked("route:billing").rows] == ["failing"]
    assert [row.name for row in asked("user:bob until:2026-11-20T12:30").rows] == [
        "short 2",
        "short 1",
        "short 0",
    ]
    found = [row.name for page in paged("user:ann,bob", 3) for row in page]
    assert sorted(found) == sorted({"endless", *(f"short {n}" for n in range(10))})
    assert asked("user:nobody") == SessionPage([], None)


def test_a_page_of_what_stood_before_still_leads_on(
    stored: list[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_lists, "ROUNDS", 1)
    monkeypatch.setattr(session_lists, "SPARE", 1)
    pages = paged("", 1)
    assert [] in pages
    names = [row.name for page in pages for row in page]
    assert len(names) == len(set(names)) == len({one.conversation for one in stored})


def test_what_it_came_to_counts_also_what_does_not_match(stored: list[Exchange]) -> None:
    row = asked("route:billing").rows[0]
    spent = row.spent
    assert (spent.exchanges, spent.failed) == (3, 1)
    assert (spent.first_at.minute, spent.last_at.minute, spent.first_at.hour) == (41, 43, 13)
    assert spent.least_p == pytest.approx(0.0821, abs=1e-4)
    assert set(spent.by_model) == {stored[0].model, "other"}
    ours = [one for one in stored if one.conversation == "failing"]
    assert spent.prompt_tokens == sum(one.prompt_tokens for one in ours)
    assert spent.completion_tokens == sum(one.completion_tokens for one in ours)
    assert row.question == "wheezing after exercise 101"


def test_stored_twice_counts_once(stored: list[Exchange]) -> None:
    storing.store(clickhouse.connect(), stored[:3], "again", again=False)
    storing.store(clickhouse.connect(), stored[:3], "and again", again=False)
    assert asked("user:ann").rows[0].spent.exchanges == 50


def test_without_a_session_it_is_told_by_how_it_begins(stored: list[Exchange]) -> None:
    newest = asked("").rows[0]
    assert (newest.session, newest.name) == ("", stored[-1].conversation)


def test_what_flywheel_asked_by_itself_is_no_conversation_unless_its_tag_is_named(
    clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_purposes")
    tagged = [
        make(20 + minute, name, tags={purpose: "12"})
        for minute, (purpose, name) in enumerate(
            [(purpose, name) for purpose in purposes.ALL for name in ("desk", "another")]
        )
    ]
    made = [make(minute, f"short {minute}") for minute in range(6)]
    traffic = [make(10, "desk"), *made]
    clickhouse_migrate_and_store([*traffic, *tagged])
    for limit in (1, 2, 3, 50):
        pages = paged("", limit)
        assert [len(one) for one in pages[:-1]] == [limit] * (len(pages) - 1)
        rows = [one for page in pages for one in page]
        assert [one.session for one in rows] == ["desk", *(f"short {n}" for n in reversed(range(6)))]
        assert {one.spent.exchanges for one in rows} == {1}
    for purpose in purposes.ALL:
        rows = asked(f"tag:{purpose}=12").rows
        assert [one.session for one in rows] == ["another", "desk"]
        assert [one.spent.exchanges for one in rows] == [1, 2]
    whole = queries.conversation("desk")
    assert whole is not None
    assert whole.exchanges == 4


def clickhouse_migrate_and_store(made: list[Exchange]) -> None:
    clickhouse.migrate()
    storing.store(clickhouse.connect(), made, "purposes", again=False)
