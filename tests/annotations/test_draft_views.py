"""What became of items that something was typed on: told only of items that the person was shown."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from annotations import judging, leases
from annotations.judging import Judgement
from annotations.models import Assignment, Item
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_masks import MAIL, personal, told
from tests.annotations.test_views import FRAGMENT, signed_in

pytestmark = pytest.mark.django_db
URL = "/review/chapters/drafts/"


def asked(person: User, *places: Assignment, key: str = "") -> str:
    drafts = [f"{place.item_id}:{key or place.key}" for place in places]
    answer = signed_in(person).get(URL, {"draft": drafts}, headers=FRAGMENT)
    assert answer.status_code == 200
    return answer.content.decode()


def test_strangers_hear_nothing(make_queue: MakeQueue, alice: User, carol: User, mallory: User) -> None:
    place = leases.reserve(make_queue(), alice)[0]
    for somebody in (carol, mallory):
        asking = {"draft": f"{place.item_id}:{place.key}"}
        assert signed_in(somebody).get(URL, asking, headers=FRAGMENT).status_code == 404
    assert Client().get(URL, headers=FRAGMENT).status_code == 401
    assert signed_in(alice).post(URL).status_code == 405


def test_each_fate_is_told_and_what_comes_back_is_not(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(8)
    held, skipped, lost, taken, judged, free, flagged = leases.reserve(queue, alice, 7)
    leases.skip(skipped.item, alice, skipped.key)
    judging.judge(judged.item, alice, judged.key, Judgement("approve"))
    Assignment.objects.filter(pk__in=[one.pk for one in (lost, taken, free, flagged)]).delete()
    there = {place.item_id: place for place in leases.reserve(queue, bob, 5)}
    judging.judge(lost.item, bob, there[lost.item_id].key, Judgement("approve"))
    judging.judge(flagged.item, bob, there[flagged.item_id].key, Judgement("flag"))
    leases.release(there[free.item_id].pk, queue)
    assert "data-draft" not in asked(alice, held, skipped)
    assert "Someone else has answered it." in asked(alice, lost)
    assert "reserved for another reviewer" in asked(alice, taken)
    assert "You have answered it." in asked(alice, judged)
    assert "Open it again" in asked(alice, free)
    page = asked(alice, flagged)
    assert "It has left the queue." in page
    assert "wheezing" not in page
    queue.change_state("open", "closed", alice)
    assert "This queue is closed." in asked(alice, free)


def test_nothing_is_told_of_an_item_that_was_shown_to_somebody_else(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    place = leases.reserve(make_queue(), alice)[0]
    for key in ("", "made up"):
        page = asked(bob, place, key=key)
        assert "It is no longer here." in page
        assert "wheezing" not in page
    for odd in ("x:y", "", ":", "9" * 30, f"{place.item_id}"):
        answer = signed_in(bob).get(URL, {"draft": odd}, headers=FRAGMENT)
        assert "wheezing" not in answer.content.decode()


def test_it_is_masked_where_items_are(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1, masked=True)
    item = personal(queue)
    place = leases.reserve(queue, alice)[0]
    Assignment.objects.all().delete()
    page = told(signed_in(alice).get(URL, {"draft": f"{item.pk}:{place.key}"}, headers=FRAGMENT))
    assert "nobody has answered it yet" in page
    assert MAIL in Item.objects.get().answer
