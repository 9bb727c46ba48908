"""Pages about datasets: what a build gives is said before it; pressed twice builds once; all is linked."""

import re
from html import unescape
from pathlib import Path

import pytest
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from flywheel.models import DatasetVersion, Job
from flywheel.pages import keys
from inference import queries
from tests import people
from tests.flywheel import wheel_data

pytestmark = pytest.mark.django_db
RECIPE = {"queue": "coding-desk", "name": "icd", "train_rows": "", "exam_rows": "10", "seed": "1"}


def hidden(page: str) -> dict[str, str]:
    """What the form that builds would post."""
    form = page[page.index('class="card act') :]
    found = re.findall(r'<input type="hidden" name="(\w+)"(?: value="([^"]*)")?', form)
    return {name: value for name, value in found if name != "csrfmiddlewaretoken"}


@pytest.mark.parametrize(
    "address", ["/datasets/", "/datasets/new/", "/datasets/icd-chapters/", "/datasets/icd-chapters/1/"]
)
def test_only_engineers_get_in(home: Path, address: str) -> None:
    wheel = wheel_data.turn("dataset", home)
    assert people.client(None).get(address).headers["Location"].startswith(reverse("sign-in"))
    assert people.client(wheel.reviewer).get(address).status_code == 403
    assert people.client(wheel.engineer).get(address).status_code == 200


def test_a_reviewer_cannot_build(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    assert (
        people.client(wheel.reviewer).post("/datasets/new/", RECIPE | {"key": keys.fresh()}).status_code
        == 403
    )
    assert not DatasetVersion.objects.exists()


def test_before_the_button_stands_what_it_gives(home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    page = people.client(wheel.engineer).get("/datasets/new/", RECIPE).content.decode()
    assert "<b>78</b> rows to learn from and <b>10</b> for the exam would become version 1 of icd." in page
    assert "left out: not settled" in page
    assert "by the reference reviewer" in page
    assert not DatasetVersion.objects.exists()


def test_pressed_twice_builds_once(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    client = people.client(wheel.engineer)
    posted = hidden(client.get("/datasets/new/", RECIPE).content.decode())
    first, second = client.post("/datasets/new/", posted), client.post("/datasets/new/", posted)
    assert first.headers["Location"] == second.headers["Location"] == "/datasets/icd/1/"
    assert DatasetVersion.objects.count() == 1
    assert DatasetVersion.objects.get().recipe == {"exam_rows": 10, "train_rows": None, "seed": 1}


def test_the_same_key_for_another_recipe_is_refused_and_drawn_again(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    client = people.client(wheel.engineer)
    posted = hidden(client.get("/datasets/new/", RECIPE).content.decode())
    client.post("/datasets/new/", posted)
    response = client.post("/datasets/new/", posted | {"exam_rows": "11"})
    assert response.status_code == 409
    assert "Not built." in response.content.decode()
    assert hidden(response.content.decode())["key"] != posted["key"]


def test_without_a_key_nothing_is_built(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    assert people.client(wheel.engineer).post("/datasets/new/", RECIPE).status_code == 400
    assert not Job.objects.exists()


@pytest.mark.parametrize(("field", "value"), [("exam_rows", "0"), ("name", "no spaces"), ("queue", "nope")])
def test_what_makes_no_sense_is_said_by_the_field(home: Path, field: str, value: str) -> None:
    wheel = wheel_data.turn("judged", home)
    response = people.client(wheel.engineer).post(
        "/datasets/new/", RECIPE | {field: value, "key": keys.fresh()}
    )
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in response.content.decode()


def test_a_filter_not_understood_is_named_beside_the_field(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    client = people.client(wheel.engineer)
    asked = RECIPE | {"filter": 'colour:red "chest pain"'}
    shown = client.get("/datasets/new/", asked)
    posted = client.post("/datasets/new/", asked | {"key": keys.fresh()})
    assert (shown.status_code, posted.status_code) == (200, 422)
    for response in (shown, posted):
        page = response.content.decode()
        told = page[page.index('id="id_filter_error"') :]
        assert "“colour:red”: there is no colour: to filter by." in told[: told.index("</span>")]
        assert 'value="colour:red &quot;chest pain&quot;"' in page
    assert not Job.objects.exists()


def test_a_filter_while_the_trace_store_is_away_is_said_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/nobody")
    client = people.client(wheel_data.turn("judged", home).engineer)
    asked = RECIPE | {"filter": "least_p:<0.5"}
    assert "The trace store does not answer" in client.get("/datasets/new/", asked).content.decode()
    posted = client.post("/datasets/new/", asked | {"key": keys.fresh()})
    assert posted.status_code == 503
    assert 'value="least_p:&lt;0.5"' in posted.content.decode()
    assert not Job.objects.exists()


def test_a_version_shows_its_filter_and_is_built_from_it_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "matching", lambda wanted, named: {one[:2] for one in named[::2]})
    client = people.client(wheel_data.turn("judged", home).engineer)
    asked = RECIPE | {"exam_rows": "5", "filter": "least_p:<0.5 user:a,b"}
    form = client.get("/datasets/new/", asked).content.decode()
    assert "left out: outside the filter" in form
    client.post("/datasets/new/", hidden(form) | {"filter": asked["filter"]})
    version = DatasetVersion.objects.get()
    wheel_data.do(version.job)
    page = client.get(version.get_absolute_url()).content.decode()
    assert re.findall(r'<a class="chip" href="([^"]+)"[^>]*><code>([^<]+)', page) == [
        ("/exchanges/?q=least_p%3A%3C0.5", "least_p:&lt;0.5"),
        ("/exchanges/?q=user%3Aa%2Cb", "user:a,b"),
    ]
    link = re.search(r'href="(/datasets/new/[^"]+)">Build from it again', page)
    assert link
    again = hidden(client.get(unescape(link[1])).content.decode()) | {"filter": version.recipe["filter"]}
    client.post("/datasets/new/", again)
    second = DatasetVersion.objects.get(number=2)
    wheel_data.do(second.job)
    version.refresh_from_db()
    second.refresh_from_db()
    assert second.hash == version.hash


def test_with_nothing_judged_the_button_says_why_not(home: Path) -> None:
    wheel = wheel_data.turn("nothing", home)
    page = people.client(wheel.engineer).get("/datasets/new/").content.decode()
    assert 'id="why-not"' in page
    assert re.search(r"<button[^>]* disabled aria-describedby=\"why-not\"", page)


def test_empty_lists_lead_to_the_next_step() -> None:
    client = people.client(people.engineer())
    assert reverse("queue-new") in client.get("/datasets/").content.decode()
    assert reverse("queue-new") in client.get("/datasets/new/").content.decode()


def test_a_version_shows_rows_left_out_balance_and_who_used_it(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home, items=96)
    page = people.client(wheel.engineer).get(wheel.version.get_absolute_url()).content.decode()
    assert "<b>64</b> rows to learn from, <b>24</b> kept for the exam, from 88 judgements." in page
    for link in (wheel.queue, wheel.run, wheel.evaluation, wheel.rollout):
        assert f'href="{link.get_absolute_url()}"' in page
    assert page.count("/exchanges/018f") == 10
    assert "by the reference reviewer" in page


def test_only_judgements_behind_its_rows_are_counted(home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    client = people.client(wheel.engineer)
    asked = RECIPE | {"exam_rows": "5", "train_rows": "20"}
    client.post("/datasets/new/", hidden(client.get("/datasets/new/", asked).content.decode()))
    version = DatasetVersion.objects.get()
    wheel_data.do(version.job)
    # As it was kept by versions that were built before.
    DatasetVersion.objects.update(judgements=88)
    told = "<b>20</b> rows to learn from, <b>5</b> kept for the exam, from 25 judgements."
    assert told in client.get(version.get_absolute_url()).content.decode()
    assert 'data-label="Judgements"><span>25 ' in client.get("/datasets/icd/").content.decode()
    for address in (version.get_absolute_url(), "/datasets/icd/"):
        assert people.client(wheel.reviewer).get(address).status_code == 403


def test_ten_other_rows_are_other_rows(home: Path) -> None:
    wheel = wheel_data.turn("dataset", home)
    client = people.client(wheel.engineer)
    first = client.get(wheel.version.get_absolute_url()).content.decode()
    further = re.search(r'href="(\?from=\w+)#rows-title"', first)
    assert further
    second = client.get(wheel.version.get_absolute_url() + further[1]).content.decode()
    rows = [set(re.findall(r"/exchanges/([0-9a-f-]{36})/", page)) for page in (first, second)]
    assert not rows[0] & rows[1]


def test_what_changed_since_the_last_version(home: Path) -> None:
    wheel = wheel_data.turn("dataset", home, items=96)
    client = people.client(wheel.engineer)
    asked = RECIPE | {"name": "icd-chapters", "exam_rows": "5", "train_rows": "20"}
    client.post("/datasets/new/", hidden(client.get("/datasets/new/", asked).content.decode()))
    version = DatasetVersion.objects.get(number=2)
    wheel_data.do(version.job)
    page = client.get(version.get_absolute_url()).content.decode()
    assert re.search(r"0 rows came,\s+63 went,\s+25 stayed", page)


def test_while_it_is_built_the_page_follows(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    client = people.client(wheel.engineer)
    client.post("/datasets/new/", RECIPE | {"key": keys.fresh()})
    version = DatasetVersion.objects.get()
    page = client.get(version.get_absolute_url()).content.decode()
    poll = re.search(r'hx-get="([^"]+\?seen=\w+)" hx-trigger="tick from:body"', page)
    assert poll
    assert client.get(poll[1], headers={"HX-Request": "true", "HX-Target": "live"}).status_code == 204
    wheel_data.do(version.job)
    fragment = client.get(poll[1], headers={"HX-Request": "true", "HX-Target": "live"}).content.decode()
    assert "✓ Built." in fragment
    assert "hx-trigger" not in fragment
    assert 'id="lead" hx-swap-oob="true"' in fragment
    assert "<html" not in fragment


def test_with_the_broker_down_the_job_is_kept_and_said_so(home: Path, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    wheel = wheel_data.turn("judged", home)
    client = people.client(wheel.engineer)
    response = client.post("/datasets/new/", RECIPE | {"key": keys.fresh()}, follow=True)
    assert "starts this by itself when it is back" in response.content.decode()
    assert Job.objects.get().state == Job.State.PENDING


def test_a_failed_build_says_why_and_can_be_resumed(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    client = people.client(wheel.engineer)
    client.post("/datasets/new/", RECIPE | {"key": keys.fresh()})
    version = DatasetVersion.objects.get()
    Job.objects.update(state=Job.State.FAILED, error="The disk is full. Nothing was written.")
    page = client.get(version.get_absolute_url()).content.decode()
    assert "The disk is full." in page
    act = reverse("job-act", args=[version.job_id])
    assert people.client(wheel.reviewer).post(act, {"do": "resume"}).status_code == 403
    assert client.post(act, {"do": "resume"}).status_code == 302
    assert client.post(act, {"do": "resume"}).status_code == 409
    assert Job.objects.get().state == Job.State.PENDING


def test_hostile_content_stays_text(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    bad = "<img src=x onerror=alert(1)>"
    for item in wheel.items[:30]:
        item.messages, item.verdict_answer = [{"role": "user", "content": bad + str(item.pk)}], bad
        item.save()
    client = people.client(wheel.engineer)
    client.post("/datasets/new/", RECIPE | {"key": keys.fresh()})
    version = DatasetVersion.objects.get()
    wheel_data.do(version.job)
    for address in ("/datasets/new/", version.get_absolute_url()):
        page = client.get(address).content.decode()
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page


def test_queries_are_bounded(home: Path, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    wheel = wheel_data.turn("rolled_out", home, items=160)
    client = people.client(wheel.engineer)
    for address, most in (
        ("/datasets/", 12),
        ("/datasets/icd-chapters/", 14),
        (wheel.version.get_absolute_url(), 24),
    ):
        with django_assert_max_num_queries(most):
            client.get(address)
