"""Every way of drawing: each exchange has a chance, kept probabilities are right, the rate is told right."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import mean, stdev

import pytest

from annotations.estimates import Judged, error_rate
from annotations.models import Queue
from inference import clickhouse, filters, purposes, queries, storing
from inference.events import Event, began_us
from inference.queries.policies import Policy
from inference.stored import Candidate
from inference.uuid7 import uuid7
from tests.inference import spooled

EVERYTHING = filters.parse("")
BY_CHANCE = [order for order in Queue.Order.values if order != Queue.Order.NEWEST]
NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000
SIZE, DRAWS, EFFORT = 240, 300, 80
UNHAPPY = 9
PURPOSES = (purposes.SUGGESTION, purposes.EVALUATION, purposes.AGAIN)


def about(number: int) -> dict[str, object]:
    """Answer 0 is given sixteen times as often as answer 4; groups are of seven."""
    share = number % 31
    answer = 0 if share < 16 else 1 if share < 24 else 2 if share < 28 else 3 if share < 30 else 4
    return {"text": f"Answer {answer}", "tags": {"group": f"g{number // 7}"}}


def asked_for(purpose: str) -> dict[str, object]:
    """The headers' tags as the proxy reads them."""
    tags = dict(
        [pair.split("=") for pair in purposes.header(purpose, "chapters")["x-flywheel-tags"].split(",")]
    )
    return {"text": f"Answer to {purpose}", "tags": tags}


@pytest.fixture(scope="module", autouse=True)
def traffic(clickhouse: str) -> Iterator[list[str]]:
    """Ever less sure answers; users were unhappy with every ninth. Ids in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        _migrate()
        made = []
        for n in range(SIZE):
            logprobs = [-0.01, -0.02 * n, -0.02]
            made += spooled.exchanges([n], started_us=NOON + n * 1_000_000, logprobs=logprobs, **about(n))
        said = [
            Event(str(uuid7()), "feedback", one.exchange_id, "", NOON, "desk", {"thumbs": "down"})
            for one in made[::UNHAPPY]
        ]
        asked = [
            one
            for n, purpose in enumerate(PURPOSES)
            for one in spooled.exchanges([SIZE + n], started_us=NOON + 1_000, **asked_for(purpose))
        ]
        storing.store(clickhouse_connect(), [*made, *said, *asked], "policies", again=False)
        yield [one.exchange_id for one in made]


def _migrate() -> None:
    clickhouse.migrate()


def clickhouse_connect() -> clickhouse.Store:
    return clickhouse.connect()


def everyone(order: str) -> list[Candidate]:
    """All that match, in the order of their beginning, each with its weight."""
    found = queries.sample(EVERYTHING, SIZE, seed=3, order=order)
    assert len(found) == SIZE
    return sorted(found, key=lambda one: began_us(one.exchange_id))


@pytest.mark.parametrize("order", BY_CHANCE)
def test_the_rate_of_all_is_told_without_bias(order: str) -> None:
    weights = [one.weight for one in everyone(order)]
    assert min(weights) > 0
    doubts = [1 - (one.least_p or 0) for one in everyone(order)]
    chance = random.Random(1)
    wrong = [chance.random() < doubt * 0.6 for doubt in doubts]
    truth, told, drawn = mean(wrong), [], Counter[int]()
    for _ in range(DRAWS):
        keys = sorted(((1 - chance.random()) / weight, n) for n, weight in enumerate(weights))
        judged = [Judged(wrong[n], weights[n], key, doubts[n]) for key, n in keys[:EFFORT]]
        drawn.update(n for _, n in keys[:EFFORT])
        estimate = error_rate(judged, keys[EFFORT][0], SIZE, mean(doubts))
        assert estimate is not None
        told.append(estimate)
    values = [one.value for one in told]
    assert abs(mean(values) - truth) < 3.5 * stdev(values) / DRAWS**0.5
    assert mean(one.low <= truth <= one.high for one in told) > 0.85
    # What weighs more was drawn more often.
    heavy = max(range(SIZE), key=lambda n: weights[n])
    light = min(range(SIZE), key=lambda n: weights[n])
    assert drawn[heavy] > drawn[light] or Policy.parse(order).even


@pytest.mark.parametrize("order", BY_CHANCE)
def test_a_draw_keeps_probabilities_that_follow_from_weight_and_threshold(order: str) -> None:
    drawn = queries.sample(EVERYTHING, EFFORT, seed=3, order=order)
    assert [one.exchange_id for one in queries.sample(EVERYTHING, 20, seed=3, order=order)] == [
        one.exchange_id for one in drawn[:20]
    ], "a larger draw only adds"
    whole = drawn[0].draw
    assert whole is not None
    assert whole.threshold is not None
    assert whole.population == SIZE
    for one in drawn:
        assert one.key < whole.threshold
        expected = EFFORT / SIZE if whole.even else min(1.0, one.weight * whole.threshold)
        assert one.probability == pytest.approx(expected)
    # The sum of 1/p over the drawn estimates how many there are.
    assert sum(1 / one.probability for one in drawn) == pytest.approx(SIZE, rel=0.5)


@pytest.mark.parametrize("order", ["uncertain", "mean", "entropy", "margin"])
def test_less_sure_weighs_more(order: str) -> None:
    weights = [one.weight for one in everyone(order)]
    # Beyond these the likeliest token is another than the sampled one, and leads again.
    assert mean(weights[30:60]) > 1.2 * mean(weights[:15])


def test_what_users_were_unhappy_with_weighs_most(traffic: list[str]) -> None:
    top = max(one.weight for one in everyone("feedback"))
    assert {one.exchange_id for one in everyone("feedback") if one.weight == top} == set(traffic[::UNHAPPY])


@pytest.mark.parametrize(("order", "alike"), [("stratified", "answer"), ("diverse", "group")])
def test_all_that_are_alike_weigh_as_much_as_one(order: str, alike: str) -> None:
    shares = Counter[str]()
    for one in everyone(order):
        shares[getattr(one, alike)] += one.weight  # type: ignore[assignment]
    assert {round(share, 9) for share in shares.values()} == {1.0}


def test_a_mix_gives_each_part_its_share() -> None:
    parts = [[one.weight for one in everyone(order)] for order in ("uncertain", "feedback", "random")]
    mixed = [one.weight for one in everyone("uncertain+feedback+random")]
    for n, weight in enumerate(mixed):
        assert weight == pytest.approx(mean(part[n] / mean(part) for part in parts), rel=1e-6)


@pytest.mark.parametrize("order", Queue.Order.values)
def test_what_flywheel_asked_for_by_itself_is_drawn_only_where_the_filter_says_so(order: str) -> None:
    asked = filters.parse("since:2026-11-20T12:00:00.001 until:2026-11-20T12:00:00.002")
    assert queries.count(asked) == len(PURPOSES)
    assert queries.sample(asked, 10, 0, order) == []
    for purpose in (purposes.EVALUATION, purposes.AGAIN):
        drawn = queries.sample(filters.parse(f"tag:{purpose}=chapters"), 10, 0, order)
        assert [one.answer for one in drawn] == [f"Answer to {purpose}"]


@pytest.mark.parametrize("order", Queue.Order.values)
def test_suggestions_are_never_drawn(order: str) -> None:
    """Else a queue would feed on itself: every item of it would bring another."""
    asked = filters.parse("tag:suggestion=chapters")
    assert queries.count(asked) == 1
    assert queries.sample(asked, 10, 0, order) == []


def test_an_unknown_way_of_drawing_is_refused() -> None:
    for order in ("", "newest+random", "uncertain+", "1; DROP TABLE facts"):
        with pytest.raises(ValueError, match="no way of drawing"):
            queries.sample(EVERYTHING, 1, order=order)
