"""Check questions: mixed in unseen, answered by everybody, told afterwards; no verdict changes by them."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from annotations import golds, judging, leases, people, progress
from annotations.judging import Judgement
from annotations.models import Annotation, Assignment, Gold, Item, Queue
from annotations.people import Role
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_views import FRAGMENT, post, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue(make_queue: MakeQueue, alice: User, carol: User) -> Queue:
    """Alice settled two of twelve; Carol made them check questions: one in one comes."""
    made = make_queue(12)
    for said in (Judgement("approve"), Judgement("correct", answer="Skin")):
        (place, *_) = leases.reserve(made, alice, 1)
        judging.judge(place.item, alice, place.key, said)
        assert golds.mark(Item.objects.get(pk=place.item_id), carol, "See the guidelines.")
    Annotation.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    Assignment.objects.filter(done_at=None).delete()
    made.gold_every = 1
    made.save()
    return made


def checks(queue: Queue, person: User) -> list[Assignment]:
    """The check questions among what the person has reserved."""
    places = leases.reserve(queue, person)
    return [place for place in places if Gold.objects.filter(item=place.item).exists()]


def test_they_come_among_the_others_once_each_and_not_to_who_settled_them(
    queue: Queue, alice: User, bob: User
) -> None:
    places = leases.reserve(queue, bob)
    assert len(places) == 3
    assert len(checks(queue, bob)) == 2
    for place in places:
        judging.judge(place.item, bob, place.key, Judgement("approve"))
    assert checks(queue, bob) == []
    assert len(leases.reserve(queue, bob)) == 3
    assert checks(queue, alice) == []
    queue.gold_every = 0
    queue.reviewers.add(dana := User.objects.create_user("dana"))
    assert checks(queue, dana) == []


def test_who_asks_for_an_item_gets_it_and_no_check_question(queue: Queue, bob: User) -> None:
    item = queue.items.filter(state="waiting").latest("pk")
    assert leases.reserve_first(item, bob)
    assert leases.held(queue, bob).first() == Assignment.objects.get(item=item, reviewer=bob)


def test_everybody_answers_one_and_its_verdict_stays(queue: Queue, bob: User) -> None:
    queue.reviewers.add(dana := User.objects.create_user("dana"))
    before = progress.of(queue, bob)
    known = dict(Item.objects.filter(gold__isnull=False).values_list("pk", "verdict_answer"))
    for person in (bob, dana):
        for place in checks(queue, person):
            judging.judge(place.item, person, place.key, Judgement("reject"))
    for item in Item.objects.filter(gold__isnull=False):
        assert (item.state, item.verdict_answer, item.verdict_rule) == (
            *("settled", known[item.pk], "one judgement"),
        )
        assert item.annotations.count() == 3
    after = progress.of(queue, bob)
    assert (after.done, after.total) == (before.done, before.total)
    assert (
        after.mine == before.mine + Item.objects.filter(gold__isnull=False).count()
    )  # nothing tells them apart


def test_the_page_tells_nothing_before_and_the_answer_after(queue: Queue, bob: User) -> None:
    client = signed_in(bob)
    page = client.get(f"/review/{queue.slug}/").content.decode().lower()
    assert "check question" not in page
    assert "see the guidelines" not in page
    told = []
    for place in checks(queue, bob):
        answer = post(client, place, "approve", FRAGMENT)
        told.append(answer.content.decode())
    assert sum("your answer is the known one. See the guidelines." in one for one in told) == 1
    assert sum("The known answer: “Skin”. See the guidelines." in one for one in told) == 1
    (plain,) = [place for place in leases.reserve(queue, bob) if place.item.state == "waiting"][:1]
    assert "check question" not in post(client, plain, "approve", FRAGMENT).content.decode()


def test_accuracy_is_told_by_person_and_cannot_be_mended(queue: Queue, bob: User, alice: User) -> None:
    for place in checks(queue, bob):
        judging.judge(place.item, bob, place.key, Judgement("approve"))
    assert golds.accuracy(queue) == {bob.pk: golds.Accuracy(1, 2)}
    (work,) = [one for one in progress.overview(queue).work if one.reviewer == bob]
    assert work.checks is not None
    assert work.checks.share == 0.5
    said = judging.standing(queue, bob).first()
    assert said is not None
    with pytest.raises(judging.Refused, match="check question has used"):
        judging.undo(queue, bob, said.key)


def test_a_flag_takes_one_out_and_its_known_answer_comes_back(queue: Queue, bob: User) -> None:
    place = checks(queue, bob)[0]
    judging.judge(place.item, bob, place.key, Judgement("flag"))
    item = Item.objects.get(pk=place.item_id)
    assert item.state == Item.State.FLAGGED
    assert golds.accuracy(queue) == {}


@pytest.mark.parametrize(
    ("known", "said", "right"),
    [
        (("reject", ""), ("correct", "Skin"), True),
        (("correct", "Skin"), ("reject", ""), False),
        (("correct", "Skin"), ("correct", " Skin "), True),
        (("correct", "Skin"), ("correct", "Eye"), False),
        (("approve", ""), ("cant_judge", ""), False),
    ],
)
def test_what_counts_as_right(
    queue: Queue, known: tuple[str, str], said: tuple[str, str], right: bool
) -> None:
    gold = Gold(decision=known[0], answer=known[1])
    given = Annotation(decision=said[0], answer=said[1])
    assert gold.holds(given) is right


def test_only_leads_make_them(queue: Queue, alice: User, bob: User, carol: User) -> None:
    item = Item.objects.filter(gold__isnull=False).latest("pk")
    url = f"/queues/{queue.slug}/items/{item.pk}/check/"
    people.give(queue, bob, Role.READER, carol)
    for person in (alice, bob):
        assert signed_in(person).post(url, {"use": "no"}).status_code == 403
    assert Client().post(url, {"use": "no"}).status_code == 302
    assert Gold.objects.filter(ended_at=None).count() == 2
    client = signed_in(carol)
    client.post(url, {"use": "no"})
    assert Gold.objects.filter(ended_at=None).count() == 1
    assert "Use as a check question" in client.get(f"/queues/{queue.slug}/items/{item.pk}/").content.decode()
    client.post(url, {"use": "yes", "note": "again"})
    assert Gold.objects.get(item=item).note == "again"
    waiting = queue.items.filter(state="waiting").latest("pk")
    client.post(f"/queues/{queue.slug}/items/{waiting.pk}/check/", {"use": "yes"})
    assert Gold.objects.count() == 2
