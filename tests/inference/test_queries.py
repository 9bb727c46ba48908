"""What the pages and the queues get from a store with real rows in it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from inference import clickhouse, filters, kept, lookups, queries, storing
from inference.exchange import Exchange, parse
from inference.filters import FilterError
from inference.queries import Cursor, conversations, draws
from inference.rows import moment
from tests.inference import spooled

NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE = 60_000_000
ADAPTER = "c3" * 32


def make(number: int, late: int = 0, **changes: object) -> Exchange:
    """The exchange of a minute after noon, some microseconds late."""
    return parse(spooled.raw(number, started_us=NOON + number * MINUTE + late, **changes))


@pytest.fixture(scope="module")
def stored(clickhouse: str) -> Iterator[list[Exchange]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        yield _fill()


def _fill() -> list[Exchange]:
    clickhouse.migrate()
    made = [make(number) for number in range(40)]
    made += [
        make(40, weights=ADAPTER, model="desk-c3", tags={"group": "R06", "shift": "night, late"}),
        make(41, route="billing", key='o\'brien "x"', user="u1", session="s-1", logprobs=[-2.5, -0.1]),
        make(
            41,
            1,
            session="s-1",
            text="Chest PAIN – é",
            messages=[{"role": "user", "content": "Schmerz\n'; DROP"}],
        ),
        make(42, closed={"end_reason": "client_left"}, logprobs=[]),
        make(43, closed={"end_reason": "engine_error", "status": 502}, text=""),
        make(43, attempt=0),
    ]
    storing.store(clickhouse.connect(), made, "batch", again=False)
    return made


def ids(line: str, limit: int = 200) -> list[str]:
    return [row.exchange_id for row in queries.explore(filters.parse(line), limit=limit).rows]


def expected(made: list[Exchange]) -> list[str]:
    return [one.exchange_id for one in sorted(made, key=lambda one: one.started_us, reverse=True)]


def test_paging_gives_every_exchange_once_in_order_both_ways(stored: list[Exchange]) -> None:
    everything = ids("")
    assert sorted(everything) == sorted(one.exchange_id for one in stored)
    down, cursor = [], None
    while True:
        page = queries.explore(filters.parse(""), cursor, limit=7)
        down.append([row.exchange_id for row in page.rows])
        if page.older is None:
            break
        cursor = Cursor.parse(str(page.older))
    assert [one for rows in down for one in rows] == everything
    assert page.newer is not None
    up = [down[-1]]
    while page.newer is not None:
        page = queries.explore(filters.parse(""), after=page.newer, limit=7)
        up.append([row.exchange_id for row in page.rows])
    assert [one for rows in reversed(up) for one in rows] == everything


def test_which_of_the_named_match(stored: list[Exchange], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "_NAMED", 2)
    named = [(UUID(one.exchange_id), one.attempt, moment(one.started_us)) for one in stored[38:43]]
    icd, billing = filters.parse("route:icd-chapter"), filters.parse("route:billing")
    assert queries.matching(billing, named) == {named[3][:2]}
    assert queries.matching(icd, named) == {one[:2] for one in named} - {named[3][:2]}
    other_attempt = (named[0][0], 7, named[0][2])
    assert queries.matching(icd, [other_attempt]) == queries.matching(icd, []) == set()


def test_rows_say_what_the_explorer_shows(stored: list[Exchange]) -> None:
    row = queries.explore(filters.parse("tag:group=R06")).rows[0]
    assert (row.route, row.model, row.weights, row.end_reason) == ("icd-chapter", "desk-c3", ADAPTER, "stop")
    assert (row.question, row.answer) == ("wheezing after exercise 40", "Respiratory")
    assert row.started_at == datetime(2026, 11, 20, 12, 40, tzinfo=UTC)
    assert row.seconds == pytest.approx(1.4)
    assert row.least_p == pytest.approx(0.2231, abs=1e-4)
    assert row.mean_p == pytest.approx(0.5945, abs=1e-4)
    assert (row.group, row.tags["shift"], row.failed) == ("R06", "night, late", False)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("route:billing", 1),
        ("route:billing,icd-chapter", 46),
        ("model:desk-c3", 1),
        ("version:desk-c3", 1),
        (f"weights:{ADAPTER[:8]}", 1),
        ("end:client_left,engine_error", 2),
        ('key:"o\'brien \\"x\\""', 1),
        ("user:u1 session:s-1", 1),
        ("session:s-1", 2),
        ('tag:shift="night, late"', 1),
        ("tag:group=R07", 0),
        ("least_p:<0.1", 1),
        ("least_p:>=0.1", 44),
        ("status:502", 1),
        ("tokens:0", 1),
        ("chest pain", 1),
        ('"chest PAIN – É"', 1),
        ('"\'; drop"', 1),
        ("since:2026-11-20T12:40", 6),
        ("since:2026-11-20T12:00 until:2026-11-20T12:10", 10),
        ("since:2026-11-21", 0),
        (f"adapter:{ADAPTER[:8]}", 1),
        (f"trace:{41:032x}", 1),
        ("entropy:>=0", 45),
        ("entropy:>0.73", 1),
        ("entropy:<=0.73", 44),
        ("seconds:>1 first_token:<1 surface:chat capture:wire", 46),
    ],
)
def test_each_term_narrows(stored: list[Exchange], line: str, count: int) -> None:
    assert len(ids(line)) == count
    assert queries.count(filters.parse(line)) == count
    bars = queries.histogram(filters.parse(line), 10)
    assert sum(bar.count for bar in bars) == count
    assert len(bars) <= 10


@pytest.mark.parametrize(
    "term",
    [
        *("route:billing", "end:client_left,engine_error", 'tag:shift="night, late"', "least_p:<0.1"),
        *("entropy:>=0", "tokens:0", '"chest PAIN – É"', f"adapter:{ADAPTER[:8]}", "score:>0"),
        *("feedback:any", "session:s-1", "status:502", "conversation:s-1"),
    ],
)
def test_a_minus_gives_all_the_others(stored: list[Exchange], term: str) -> None:
    with_it, without = ids(term), ids(f"-{term}")
    assert not {*with_it} & {*without}
    assert sorted(with_it + without) == sorted(one.exchange_id for one in stored)
    named = f"id:{stored[0].exchange_id}"
    assert ids(f"-{named} -id:{stored[1].exchange_id[:30]}") == [
        one for one in ids("") if one not in (stored[0].exchange_id, stored[1].exchange_id)
    ]


def test_cost_is_what_versions_cost_now(stored: list[Exchange], monkeypatch: pytest.MonkeyPatch) -> None:
    # 20 tokens in at 1,000 and 3 out at 5,000 nano-dollars: 35 millionths of a dollar.
    lookups.know_prices(lambda: {"desk-c3": lookups.Price(1000, 5000)})
    assert len(ids("cost:>0.0000349")) == len(ids("cost:<0.0000351 cost:>0")) == 1
    assert len(ids("cost:0")) == 45
    lookups.know_prices(dict)
    assert ids("cost:>0") == []
    monkeypatch.setattr(lookups, "_prices", [])
    with pytest.raises(FilterError, match="not known here"):
        ids("cost:>0")


def test_labels_are_asked_for_their_exchanges(
    stored: list[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def some(labels: object, since: object, until: object, most: int) -> list[UUID]:
        asked.append((labels, since, until))
        return [UUID(one.exchange_id) for one in stored[:2]]

    monkeypatch.setattr(lookups, "_labelled", [some])
    assert len(ids("label:approved,any until:2026-11-20T12:01")) == 1
    assert asked == [(("approved", "any"), None, datetime(2026, 11, 20, 12, 1, tzinfo=UTC))]


def test_as_many_labels_as_may_be_named_can_be_asked(
    stored: list[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_labelled", [lambda *_: [uuid4() for _ in range(lookups.MOST_LABELLED)]])
    assert ids("label:any") == []
    monkeypatch.setattr(
        lookups, "_labelled", [lambda *_: [uuid4() for _ in range(lookups.MOST_LABELLED + 1)]]
    )
    with pytest.raises(FilterError, match="narrow the time"):
        ids("label:any")


def test_a_histogram_has_no_gaps(stored: list[Exchange]) -> None:
    bars = queries.histogram(filters.parse(""), 9)
    assert bars[0].start == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert all(left.end == right.start for left, right in pairwise(bars))
    assert bars[-1].end > datetime(2026, 11, 20, 12, 43, tzinfo=UTC)
    assert sum(bar.failed for bar in bars) == 2


def test_an_exchange_comes_back_as_it_was(stored: list[Exchange]) -> None:
    for one in (stored[0], stored[42]):
        found = queries.exchange(UUID(one.exchange_id))
        assert found is not None
        for name in (
            "attempt",
            "route",
            "key",
            "messages",
            "choices",
            "params",
            "prompt_token_ids",
            "tags",
            "conversation",
        ):
            assert getattr(found, name) == getattr(one, name)
        assert queries.microseconds(found.started_at) == one.started_us
        assert queries.microseconds(found.finished_at) == one.finished_us
        tokens, original = found.tokens[0], one.tokens[0]
        assert (tokens.choice, tokens.source, tokens.ids) == (0, "wire", original.ids)
        assert (tokens.top_ids, tokens.top_offsets) == (original.top_ids, original.top_offsets)
        assert tokens.logprobs == pytest.approx(original.logprobs, rel=1e-6)
        assert found.answer == one.choices[0].text
        assert queries.raw(one.exchange_id) == (one.request, kept.answer(one))
    assert queries.exchange("01a209af-e40f-7444-a935-612d1ac46562") is None
    assert queries.raw("6f1c1f0e-3a38-4c55-8f4e-0d3f4d1d2c11") is None


def test_expected_tokens_that_do_not_come_are_missing_after_a_while(stored: list[Exchange]) -> None:
    with_tokens, without = queries.exchange(stored[0].exchange_id), queries.exchange(stored[43].exchange_id)
    assert with_tokens is not None
    assert without is not None
    later = without.stored_at + timedelta(hours=1)
    assert not with_tokens.tokens_missing(later)
    assert without.tokens_missing(later)  # its client left after some text had come
    assert not without.tokens_missing(without.stored_at)


def test_a_session_is_its_turns_in_order(stored: list[Exchange]) -> None:
    turns, further = queries.turns("s-1")
    assert [turn.exchange_id for turn in turns] == [stored[41].exchange_id, stored[42].exchange_id]
    assert further is None
    assert turns[0].messages == 2
    assert turns[0].least_p == pytest.approx(math.exp(-2.5))
    assert turns[1].asked == [{"role": "user", "content": "Schmerz\n'; DROP"}]
    first, further = queries.turns("s-1", limit=1)
    second, end = queries.turns("s-1", further, limit=1)
    assert [*first, *second] == turns
    assert end is None
    whole = queries.conversation("s-1")
    assert whole is not None
    assert (whole.exchanges, whole.versions, whole.failed) == (2, ["smollm2-135m"], 0)
    assert whole.first_at == turns[0].started_at
    assert queries.conversation("nobody's") is None
    assert queries.turns("nobody's") == ([], None)
    alone, _ = queries.turns(stored[3].conversation)
    assert [turn.exchange_id for turn in alone] == [stored[3].exchange_id]


def test_of_a_turn_what_came_since_the_last_answer_is_new() -> None:
    system, first, answer = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
    tool, second = {"role": "tool", "content": "found"}, {"role": "user", "content": "and then?"}
    new = conversations.since_the_answer
    assert new([system, first]) == [first]
    assert new([system, first, answer, tool]) == [tool]
    assert new([first, answer, tool, second]) == [tool, second]
    assert new([first, answer]) == [answer]
    assert new([]) == []


def test_the_trace_has_the_exchanges_span(stored: list[Exchange]) -> None:
    (span,) = queries.spans(stored[7].trace_id)
    assert (span.span_id, span.name, span.seconds) == (stored[7].span_id, "chat icd-chapter", 1.4)
    assert span.attributes["flywheel.exchange.id"] == stored[7].exchange_id


def test_random_draws_repeat_grow_and_know_their_probability(stored: list[Exchange]) -> None:
    everything = filters.parse("")
    ten, same, twenty = (queries.sample(everything, n, seed=5) for n in (10, 10, 20))
    assert ten == same
    assert twenty[:10] == [replace(one, probability=20 / 45, draw=twenty[0].draw) for one in ten]
    assert {one.probability for one in ten} == {10 / 45}  # of 46, one has no answer
    assert [one.exchange_id for one in queries.sample(everything, 10, seed=6)] != [
        one.exchange_id for one in ten
    ]
    assert {one.probability for one in queries.sample(everything, 100)} == {1.0}
    by_id = {one.exchange_id: one for one in stored}
    for one in ten:
        assert one.messages == by_id[one.exchange_id].messages
        assert one.answer == by_id[one.exchange_id].choices[0].text
        assert one.group == by_id[one.exchange_id].conversation or one.group in ("R06", "s-1")


def test_uncertain_draws_favour_the_least_sure(stored: list[Exchange]) -> None:
    for seed in range(3):
        drawn = queries.sample(filters.parse(""), 10, seed, "uncertain")
        keys = [one.key for one in drawn]
        assert keys == sorted(keys)
        assert drawn[0].draw is not None
        threshold = drawn[0].draw.threshold or 0
        assert all(one.probability == min(1.0, one.weight * threshold) for one in drawn)
    # How often each is then drawn follows from its weight: test_policies.py.
    everyone = queries.sample(filters.parse(""), 100, 0, "uncertain")
    by_doubt = sorted((1 - (one.least_p or 0.5), one.weight) for one in everyone)
    assert [weight for _, weight in by_doubt] == sorted(weight for _, weight in by_doubt)
    assert by_doubt[-1][1] > by_doubt[0][1] > 0
    newest = queries.sample(filters.parse("until:2026-11-20T12:05"), 2, order="newest")
    assert [one.exchange_id for one in newest] == [stored[4].exchange_id, stored[3].exchange_id]


def test_days_are_whole_and_in_order(stored: list[Exchange]) -> None:
    days = queries.daily(14, now=datetime(2026, 11, 23, 1, tzinfo=UTC))
    assert len(days) == 14
    assert [(day.count, day.failed) for day in days if day.count] == [(46, 2)]
    assert days[-4].day.isoformat() == "2026-11-20"


def test_what_is_live_is_counted_by_weights(stored: list[Exchange]) -> None:
    found = queries.by_weights(datetime(2026, 11, 20, 12, 30, tzinfo=UTC))
    assert [(one.route, one.weights[:2], one.count, one.failed) for one in found] == [
        ("icd-chapter", "a1", 14, 2),
        ("billing", "a1", 1, 0),
        ("icd-chapter", "c3", 1, 0),
    ]
    assert found[0].last_at == datetime(2026, 11, 20, 12, 43, tzinfo=UTC)


def test_pasted_ids_are_found_whole_and_in_part(stored: list[Exchange]) -> None:
    one = stored[5]
    assert queries.find(one.exchange_id.upper()) == [one.exchange_id]
    assert one.exchange_id in queries.find(one.exchange_id[:22], limit=100)
    assert queries.find(one.trace_id) == [one.exchange_id]
    assert queries.find("no id") == queries.find("abc") == queries.find("f" * 32) == []


# The rest add rows of their own, so they come last.


def test_an_exchange_is_found_though_its_clock_was_set_back(stored: list[Exchange]) -> None:
    made = spooled.raw(50)
    back = replace(made, opened={**made.opened, "started_us": NOON - 10 * 86_400_000_000})
    storing.store(clickhouse.connect(), [parse(back)], "back", again=False)
    found = queries.exchange(made.exchange_id, attempt=0)
    assert found is not None
    assert found.started_at == datetime(2026, 11, 10, 12, tzinfo=UTC)
    assert queries.exchange(made.exchange_id, attempt=1) is None


def test_what_a_search_could_take_for_a_pattern_is_text(stored: list[Exchange]) -> None:
    texts = ["100% sure", "1000 sure", r"a\\b_c", r"a\\bxc", "ÉCLAIR straße"]
    made = [spooled.raw(60 + n, text=text, route="patterns") for n, text in enumerate(texts)]
    storing.store(clickhouse.connect(), [parse(one) for one in made], "patterns", again=False)

    def found(text: str) -> list[str]:
        asked = filters.Filter((filters.Words(text), filters.Equals("route", ("patterns",))))
        return [row.answer for row in queries.explore(asked).rows]

    assert found("0% s") == ["100% sure"]
    assert found(r"A\\B_C") == [r"a\\b_c"]
    assert found("éclair STRASSE") == []
    assert found("éclair straße") == found("ÉCLAIR") == ["ÉCLAIR straße"]
    assert found("%") == ["100% sure"]
    assert len(found("EEZ")) == 5


def test_names_are_completed_by_frequency(stored: list[Exchange]) -> None:
    assert queries.suggest("id") == queries.suggest("nonsense`") == []
    recent = spooled.exchanges([100, 101], route="today") + spooled.exchanges([102], route="tomorrow's")
    storing.store(clickhouse.connect(), recent, "recent", again=False)
    assert [name for name in queries.suggest("route") if name.startswith("to")] == ["today", "tomorrow's"]
    assert queries.suggest("route", "tomo") == ["tomorrow's"]
    assert (
        queries.count(
            filters.parse(""), newer_than=queries.explore(filters.parse("route:billing")).rows[0].cursor
        )
        >= 3
    )


def test_without_a_store_everything_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")
    with pytest.raises(clickhouse.Unavailable):
        queries.explore(filters.parse(""))


@pytest.mark.parametrize(
    "text",
    ["", "1_2_3", "1_01a209af-e40f-7444-a935-612d1ac46562", "x_01a209af-e40f-7444-a935-612d1ac46562_0"],
)
def test_a_broken_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        Cursor.parse(text)
