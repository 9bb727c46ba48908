"""A filter with a name: one's own, and shared. Emil owns it, Erin is a colleague, Rita stays out."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from inference.models import SavedView
from tests import people
from tests.inference import answered

pytestmark = pytest.mark.django_db


@pytest.fixture
def emil() -> User:
    return people.engineer()


@pytest.fixture
def erin() -> Client:
    return people.client(people.engineer("erin"))


def save(client: Client, name: str = "doubtful", q: str = "since:7d least_p:<0.30", **more: str) -> str:
    answer = client.post(reverse("save-view"), {"name": name, "q": q, **more})
    return answer.headers["Location"]


def test_a_view_opens_its_filter_by_an_address_that_stays(emil: User) -> None:
    client = people.client(emil)
    address = save(client)
    view = SavedView.objects.get()
    assert address == reverse("saved-view", args=[view.pk])
    assert (view.filter, view.owner, view.shared) == ("since:1w least_p:<0.3", emil, False)
    opened = client.get(address).headers["Location"]
    assert opened == f"/exchanges/?q=since%3A1w+least_p%3A%3C0.3&view={view.pk}"
    assert save(client, q="end:length") == address
    assert SavedView.objects.get().filter == "end:length"


def test_a_view_keeps_its_columns(emil: User) -> None:
    client = people.client(emil)
    address = save(client, q="", columns="user,cost")
    assert SavedView.objects.get().columns == "cost,user"
    opened = client.get(address).headers["Location"]
    assert opened == f"/exchanges/?view={SavedView.objects.get().pk}&columns=cost%2Cuser"
    save(client, q="", columns="")
    assert SavedView.objects.get().columns == ""
    assert save(client, q="rote:x", columns="user") == "/exchanges/?q=rote%3Ax&columns=user"


def test_who_may_not_get_in(emil: User, erin: Client) -> None:
    own = save(people.client(emil))
    shared = save(people.client(emil), name="for all", shared="on")
    rita, stranger = people.client(people.reviewer()), people.client(None)
    for address in (own, shared):
        assert stranger.get(address).headers["Location"].startswith("/sign-in/")
        assert rita.get(address).status_code == 403
        assert rita.post(address + "remove/").status_code == 403
    assert rita.post(reverse("save-view"), {"name": "x", "q": ""}).status_code == 403
    assert erin.get(own).status_code == 404
    assert erin.get(shared).status_code == 302
    assert erin.post(own + "remove/").status_code == erin.post(shared + "remove/").status_code == 404
    olga = people.client(people.operator())
    assert olga.post(own + "remove/").status_code == 404
    assert olga.post(shared + "remove/").status_code == 302
    assert people.client(emil).get(own + "remove/").status_code == 405
    assert people.client(emil).post(own + "remove/").status_code == 302
    assert not SavedView.objects.exists()


def test_what_is_not_understood_or_has_no_name_is_not_kept(
    emil: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = people.client(emil)
    assert save(client, q="rote:x") == "/exchanges/?q=rote%3Ax"
    assert save(client, name="  ") == "/exchanges/?q=since%3A1w+least_p%3A%3C0.3"
    monkeypatch.setattr("inference.saved_views.MOST", 1)
    save(client, name="one")
    save(client, name="two")
    save(client, name="one", q="end:stop")
    assert SavedView.objects.get().filter == "end:stop"


def test_a_name_that_is_markup_is_text(emil: User, monkeypatch: pytest.MonkeyPatch, clickhouse: str) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_views")
    answered.store(answered.exchange(1))
    client = people.client(emil)
    save(client, name="<script>x</script>", q="")
    text = client.get(reverse("exchanges")).text
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "<script>x" not in text
