"""Addresses that take posts lead to the page with the form when somebody looks, and let nobody in by it."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from annotations.models import Invitation
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_people import with_role
from tests.annotations.test_views import signed_in


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("/queues/chapters/invite/", "/queues/chapters/people/"),
        ("/queues/import/", "/queues/"),
        ("/queues/chapters/items/{item}/decide/", "/queues/chapters/items/{item}/"),
        ("/review/chapters/judge/", "/review/chapters/"),
        ("/review/chapters/ask/", "/review/chapters/"),
    ],
)
def test_a_reload_leads_to_the_form_and_only_who_may_see_it_does(
    make_queue: MakeQueue, carol: User, alice: User, mallory: User, *, address: str, leads_to: str
) -> None:
    item = make_queue(1).items.get().pk
    at, to = address.format(item=item), leads_to.format(item=item)
    for client in (signed_in(carol), signed_in(mallory), Client()):
        answer = client.get(at)
        assert (answer.status_code, answer["Location"]) == (302, to)
        assert client.head(at)["Location"] == to
    assert signed_in(alice if "review" in to else carol).get(to).status_code == 200
    assert signed_in(mallory).get(to).status_code in (403, 404)
    assert Client().get(to)["Location"].startswith(reverse("sign-in"))
    assert signed_in(carol).put(at).status_code == 405


def test_after_a_link_was_made_a_reload_makes_no_other(make_queue: MakeQueue) -> None:
    lead = signed_in(with_role(make_queue(), "lead"))
    made = lead.post("/queues/chapters/invite/", {"role": "reviewer", "days": 7})
    assert "/join/" in made.content.decode()
    assert lead.get("/queues/chapters/invite/", follow=True).status_code == 200
    assert Invitation.objects.count() == 1
