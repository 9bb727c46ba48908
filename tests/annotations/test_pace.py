from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from annotations import judging, leases, pace
from annotations.judging import Judgement
from annotations.models import Annotation, Assignment, Queue
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_people import with_role
from tests.annotations.test_views import signed_in


def judge(queue: Queue, reviewer: User, *seconds: float | None, source: str = "person") -> None:
    for each in seconds:
        place = leases.reserve(queue, reviewer, 1)[0]
        judging.judge(place.item, reviewer, place.key, Judgement("approve"), seconds=each, source=source)


def test_pace_counts_days_of_work_and_peoples_judgements_only(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(20)
    assert pace.of(queue) == pace.Pace(None, 20, None, None)
    judge(queue, alice, *[4.0] * 6)
    before = timezone.now() - timedelta(days=5)
    Annotation.objects.filter(pk__in=Annotation.objects.values("pk")[:4]).update(created_at=before)
    judge(queue, bob, *[None] * 4, source="reference")
    found = pace.of(queue)
    assert (found.a_day, found.left) == (3.0, 10)
    assert found.days_left == pytest.approx(10 / 3)
    assert found.end == timezone.localdate() + timedelta(days=3)


def test_what_is_left_counts_each_judgement_that_an_item_needs(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(5, judgements_per_item=2)
    judge(queue, alice, 1.0)
    assert pace.of(queue).left == 9


def test_a_reviewers_speed_has_median_and_share_under_two_seconds(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(9)
    judge(queue, alice, 1.0, 1.9, 2.0, 5.0, None)
    found = pace.speed(queue, alice)
    assert (found.count, found.median_seconds, found.fast, found.today) == (5, 1.95, 0.5, 5)
    assert pace.speed(queue, bob) == pace.Speed(0, None, None, None)
    page = signed_in(with_role(queue, "reader")).get(queue.get_absolute_url()).content.decode()
    assert 'data-label="Under 2 s">50' in page
    assert "4 are left" in page


def test_a_place_is_given_to_somebody_else_and_the_late_answer_is_lost(
    make_queue: MakeQueue, alice: User, bob: User, mallory: User
) -> None:
    queue = make_queue(2)
    lead = signed_in(with_role(queue, "lead"))
    hers = leases.reserve(queue, alice)[0]
    url = reverse("queue-reassign", args=[queue.slug, hers.pk])
    for nobody in (mallory.pk, "", "x"):
        assert "Choose one of" in lead.post(url, {"to": nobody}, follow=True).content.decode()
    assert signed_in(with_role(queue, "reader")).post(url, {"to": bob.pk}).status_code == 403
    assert "Given to bob" in lead.post(url, {"to": bob.pk}, follow=True).content.decode()
    now = Assignment.objects.get(pk=hers.pk)
    assert (now.reviewer, now.key != hers.key) == (bob, True)
    judging.judge(now.item, bob, now.key, Judgement("approve"))
    with pytest.raises(judging.Lost):
        judging.judge(hers.item, alice, hers.key, Judgement("reject"))
    assert "Nothing was changed" in lead.post(url, {"to": alice.pk}, follow=True).content.decode()
    assert queue.events.filter(act="reassigned").count() == 1


def test_nobody_gets_an_item_twice(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(1, judgements_per_item=2)
    hers, his = leases.reserve(queue, alice)[0], leases.reserve(queue, bob)[0]
    assert not leases.reassign(hers.pk, queue, bob)
    assert Assignment.objects.filter(pk__in=[hers.pk, his.pk]).count() == 2
