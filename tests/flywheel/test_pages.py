"""The frame and the small pages: who sees what, each page's policy, errors that can be quoted."""

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path, reverse
from django.utils import timezone

from annotations.models import Item, Queue
from flywheel import urls
from flywheel.models import Dataset
from inference import spools
from inference.models import Route
from inference.report import Report
from tests import people

pytestmark = pytest.mark.django_db
STRICT = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}


def policy(client: Client, address: str) -> set[str]:
    header = client.get(address).headers["Content-Security-Policy"]
    return {part.strip() for part in header.split(";")}


@pytest.mark.parametrize("address", ["/sign-in/", "/words/", "/settings/", "/search/?q=x", "/no-such-page/"])
def test_nothing_inline_and_nothing_from_elsewhere(address: str) -> None:
    client = people.client(people.engineer())
    assert policy(client, address) == STRICT
    page = client.get(address, follow=True).text
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|hx-on", page)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", page))


def test_the_admin_has_a_policy_of_its_own() -> None:
    found = policy(people.client(people.operator()), reverse("admin:index"))
    assert "script-src 'self' 'unsafe-eval' 'unsafe-inline'" in found
    assert "default-src 'none'" in found


def test_pages_are_not_kept_by_anything_between() -> None:
    answer = people.client(people.engineer()).get("/words/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "HX-Request" in answer.headers["Vary"]


def bar(user: User | None) -> list[str]:
    text = people.client(user).get("/words/").text
    found = re.search(r'<nav class="nav".*?</nav>', text, re.S)
    return re.findall(r'<a href="([^"]+)"', found.group()) if found else []


def test_the_bar_is_the_wheel_for_engineers_and_the_queue_for_reviewers() -> None:
    assert bar(people.engineer()) == [
        "/", "/exchanges/", "/review/", "/datasets/", "/training/", "/evaluations/", "/rollouts/", "/engine/",
    ]  # fmt: skip
    assert bar(people.reviewer()) == ["/review/"]
    assert bar(None) == []


def test_only_operators_are_shown_the_admin() -> None:
    assert reverse("admin:index") in people.client(people.operator()).get("/words/").text
    assert reverse("admin:index") not in people.client(people.engineer()).get("/words/").text


def add_item(queue: Queue) -> None:
    now = timezone.now()
    Item.objects.create(queue=queue, exchange_id=uuid4(), started_at=now, messages=[], answer="", position=1)


def _waiting(user: User) -> str:
    found = re.search(r'class="count"[^>]*>([\d,]+)<', people.client(user).get("/words/").text)
    return found.group(1) if found else ""


def test_what_waits_is_counted_for_whom_it_waits_and_never_as_zero() -> None:
    emil, rita = people.engineer(), people.reviewer()
    hers = Queue.objects.create(slug="hers", name="Hers")
    other = Queue.objects.create(slug="other", name="Other")
    assert (_waiting(emil), _waiting(rita)) == ("", "")
    hers.reviewers.add(rita)
    add_item(hers)
    add_item(other)
    assert (_waiting(emil), _waiting(rita)) == ("", "1"), "only whom they list can judge them"
    other.reviewers.add(emil)
    assert (_waiting(emil), _waiting(rita)) == ("1", "1")
    Queue.objects.update(state=Queue.State.PAUSED)
    assert (_waiting(emil), _waiting(rita)) == ("", "")


def test_reviewers_read_only_their_words() -> None:
    text = people.client(people.reviewer()).get("/words/").text
    assert "second opinion" in text
    assert "logprob" not in text
    assert "adapter" not in text


def test_theme_and_zone_are_kept_in_the_browser() -> None:
    client = people.client(people.reviewer())
    client.post("/settings/", {"theme": "dark", "zone": "Europe/Berlin"})
    text = client.get("/settings/").text
    assert 'data-theme="dark"' in text
    assert 'value="Europe/Berlin"' in text


def test_a_made_up_theme_or_zone_is_not_kept() -> None:
    client = people.client(people.reviewer())
    client.post("/settings/", {"theme": '"><script>', "zone": "../../etc/passwd"})
    assert not client.cookies["theme"].value
    client.cookies["theme"] = "evil"
    client.cookies["tz"] = "../../etc/passwd"
    assert "data-theme" not in client.get("/settings/").text


def test_strangers_sign_in_first_and_come_back() -> None:
    for address in ("/settings/", "/search/?q=x"):
        answer = people.client(None).get(address)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/sign-in/?next=" + address[:8].replace("?", "%3F"))


def test_reviewers_do_not_search() -> None:
    answer = people.client(people.reviewer()).get("/search/?q=x")
    assert answer.status_code == 403
    assert "not for your account" in answer.text


def test_one_meaning_is_gone_to_at_once() -> None:
    client = people.client(people.engineer())
    Route.objects.create(name="icd-chapter")
    assert client.get("/search/", {"q": "ICD-chapter"}).headers["Location"] == "/routes/icd-chapter/"
    assert client.get("/search/", {"q": "datasets"}).headers["Location"] == "/datasets/"


def test_several_meanings_are_listed_and_none_is_said() -> None:
    client = people.client(people.engineer())
    Route.objects.create(name="icd")
    queue = Queue.objects.create(slug="icd", name="Codes")
    Dataset.objects.create(name="icd", queue=queue)
    text = client.get("/search/", {"q": "icd"}).text
    assert "could be 3 things" in text
    assert "Nothing is called “<script>”" not in client.get("/search/", {"q": "<script>"}).text
    assert "Nothing is called “&lt;script&gt;”" in client.get("/search/", {"q": "<script>"}).text


def test_health_needs_no_one_and_says_nothing() -> None:
    answer = people.client(None).get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_a_missing_page_can_be_quoted() -> None:
    answer = people.client(None).get("/no-such-page/")
    assert answer.status_code == 404
    assert re.search(r"<code>[0-9a-f]{8}</code>", answer.text)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Report("here", stored_age=2.1), "stored 2 s ago"),
        (Report("here", unstored_age=190.0, stored_age=200.0), "oldest unstored 3 min"),
        (Report("here", worked_age=300.0), "drain silent for 5 min"),
    ],
)
def test_the_bar_says_whether_anything_waits_to_be_stored(report: Report, said: str) -> None:
    client = people.client(people.engineer())
    assert client.get("/capture/").status_code == 204
    spools.heard_from_drain(report)
    for address in ("/capture/", "/words/"):
        assert said in client.get(address).text.replace("\u00a0", " ")
    assert people.client(people.reviewer()).get("/capture/").status_code == 403


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the secret cause")


urlpatterns = [*urls.urlpatterns, path("broken/", broken)]
handler500 = urls.handler500


@override_settings(ROOT_URLCONF=__name__)
def test_a_fault_of_ours_is_logged_under_the_id_on_the_page(caplog: pytest.LogCaptureFixture) -> None:
    client = people.client(people.reviewer())
    client.raise_request_exception = False
    answer = client.get("/broken/")
    assert answer.status_code == 500
    assert "the secret cause" not in answer.text
    found = re.search(r"<code>([0-9a-f]{8})</code>", answer.text)
    assert found
    (record,) = [r for r in caplog.records if r.name == "flywheel.pages"]
    assert found.group(1) in record.getMessage()
    assert record.exc_info is not None
