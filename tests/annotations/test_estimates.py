"""The rate of all traffic from what was judged: right on average, with an interval that holds it."""

import random
from datetime import timedelta
from statistics import mean, stdev

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from annotations import estimates, judging, leases, progress, sampling
from annotations.estimates import Judged, error_rate
from annotations.judging import Judgement
from annotations.models import Queue
from inference import clickhouse as store
from inference import storing
from inference.queries.policies import LEAST_WEIGHT, SHARPNESS
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_queue_views import exchanges
from tests.inference import spooled

__all__ = ["exchanges"]  # fixture


def traffic(size: int = 800) -> list[tuple[bool, float]]:
    """(wrong, doubt): a third wrong, and doubt tells something."""
    chance = random.Random(7)
    made = []
    for _ in range(size):
        wrong = chance.random() < 1 / 3
        made.append((wrong, chance.betavariate(2, 2) if wrong else chance.betavariate(1, 3)))
    return made


def draw(
    all_of_it: list[tuple[bool, float]], effort: int, chance: random.Random
) -> tuple[list[Judged], float]:
    made = [
        Judged(wrong, weight := 0.04 + 0.96 * doubt**2, (1 - chance.random()) / weight, doubt)
        for wrong, doubt in all_of_it
    ]
    made.sort(key=lambda one: one.key)
    return made[:effort], made[effort].key


@pytest.mark.slow
def test_uncertain_first_does_not_bias_the_rate_and_the_interval_holds_it() -> None:
    whole, chance = traffic(), random.Random(1)
    truth, doubt = mean(w for w, _ in whole), mean(d for _, d in whole)
    told = []
    for _ in range(400):
        judged, threshold = draw(whole, 160, chance)
        estimate = error_rate(judged, threshold, len(whole), doubt)
        assert estimate is not None
        told.append(estimate)
    values = [one.value for one in told]
    assert abs(mean(values) - truth) < 3 * stdev(values) / 400**0.5
    assert mean(one.low <= truth <= one.high for one in told) > 0.9
    # What doubt chose is wrong far more often than the traffic is: its plain share would mislead.
    assert mean(one.wrong for one in judged) > truth + 0.1


def test_everything_judged_is_known_exactly() -> None:
    judged = [Judged(n % 4 == 0, 1.0, n / 40, n / 40) for n in range(40)]
    found = error_rate(judged, None, 40, mean(n / 40 for n in range(40)))
    assert found is not None
    assert (round(found.value, 9), round(found.width, 9)) == (0.25, 0)


def test_too_few_tell_nothing() -> None:
    assert error_rate([Judged(True, 1.0, 0.1, 0.5)] * 19, None, 19, 0.5) is None
    assert estimates.probability(0.5, None) == 1
    assert estimates.probability(0.5, 0.4) == 0.2


@pytest.mark.django_db
def test_a_draw_by_doubt_keeps_each_items_probability(
    clickhouse: str, exchanges: list[str], make_queue: MakeQueue
) -> None:
    made = []
    for n in range(60):
        made += spooled.exchanges([n], route="doubtful", logprobs=[-0.01, -0.03 * n, -0.02])
    storing.store(store.connect(), made, "doubtful", again=False)
    queue = make_queue(0, filter="route:doubtful", order="uncertain")
    assert sampling.fill(queue, 20) == 20
    queue.refresh_from_db()
    assert queue.population == 60
    assert queue.threshold is not None
    for item in queue.items.all():
        assert item.position < queue.threshold
        assert item.probability == pytest.approx(min(1.0, item.weight * queue.threshold))
        assert item.weight == pytest.approx(
            LEAST_WEIGHT + (1 - LEAST_WEIGHT) * item.doubt**SHARPNESS, abs=1e-6
        )
    before = dict(queue.items.values_list("pk", "probability"))
    assert sampling.fill(queue, 20) == 20
    assert queue.items.count() == 40
    assert all(queue.items.get(pk=pk).probability >= chance for pk, chance in before.items())
    assert sampling.fill(queue, 40) == 20
    assert set(queue.items.values_list("probability", flat=True)) == {1.0}


@pytest.mark.django_db
def test_what_was_judged_out_of_order_waits_for_its_turn(make_queue: MakeQueue, alice: User) -> None:
    queue: Queue = make_queue(60)
    Queue.objects.update(population=100, threshold=1000.0, mean_doubt=0.0)
    queue.refresh_from_db()
    places = leases.reserve(queue, alice, 40)
    for place in places:
        if place.item.position != 30:
            judging.judge(place.item, alice, place.key, Judgement("reject"))
    found = progress.error_rate(queue)
    assert found is not None
    assert found.n == 30


@pytest.mark.django_db
def test_new_traffic_flows_into_open_queues_up_to_the_cap(
    clickhouse: str, exchanges: list[str], make_queue: MakeQueue
) -> None:
    storing.store(store.connect(), spooled.exchanges(range(12), route="flow"), "flow", again=False)
    flowing = make_queue(0, slug="flowing", filter="route:flow", order="newest", daily_cap=5)
    make_queue(0, slug="still", filter="route:flow")
    paused = make_queue(0, slug="paused", filter="route:flow", daily_cap=5, state="paused")
    broken = make_queue(0, slug="broken", filter="colour:red", daily_cap=5)
    assert sampling.flow() == 5
    assert sampling.flow() == 0, "the day's cap is reached"
    flowing.items.update(created_at=timezone.now() - timedelta(days=1))
    assert sampling.flow() == 5
    assert flowing.items.count() == 10
    assert not paused.items.exists()
    assert not broken.items.exists()
