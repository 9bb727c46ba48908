from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from annotations import judging, leases
from annotations.judging import Judgement
from annotations.models import Assignment
from tests.annotations.conftest import MakeQueue

APPROVE = Judgement("approve")


def end_leases() -> None:
    Assignment.objects.update(leased_until=timezone.now() - timedelta(seconds=1))


def test_three_items_are_reserved_and_a_reload_gives_the_same(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(5)
    first = leases.reserve(queue, alice)
    again = leases.reserve(queue, alice)
    assert [p.item.position for p in first] == [0, 1, 2]
    assert [(p.pk, p.key) for p in again] == [(p.pk, p.key) for p in first]


def test_one_that_is_asked_for_comes_first_and_only_where_a_place_is_free(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(6)
    leases.reserve(queue, alice)
    last = queue.items.order_by("-position")[0]
    assert leases.reserve_first(last, alice)
    assert leases.reserve(queue, alice)[0].item == last
    assert not leases.reserve_first(last, bob)
    place = leases.reserve(queue, alice)[0]
    judging.judge(place.item, alice, place.key, APPROVE)
    assert not leases.reserve_first(queue.items.get(pk=last.pk), alice)
    skipped = leases.reserve(queue, alice)[0]
    leases.skip(skipped.item, alice, skipped.key)
    assert leases.reserve_first(skipped.item, alice)
    assert leases.reserve(queue, alice)[0].item == skipped.item


def test_colleagues_get_different_items(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(5)
    hers = {p.item_id for p in leases.reserve(queue, alice)}
    his = {p.item_id for p in leases.reserve(queue, bob)}
    assert len(hers) == 3
    assert len(his) == 2
    assert not hers & his


def test_two_judgements_an_item_put_two_people_on_it_but_nobody_twice(
    make_queue: MakeQueue, alice: User, bob: User, mallory: User
) -> None:
    queue = make_queue(1, judgements_per_item=2)
    assert len(leases.reserve(queue, alice)) == 1
    assert len(leases.reserve(queue, alice)) == 1
    assert len(leases.reserve(queue, bob)) == 1
    assert leases.reserve(queue, mallory) == []
    assert Assignment.objects.count() == 2


def test_an_ended_lease_is_anyones(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(1)
    leases.reserve(queue, alice)
    assert leases.reserve(queue, bob) == []
    end_leases()
    assert len(leases.reserve(queue, bob)) == 1
    assert leases.reserve(queue, alice) == []


def test_an_ended_lease_nobody_wanted_is_still_ones_own(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1)
    [place] = leases.reserve(queue, alice)
    end_leases()
    [again] = leases.reserve(queue, alice)
    assert again.key == place.key
    assert again.leased_until > timezone.now()


def test_a_skipped_item_is_free_for_others_and_comes_back_last(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(4)
    first, *_ = leases.reserve(queue, alice)
    leases.skip(first.item, alice, first.key)
    leases.skip(first.item, alice, first.key)
    assert [p.item.position for p in leases.reserve(queue, alice)] == [1, 2, 3]
    for place in leases.reserve(queue, alice):
        judging.judge(place.item, alice, place.key, APPROVE)
    assert [p.item.position for p in leases.reserve(queue, alice)] == [0]
    last = leases.held(queue, alice).get()
    leases.skip(last.item, alice, last.key)
    assert [p.item.position for p in leases.reserve(queue, bob)] == [0]


def test_release_takes_a_place_back_once_and_never_a_judged_one(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(2)
    first, second = leases.reserve(queue, alice)
    assert leases.release(first.pk, queue)
    assert not leases.release(first.pk, queue)
    judging.judge(second.item, alice, second.key, APPROVE)
    assert not leases.release(second.pk, queue)


def test_reserving_asks_the_same_number_of_questions_however_long_the_queue(
    make_queue: MakeQueue, alice: User, django_assert_max_num_queries: pytest.FixtureRequest
) -> None:
    queue = make_queue(60)
    with django_assert_max_num_queries(9):  # type: ignore[operator]
        leases.reserve(queue, alice)


def test_a_key_is_ours_for_one_item_and_one_person(alice: User) -> None:
    key = leases.make_key(7, alice.pk)
    assert len(key) == 43
    assert leases.made_for(key, 7, alice.pk)
    assert not leases.made_for(key, 8, alice.pk)
    assert not leases.made_for(key, 7, alice.pk + 1)
    assert not leases.made_for("nonsense", 7, alice.pk)
