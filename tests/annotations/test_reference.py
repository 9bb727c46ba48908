from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from annotations import leases, reference
from annotations.models import Annotation, Item
from tests.annotations.conftest import MakeQueue


def label(phrase: str) -> str | None:
    """Right for case 1, another for case 2, unknown for the rest."""
    return {"wheezing, case 1": "Respiratory", "wheezing, case 2": "Skin"}.get(phrase)


def test_it_judges_what_waits_and_nobody_holds(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(45)
    for place in leases.reserve(queue, alice, 5)[:2]:
        leases.release(place.pk, queue)
    assert reference.judge_all(queue, label) == 42
    assert reference.judge_all(queue, label) == 0
    first, second, third = queue.items.order_by("position")[:3]
    assert (first.verdict, first.verdict_rule) == ("approved", "one judgement, by the reference reviewer")
    assert (second.verdict, second.verdict_answer) == ("corrected", "Skin")
    assert third.state == Item.State.WAITING
    assert set(Annotation.objects.values_list("source", flat=True)) == {"reference"}
    assert not reference.reviewer().has_usable_password()


def test_the_leads_page_says_that_it_was_no_person(make_queue: MakeQueue, carol: User) -> None:
    queue = make_queue(2)
    reference.judge_all(queue, label)
    client = Client()
    client.force_login(carol)
    page = client.get(reverse("queue", args=[queue.slug])).content.decode()
    assert "2 judgements came from the reference list, not from a person" in page
    assert "reference list, not a person" in page
