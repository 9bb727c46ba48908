"""Which exchanges ``label:`` means."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from annotations import labels
from annotations.models import Annotation, Item
from tests.annotations.conftest import MakeQueue

pytestmark = pytest.mark.django_db


def ids(*wanted: str, most: int = 10) -> set[uuid.UUID]:
    return set(labels.labelled(wanted, None, None, most))


def judge(item: Item, by: User, decision: str, **more: object) -> Annotation:
    return Annotation.objects.create(item=item, reviewer=by, decision=decision, key=uuid.uuid4().hex, **more)


def test_a_label_is_a_verdict_a_state_or_any_standing_judgement(make_queue: MakeQueue, alice: User) -> None:
    first, second, third = make_queue(3).items.order_by("pk")
    Item.objects.filter(pk=first.pk).update(state="settled", verdict="approved")
    assert ids("approved") == {first.exchange_id}
    assert ids("approved", "rejected", "waiting") == {one.exchange_id for one in (first, second, third)}
    assert ids("corrected") == ids("any") == set()
    said = judge(second, alice, "cant_judge")
    judge(third, alice, "approve")
    assert ids("any") == {second.exchange_id, third.exchange_id}
    judge(second, alice, "undo", undoes=said)
    assert ids("any") == {third.exchange_id}


def test_of_two_queues_an_exchange_counts_once_and_within_the_time(make_queue: MakeQueue) -> None:
    one = make_queue(2).items.order_by("pk")[0]
    make_queue(0, slug="again", name="Again").items.create(
        exchange_id=one.exchange_id, started_at=one.started_at, messages=[], answer=""
    )
    assert len(labels.labelled(["waiting"], one.started_at, None, 10)) == 2
    later = one.started_at + timedelta(hours=1)
    assert labels.labelled(["waiting"], later, None, 10) == []
    assert labels.labelled(["waiting"], None, one.started_at, 10) == []
    assert len(labels.labelled(["waiting"], None, later, 1)) == 1


def test_what_people_settled_on_of_several_queues_the_latest_first(
    make_queue: MakeQueue, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    first, second, third = make_queue(3).items.order_by("pk")
    again = make_queue(0, slug="again", name="Again").items.create(
        exchange_id=first.exchange_id, started_at=first.started_at, messages=[], answer=""
    )
    noon = first.started_at
    for one, verdict, answer, at in (
        (first, "corrected", "Skin", noon),
        (again, "approved", "Respiratory", noon + timedelta(hours=1)),
        (second, "corrected", "Digestive", noon),
    ):
        Item.objects.filter(pk=one.pk).update(
            state="settled", verdict=verdict, verdict_answer=answer, settled_at=at
        )
    Item.objects.filter(pk=third.pk).update(state="flagged", verdict_answer="0171 2345")
    named = [(one.exchange_id, 0) for one in (first, second, third)]
    with django_assert_num_queries(1):
        assert labels.settled([*named, (second.exchange_id, 1)]) == {
            named[0]: ("approved, corrected", "Skin"),
            named[1]: ("corrected", "Digestive"),
        }
