"""The page that says how well reviewers agree."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from annotations import judging, leases
from annotations.judging import Judgement
from annotations.models import Queue
from tests.annotations.conftest import MakeQueue, alice, bob, carol, make_queue, mallory

__all__ = ["alice", "bob", "carol", "make_queue", "mallory"]  # fixtures
FRAGMENT = {"HX-Request": "true"}
URL = "/queues/chapters/agreement/"
pytestmark = pytest.mark.django_db


def judge(queue: Queue, person: User, wrong: set[int]) -> None:
    """Approve all, but correct those with these positions."""
    for place in leases.reserve(queue, person, 50):
        said = Judgement("correct", answer="Skin") if place.item.position in wrong else Judgement("approve")
        judging.judge(place.item, person, place.key, said)


@pytest.fixture
def judged(make_queue: MakeQueue, alice: User, bob: User) -> Queue:
    queue = make_queue(20, judgements_per_item=2)
    judge(queue, alice, {1, 2, 3})
    judge(queue, bob, {1, 2, 4})
    return queue


def test_only_who_manages_queues_sees_it(judged: Queue, alice: User, mallory: User) -> None:
    for person in (alice, mallory):
        client = Client()
        client.force_login(person)
        assert client.get(URL).status_code == 403
    assert Client().get(URL).status_code == 302


def test_it_shows_the_plot_and_every_table(judged: Queue, carol: User) -> None:
    client = Client()
    client.force_login(carol)
    page = client.get(URL).content.decode()
    # 18 of 20 alike; by hand, expected disagreement is 2·(6·34)/(40·39): alpha = 1 − 0.1/0.2615.
    assert "90\u00a0%" in page
    assert "0.62" in page
    assert "chart-dots" in page
    assert "alice and bob" in page
    for title in ("By person", "By pair", "By answer", "What was said together"):
        assert title in page
    assert "style=" not in page


def test_it_is_asked_for_again_only_when_something_was_judged(
    judged: Queue, carol: User, alice: User
) -> None:
    client = Client()
    client.force_login(carol)
    first = client.get(URL, headers=FRAGMENT)
    seen = first.context["agreeing"].fingerprint
    assert b"<html" not in first.content
    assert client.get(URL, {"seen": seen}, headers=FRAGMENT).status_code == 204
    last = judging.standing(judged, alice).first()
    assert last is not None
    judging.undo(judged, alice, last.key)
    assert client.get(URL, {"seen": seen}, headers=FRAGMENT).status_code == 200


def test_what_one_person_judged_is_said_to_tell_nothing(
    make_queue: MakeQueue, alice: User, carol: User
) -> None:
    judge(make_queue(3), alice, set())
    client = Client()
    client.force_login(carol)
    assert "Nothing to compare yet" in client.get(URL).content.decode()
