"""Rights to read and the log of looks, without a trace store. Who may read what: test_reading."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse

from flywheel import tasks, urls
from inference import audit, readers
from inference.audit import MOST_NAMED, Look
from inference.models import Route
from inference.reading_rights import ReadingRight, rights_of
from tests import people
from tests.flywheel.test_reading import PAGES

pytestmark = pytest.mark.django_db
OTHER_ADDRESSES = {"admin/logout/"}
"""What stands in the list by another name."""


@pytest.fixture
def olga() -> Client:
    client = Client()
    client.force_login(people.operator())
    return client


def names(patterns: Iterable[object], before: str = "") -> Iterator[str]:
    for one in patterns:
        if isinstance(one, URLPattern):
            yield one.name or before + str(one.pattern)
        elif isinstance(one, URLResolver) and one.app_name != "admin":
            yield from names(one.url_patterns, before + str(one.pattern))


def test_every_page_says_who_may_not_get_in() -> None:
    assert set(names(urls.urlpatterns)) - OTHER_ADDRESSES == {page.name for page in PAGES}


def in_a_thread(work: Callable[[], object]) -> object:
    """What it gives where nobody has said who reads."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_jobs_read_as_the_system_and_nobody_else_does_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("annotations.sampling.flow", lambda: seen.append(readers.rights()))
    in_a_thread(tasks.fill_queues)
    assert seen == [readers.EVERYTHING]
    with pytest.raises(readers.NoReaderError):
        in_a_thread(readers.rights)


@pytest.mark.parametrize("query", ["", "?q=x", "?peek=00000000-0000-0000-0000-000000000000"])
def test_an_engineer_without_a_right_is_told_whom_to_ask(query: str) -> None:
    client = Client()
    client.force_login(people.engineer())
    ReadingRight.objects.all().delete()
    answer = client.get(reverse("exchanges") + query)
    assert answer.status_code == 403
    assert "You may read no exchanges" in answer.text


def test_a_right_opens_exchanges_to_who_has_no_role_and_nothing_else() -> None:
    rita = people.reviewer()
    client = Client()
    client.force_login(rita)
    exchanges = reverse("exchanges")
    assert exchanges not in client.get(reverse("settings")).text
    people.may_read("icd", person=rita)
    assert f'href="{exchanges}"' in client.get(reverse("settings")).text
    assert client.get(exchanges).status_code == 200
    for name in ("exchange-send", "datasets", "training", "overview", "engine-room", "queues"):
        assert client.get(reverse(name)).status_code in (302, 403)


def test_one_holder_a_right() -> None:
    group, person = Group.objects.create(name="wards"), people.reviewer()
    for wrong in (
        ReadingRight(every_route=True),
        ReadingRight(every_route=True, role="engineers", person=person),
        ReadingRight(every_route=True, group=group, person=person),
    ):
        with pytest.raises(ValidationError):
            wrong.full_clean()
    with pytest.raises(IntegrityError):
        ReadingRight.objects.create(group=group, person=person)


def test_a_right_ends_with_its_route() -> None:
    people.may_read("icd", texts=True, person=(rita := people.reviewer()))
    Route.objects.get(name="icd").delete()
    assert rights_of(rita) == readers.NOTHING


def test_rights_are_given_in_the_admin_and_say_by_whom(olga: Client) -> None:
    rita = people.reviewer()
    icd = Route.objects.create(name="icd")
    address = reverse("admin:inference_readingright_add")
    assert "this right would read nothing" in olga.post(address, {"person": rita.pk}).text
    assert "Choose one" in olga.post(address, {"every_route": "on"}).text
    assert olga.post(address, {"person": rita.pk, "routes": [icd.pk], "texts": "on"}).status_code == 302
    right = ReadingRight.objects.get(person=rita)
    assert (right.created_by and right.created_by.username) == "olga"
    assert rights_of(rita) == readers.Rights(frozenset({"icd"}), frozenset({"icd"}))
    text = olga.get(reverse("admin:inference_readingright_changelist")).text
    assert "every engineer and operator" in text
    assert "every route" in text


def test_the_log_is_searched_and_never_changed(olga: Client) -> None:
    rita = people.reviewer()
    audit.looked(rita, "exchange", {"01a20a04-9cd6-702b-b604-b7998dfff6d1": "icd-chapter"})
    audit.looked(User.objects.get(username="olga"), "session", {"other": "faq-desk"})
    look = Look.objects.get(who=rita)
    address = reverse("admin:inference_look_changelist")
    for query in ("b7998dfff6d1", "rita", "icd-"):
        text = olga.get(address, {"q": query}).text
        assert "icd-chapter" in text
        assert "faq-desk" not in text
    assert olga.get(reverse("admin:inference_look_add")).status_code == 403
    assert olga.post(reverse("admin:inference_look_change", args=[look.pk]), {}).status_code == 403
    assert olga.post(reverse("admin:inference_look_delete", args=[look.pk]), {}).status_code == 403
    rita_too = Client()
    rita_too.force_login(rita)
    assert rita_too.get(address).status_code == 302


def test_a_page_of_thousands_is_one_entry_that_names_some() -> None:
    seen = {f"id-{number}": "icd" for number in range(5000)}
    audit.looked(people.reviewer(), "exchange-send", seen)
    look = Look.objects.get()
    assert look.count == 5000
    assert look.exchanges.split() == list(seen)[:MOST_NAMED]
    assert look.routes == "icd"
