"""Which exchanges ``label:`` means."""

import uuid
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
