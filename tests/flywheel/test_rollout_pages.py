"""Pages about rollouts: what decides stands before the button, one press is one change, Back asks nothing."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from flywheel import rollout
from flywheel.models import Evaluation, Job, Rollout
from flywheel.pages import keys
from inference.models import Proxy, Route, RoutingVersion, Upstream
from tests import people
from tests.flywheel import wheel_data
from tests.flywheel.tiny_engine import TinyEngine, serve
from tests.flywheel.wheel_data import Wheel
from tests.inference import answered

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_trace_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")


@pytest.fixture
def ready(home: Path) -> Iterator[Wheel]:
    """A candidate that the gate would ship, and an engine to make it ready on."""
    wheel = wheel_data.turn("evaluated", home, items=96)
    with serve(TinyEngine()) as engine:
        Upstream.objects.update(base_url=engine.url)
        yield wheel


def drawn(client: Client, **asked: str | int) -> dict[str, str]:
    """What the form on the page would post."""
    page = client.get("/rollouts/new/", asked).content.decode()
    form = page[page.index('class="card act') :]
    found = re.findall(r'<input type="hidden" name="(\w+)"(?: value="([^"]*)")?', form)
    return {name: value for name, value in found if name != "csrfmiddlewaretoken"}


def live() -> str:
    return rollout.targets(Route.objects.get())[0].name


@pytest.mark.parametrize("address", ["/rollouts/", "/rollouts/new/", "/rollouts/{}/", "/routes/icd/"])
def test_reviewers_do_not_get_in_and_engineers_look_on(home: Path, address: str) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    address = address.format(wheel.rollout.pk)
    assert people.client(None).get(address).headers["Location"].startswith(reverse("sign-in"))
    assert people.client(wheel.reviewer).get(address).status_code == 403
    page = people.client(wheel.engineer).get(address)
    assert page.status_code == 200
    assert "↩ Back<" not in page.content.decode()


def test_only_operators_roll_out(ready: Wheel) -> None:
    posted = drawn(people.client(ready.operator))
    for user in (ready.reviewer, ready.engineer):
        assert people.client(user).post("/rollouts/new/", posted).status_code == 403
    page = people.client(ready.engineer).get("/rollouts/new/").content.decode()
    assert "Only an operator can roll out." in page
    assert re.search(r"<button[^>]* disabled aria-describedby=\"why-not\"", page)
    assert not Rollout.objects.exists()


def test_only_operators_go_back(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    for user in (wheel.reviewer, wheel.engineer):
        assert people.client(user).post("/routes/icd/back/", {"key": keys.fresh()}).status_code == 403
    assert people.client(wheel.operator).get("/routes/icd/back/").status_code == 405
    assert live() == wheel.adapter.name


def test_before_the_button_stands_what_changes_and_what_decides(ready: Wheel) -> None:
    page = (
        people.client(ready.operator)
        .get(f"/rollouts/new/?evaluation={ready.evaluation.pk}&share=25")
        .content.decode()
    )
    for words in (
        "<b>icd</b>: 0 % → 25 %",
        "on 1 of 1 replica",
        "<b>Back</b> takes under a second",
        "100 % smollm2-135m",
        "25 % icd-chapters-3f2a91c0",
        "75 % smollm2-135m",
        "better than what answers now",
        "0.0 points",
        "✓ ship",
        "requests an hour can't be counted right now",
        "by the reference reviewer",
    ):
        assert words in page
    assert 'id="reason"' not in page


def test_requests_an_hour_come_from_the_trace_store(
    ready: Wheel, clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    answered.store(answered.exchange(1))
    page = people.client(ready.operator).get("/rollouts/new/").content.decode()
    assert re.search(r"about 0 requests an hour", page)
    assert "can't be counted" not in people.client(ready.operator).get("/routes/icd/").content.decode()


def test_pressed_twice_is_one_rollout_that_takes_effect(ready: Wheel) -> None:
    client = people.client(ready.operator)
    posted = drawn(client)
    first, second = client.post("/rollouts/new/", posted), client.post("/rollouts/new/", posted)
    made = Rollout.objects.get()
    assert first.headers["Location"] == second.headers["Location"] == made.get_absolute_url()
    page = client.get(made.get_absolute_url()).content.decode()
    assert "is made ready on every engine; icd is answered as before." in page
    wheel_data.do(made.job)
    assert live() == ready.adapter.name
    number = RoutingVersion.objects.get().number
    at = Rollout.objects.get().in_force_at
    assert at
    Proxy.objects.filter(name="proxy-1").update(version=number, applied_at=at + timedelta(seconds=0.4))
    assert "in force on 1 of 3 proxies." in client.get(made.get_absolute_url()).content.decode()
    Proxy.objects.update(version=number, applied_at=at + timedelta(seconds=0.4))
    assert "in force on 3 of 3 proxies after 0.4" in client.get(made.get_absolute_url()).content.decode()


def test_a_route_that_changed_meanwhile_is_refused_and_drawn_again(ready: Wheel) -> None:
    client = people.client(ready.operator)
    posted = drawn(client)
    Route.objects.update(revision=7)
    response = client.post("/rollouts/new/", posted)
    page = response.content.decode()
    assert response.status_code == 409
    assert "Nothing was changed." in page
    assert 'name="revision" value="7"' in page
    assert not Rollout.objects.exists()


def test_the_same_key_for_something_else_is_refused(ready: Wheel) -> None:
    client = people.client(ready.operator)
    posted = drawn(client)
    client.post("/rollouts/new/", posted)
    assert client.post("/rollouts/new/", posted | {"share": "5"}).status_code == 409
    assert Rollout.objects.count() == 1


def test_against_the_gate_only_with_a_reason_which_is_kept(ready: Wheel) -> None:
    Evaluation.objects.all().delete()
    client = people.client(ready.operator)
    asked: dict[str, str | int] = {"candidate": ready.adapter.pk, "route": "icd", "share": 5}
    assert "the gate can't say" in client.get("/rollouts/new/", asked).content.decode()
    posted = drawn(client, **asked)
    assert client.post("/rollouts/new/", posted).status_code == 422
    assert not Rollout.objects.exists()
    posted = drawn(client, **asked)
    assert client.post("/rollouts/new/", posted | {"reason": "<b>To compare</b> them."}).status_code == 302
    page = client.get(Rollout.objects.get().get_absolute_url()).content.decode()
    assert "&lt;b&gt;To compare&lt;/b&gt; them." in page


def test_when_it_cannot_be_pressed_it_says_why(home: Path) -> None:
    wheel = wheel_data.turn("evaluated", home)
    client = people.client(wheel.operator)
    page = client.get("/rollouts/new/").content.decode()
    assert "cpu-1 can&#x27;t be reached" in page
    assert re.search(r"<button[^>]* disabled aria-describedby=\"why-not\"", page)
    assert client.post("/rollouts/new/", drawn(client)).status_code == 422


@pytest.mark.parametrize("address", ["/", "/rollouts/", "/routes/icd/", "/rollouts/{}/"])
def test_every_page_that_shows_what_is_live_has_back(home: Path, address: str) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    page = people.client(wheel.operator).get(address.format(wheel.rollout.pk)).content.decode()
    assert 'action="/routes/icd/back/"' in page


def test_a_rollout_says_what_decided_and_how_to_go_back(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    page = people.client(wheel.operator).get(wheel.rollout.get_absolute_url()).content.decode()
    for words in ("better than what answers now", "Must lie above", "✓ ship", "smollm2-135m answer again"):
        assert words in page


def test_back_needs_one_press_and_asks_why_afterwards(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    client = people.client(wheel.operator)
    page = client.get("/").content.decode()
    key = re.search(r'action="/routes/icd/back/".*?name="key" value="([^"]+)"', page, re.DOTALL)
    assert key
    first = client.post("/routes/icd/back/", {"key": key[1]})
    second = client.post("/routes/icd/back/", {"key": key[1]})
    assert live() == wheel.base.name
    back = Rollout.objects.get(action=Rollout.Action.BACK)
    assert back.in_force_at
    assert first.headers["Location"] == second.headers["Location"] == back.get_absolute_url()
    Proxy.objects.update(
        version=back.routing_version,
        applied_at=back.in_force_at + timedelta(seconds=0.4),
        seen_at=timezone.now(),
    )
    page = client.get(back.get_absolute_url()).content.decode()
    assert "icd went back to <b>smollm2-135m</b>, in force on 3 of 3 proxies after 0.4" in page.replace(
        "  ", " "
    )
    assert "Why did you go back?" in page
    assert people.client(wheel.engineer).post(back.get_absolute_url(), {"reason": "no"}).status_code == 403
    client.post(back.get_absolute_url(), {"reason": "It mixed up ears."})
    page = client.get(back.get_absolute_url()).content.decode()
    assert "It mixed up ears." in page
    assert "Why did you go back?" not in page


def test_with_nothing_to_go_back_to_there_is_no_button_and_a_sentence(home: Path) -> None:
    wheel = wheel_data.turn("nothing", home)
    client = people.client(wheel.operator)
    assert "↩ Back" not in client.get("/routes/icd/").content.decode()
    page = client.post("/routes/icd/back/", {"key": keys.fresh()}, follow=True).content.decode()
    assert "has no rollout to go back from" in page
    assert not Job.objects.exists()


def test_a_rollout_that_failed_is_resumed_by_operators_only(ready: Wheel) -> None:
    client = people.client(ready.operator)
    client.post("/rollouts/new/", drawn(client))
    made = Rollout.objects.get()
    Job.objects.filter(pk=made.job_id).update(state=Job.State.FAILED, error="cpu-1 could not make it ready.")
    page = client.get(made.get_absolute_url()).content.decode()
    assert "Not rolled out; icd is answered as before." in page
    assert "cpu-1 could not make it ready." in page
    act = reverse("job-act", args=[made.job_id])
    assert people.client(ready.engineer).post(act, {"do": "resume"}).status_code == 403
    assert client.post(act, {"do": "resume"}).status_code == 302


def test_a_route_says_its_shares_and_its_history(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    page = people.client(wheel.operator).get("/routes/icd/").content.decode()
    assert "<b>icd-chapters-3f2a91c0</b> answers 100 %" in page
    assert "Back gives it to smollm2-135m" in page
    assert "Exchanges can't be counted right now" in page
    assert people.client(wheel.operator).get("/routes/nope/").status_code == 404


def test_a_route_that_nothing_answers_says_so() -> None:
    Route.objects.create(name="empty")
    client = people.client(people.operator())
    assert "calls to it are refused" in client.get("/routes/empty/").content.decode()
    assert "nothing answers" in client.get("/").content.decode()


def test_without_a_route_the_pages_say_who_makes_one() -> None:
    client = people.client(people.engineer())
    for address in ("/rollouts/", "/rollouts/new/"):
        assert "an operator makes one" in client.get(address).content.decode().lower()


def test_queries_are_bounded(home: Path, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    client = people.client(wheel.operator)
    pages = (
        ("/rollouts/", 14),
        ("/rollouts/new/", 32),
        (wheel.rollout.get_absolute_url(), 24),
        ("/routes/icd/", 16),
    )
    for address, most in pages:
        with django_assert_max_num_queries(most):
            client.get(address)
