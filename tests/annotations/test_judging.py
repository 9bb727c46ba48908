from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from annotations import judging, leases, progress
from annotations.judging import Answered, Judgement, Lost, Refused, Unknown
from annotations.models import Annotation, Assignment, Item, Queue
from tests.annotations.conftest import MakeQueue

APPROVE = Judgement("approve")
SKIN = Judgement("correct", answer="Skin")


def test_one_judgement_settles_the_item(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(3, guidelines_version=4)
    a, b, c = leases.reserve(queue, alice)
    judging.judge(a.item, alice, a.key, APPROVE, seconds=2.5)
    judging.judge(b.item, alice, b.key, SKIN)
    judging.judge(c.item, alice, c.key, Judgement("reject", reason="Wrong chapter"))
    told = list(queue.items.values_list("state", "verdict", "verdict_answer", "verdict_rule"))
    assert told == [
        ("settled", "approved", "Respiratory", "one judgement"),
        ("settled", "corrected", "Skin", "one judgement"),
        ("settled", "rejected", "", "one judgement"),
    ]
    first = Annotation.objects.order_by("id")[0]
    assert (first.seconds, first.guidelines_version, first.source) == (2.5, 4, "person")


def test_a_double_send_counts_once_and_another_body_is_refused(make_queue: MakeQueue, alice: User) -> None:
    place = leases.reserve(make_queue(1), alice)[0]
    one = judging.judge(place.item, alice, place.key, APPROVE, seconds=1)
    two = judging.judge(place.item, alice, place.key, APPROVE, seconds=9)
    assert one.pk == two.pk
    with pytest.raises(Answered):
        judging.judge(place.item, alice, place.key, SKIN)
    assert Annotation.objects.count() == 1


def test_a_key_of_somebody_else_is_unknown(make_queue: MakeQueue, alice: User, bob: User) -> None:
    place = leases.reserve(make_queue(1), alice)[0]
    with pytest.raises(Unknown):
        judging.judge(place.item, bob, place.key, APPROVE)


def test_a_key_made_under_an_older_secret_still_counts(make_queue: MakeQueue, alice: User) -> None:
    place = leases.reserve(make_queue(1), alice)[0]
    with override_settings(SECRET_KEY="another"):
        judging.judge(place.item, alice, place.key, APPROVE)
        judging.judge(place.item, alice, place.key, APPROVE)
    assert Annotation.objects.count() == 1


def lose(place: Assignment) -> None:
    Assignment.objects.filter(pk=place.pk).update(leased_until=timezone.now() - timedelta(minutes=1))


def test_a_late_answer_is_taken_while_the_place_is_free(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1)
    place = leases.reserve(queue, alice)[0]
    leases.release(place.pk, queue)
    judging.judge(place.item, alice, place.key, APPROVE)
    assert queue.items.get().state == Item.State.SETTLED


def test_a_late_answer_is_lost_when_somebody_else_has_the_place(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(1)
    place = leases.reserve(queue, alice)[0]
    lose(place)
    his = leases.reserve(queue, bob)[0]
    with pytest.raises(Lost):
        judging.judge(place.item, alice, place.key, APPROVE)
    judging.judge(his.item, bob, his.key, APPROVE)
    with pytest.raises(Lost):
        judging.judge(place.item, alice, place.key, APPROVE)
    assert Annotation.objects.get().reviewer == bob


def test_a_late_answer_counts_for_the_newer_showing_of_the_same_person(
    make_queue: MakeQueue, alice: User
) -> None:
    queue = make_queue(1)
    old = leases.reserve(queue, alice)[0]
    leases.release(old.pk, queue)
    new = leases.reserve(queue, alice)[0]
    assert new.key != old.key
    judging.judge(old.item, alice, old.key, APPROVE)
    with pytest.raises(Answered):
        judging.judge(new.item, alice, new.key, SKIN)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Judgement("correct", answer="Astrology"), "answer"),
        (Judgement("correct"), "answer"),
        (Judgement("correct", answer=" Respiratory "), "answer"),
        (Judgement("approve", answer="Skin"), "answer"),
        (Judgement("maybe"), "decision"),
        (Judgement("undo"), "decision"),
        (Judgement("approve", note="x" * 5001), "note"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_field(
    make_queue: MakeQueue, alice: User, said: Judgement, field: str
) -> None:
    place = leases.reserve(make_queue(1), alice)[0]
    with pytest.raises(Refused) as told:
        judging.judge(place.item, alice, place.key, said)
    assert told.value.field == field
    assert not Annotation.objects.exists()
    judging.judge(place.item, alice, place.key, APPROVE)


def test_free_text_is_taken_when_there_is_no_list(make_queue: MakeQueue, alice: User) -> None:
    place = leases.reserve(make_queue(1, answers=[]), alice)[0]
    judging.judge(place.item, alice, place.key, Judgement("correct", answer="Anything at all"))
    assert Item.objects.get().verdict_answer == "Anything at all"


def test_undo_appends_and_brings_the_item_back_first(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(5)
    place = leases.reserve(queue, alice)[0]
    judging.judge(place.item, alice, place.key, APPROVE)
    judging.undo(queue, alice, place.key)
    judging.undo(queue, alice, place.key)
    assert [a.decision for a in Annotation.objects.all()] == ["approve", "undo"]
    again = leases.reserve(queue, alice)[0]
    assert again.item == place.item
    assert again.key != place.key
    assert again.item.state == Item.State.WAITING
    assert again.item.verdict == ""
    judging.judge(again.item, alice, again.key, SKIN)
    assert [a.decision for a in judging.standing(queue, alice)] == ["correct"]
    assert Item.objects.get(pk=place.item_id).verdict_answer == "Skin"
    # The first judgement, sent once more by a slow network, changes nothing.
    judging.judge(place.item, alice, place.key, APPROVE)
    assert Item.objects.get(pk=place.item_id).verdict_answer == "Skin"


def test_undo_reaches_twenty_back_and_only_ones_own(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(21)
    places = leases.reserve(queue, alice, 21)
    for place in places:
        judging.judge(place.item, alice, place.key, APPROVE)
    with pytest.raises(Refused):
        judging.undo(queue, alice, places[0].key)
    with pytest.raises(Unknown):
        judging.undo(queue, bob, places[1].key)
    judging.undo(queue, alice, places[1].key)


def test_personal_data_leaves_the_queue_for_everyone_and_comes_back_on_undo(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(1, judgements_per_item=2)
    hers, his = leases.reserve(queue, alice)[0], leases.reserve(queue, bob)[0]
    judging.judge(hers.item, alice, hers.key, Judgement("flag"))
    assert queue.items.get().state == Item.State.FLAGGED
    assert leases.reserve(queue, bob) == []
    with pytest.raises(Lost):
        judging.judge(his.item, bob, his.key, APPROVE)
    judging.undo(queue, alice, hers.key)
    assert queue.items.get().state == Item.State.WAITING
    assert len(leases.reserve(queue, bob)) == 1


def test_what_is_decided_is_counted_as_it_changes(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(3)
    Queue.objects.update(size=3, decided=0)
    place = leases.reserve(queue, alice)[0]
    judging.judge(place.item, alice, place.key, APPROVE)
    judging.judge(place.item, alice, place.key, APPROVE)
    assert progress.of(queue, alice) == progress.Progress(1, 3, mine=1)
    assert progress.counted(queue) == (3, 1)
    judging.undo(queue, alice, place.key)
    assert progress.of(queue, alice) == progress.Progress(0, 3)


def test_a_closed_queue_takes_nothing_and_a_paused_one_what_is_on_screen(
    make_queue: MakeQueue, alice: User
) -> None:
    queue = make_queue(2)
    first, second = leases.reserve(queue, alice)
    assert queue.change_state(Queue.State.OPEN, Queue.State.PAUSED, alice)
    assert not queue.change_state(Queue.State.OPEN, Queue.State.CLOSED, alice)
    judging.judge(first.item, alice, first.key, APPROVE)
    assert queue.change_state(Queue.State.PAUSED, Queue.State.CLOSED, alice)
    second.item.queue.refresh_from_db()
    with pytest.raises(Lost):
        judging.judge(second.item, alice, second.key, APPROVE)


def test_a_heat_map_seen_before_judging_is_stored_with_the_judgement(
    make_queue: MakeQueue, alice: User
) -> None:
    seen, unseen = leases.reserve(make_queue(2), alice)
    Assignment.objects.filter(pk=seen.pk).update(heat_map_seen=True)
    assert judging.judge(seen.item, alice, seen.key, APPROVE).heat_map_seen
    assert not judging.judge(unseen.item, alice, unseen.key, APPROVE).heat_map_seen


def test_new_guidelines_get_a_new_number_and_the_old_are_kept(make_queue: MakeQueue, carol: User) -> None:
    queue = make_queue(0)
    before = queue.guidelines
    queue.rewrite_guidelines("Choose well.", carol)
    queue.rewrite_guidelines("Choose well.", carol)
    assert queue.guidelines_version == 2
    assert queue.old_guidelines.get(version=1).text == before
