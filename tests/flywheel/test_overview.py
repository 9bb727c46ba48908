"""The overview: where the wheel stands, the one next step for each role, and who must not see it."""

import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from annotations.models import Annotation, Item, Queue
from flywheel import datasets, rollout
from flywheel.models import Job
from inference import clickhouse as trace_store
from tests import people
from tests.flywheel import wheel_data
from tests.inference import answered

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_trace_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")


def seen(client: Client, address: str = "/") -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def the_button(page: str) -> tuple[str, str]:
    """(address, words) of the only filled button."""
    found = re.findall(r'<a id="next-step" class="button button-primary" href="([^"]*)">([^<]*)<', page)
    assert len(found) == 1
    return found[0]  # type: ignore[no-any-return]


def test_strangers_are_sent_to_sign_in_and_reviewers_to_their_queues() -> None:
    assert people.client(None).get("/").headers["Location"].startswith(reverse("sign-in"))
    assert people.client(people.reviewer()).get("/").headers["Location"] == reverse("review-home")


@pytest.mark.parametrize(
    ("upto", "words", "leads_to"),
    [
        ("judged", "Build a dataset", "/datasets/new/"),
        ("dataset", "Train", "/training/new/?version="),
        ("trained", "Evaluate", "/evaluations/new/?candidate="),
        ("evaluated", "Roll out", "/rollouts/new/?evaluation="),
        ("rolled_out", "Review", "/review/"),
    ],
)
def test_the_next_step_is_the_one_nearest_to_users(home: Path, upto: str, words: str, leads_to: str) -> None:
    wheel = wheel_data.turn(upto, home, items=128)
    address, button = the_button(seen(people.client(wheel.operator)))
    assert button == words
    assert address.startswith(leads_to)


def test_an_engineer_is_not_told_to_roll_out(home: Path) -> None:
    wheel = wheel_data.turn("evaluated", home, items=96)
    page = seen(people.client(wheel.engineer))
    assert the_button(page) == (wheel.evaluation.get_absolute_url(), "See the evaluation")
    assert "an operator can roll it out" in page


def test_with_nothing_at_all_it_says_what_each_stage_needs() -> None:
    page = seen(people.client(people.operator()))
    for need in (
        "Needs a queue",
        "Needs verdicts",
        "Needs a dataset version",
        "Needs an adapter",
        "No route yet",
    ):
        assert need in page


def test_a_queue_that_holds_nothing_is_the_next_step() -> None:
    queue = Queue.objects.create(slug="desk", name="Coding desk")
    page = seen(people.client(people.engineer()))
    assert the_button(page) == (queue.get_absolute_url(), "Open the queue")


def test_with_the_trace_store_down_the_rest_stands(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    page = seen(people.client(wheel.operator))
    assert "Can&#x27;t be read now; nothing is lost." in page
    assert "icd-chapters-3f2a91c0" in page
    assert "↩ Back" in page


def test_a_turn_that_was_taken_back_says_so(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    client = people.client(wheel.operator)
    assert "not live any more" not in client.get("/").text
    rollout.back(wheel.rollout.route, "back", wheel.operator)
    assert "not live any more" in client.get("/").text


def test_stored_exchanges_are_counted(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    trace_store.migrate()
    assert the_button(seen(people.client(people.operator())))[1] == "Send the first request"
    answered.store(answered.exchange(1), answered.exchange(2))
    page = seen(people.client(people.engineer()))
    assert "2 exchanges are stored, and nobody judges them yet." in page
    assert the_button(page) == (reverse("queue-new"), "Make a queue")


def test_the_last_turn_says_what_it_brought_and_who_judged(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    page = seen(people.client(wheel.engineer))
    assert "by the reference reviewer" in page
    assert "expert minutes" in page
    assert re.search(r"[+−]\d+\.\d points \(", page)


def test_back_is_shown_to_operators_only(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    assert "route" in seen(people.client(wheel.engineer))
    assert "↩ Back" not in seen(people.client(wheel.engineer))
    assert reverse("route-back", args=["icd"]) in seen(people.client(wheel.operator))


def test_work_under_way_is_told(home: Path) -> None:
    wheel = wheel_data.turn("dataset", home)
    now = wheel.version.created_at
    work = wheel_data.job(
        Job.Kind.TRAINING, wheel.engineer, now, state=Job.State.RUNNING, done=5, total=96, message="Step 5."
    )
    wheel_data.training_run(wheel, work, 5)
    assert "5 of 96. Step 5." in seen(people.client(wheel.engineer))


def test_hostile_names_stay_text(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    Item.objects.all().delete()
    Queue.objects.update(name="<script>alert(1)</script>")
    page = seen(people.client(wheel.engineer))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.slow
def test_queries_do_not_grow_with_the_data(
    home: Path, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    wheel = wheel_data.turn("rolled_out", home, items=160)
    client = people.client(wheel.operator)
    with django_assert_max_num_queries(45):
        client.get("/")


def test_while_work_is_under_way_the_page_follows_and_then_stops(home: Path) -> None:
    wheel = wheel_data.turn("dataset", home)
    work = wheel_data.job(
        Job.Kind.TRAINING, wheel.engineer, wheel.version.created_at, state=Job.State.RUNNING, total=96
    )
    wheel_data.training_run(wheel, work, 5)
    client, live = people.client(wheel.engineer), {"HX-Request": "true", "HX-Target": "live"}
    poll = re.search(r'id="live" hx-get="([^"]+)" hx-trigger="tick from:body"', seen(client))
    assert poll
    assert client.get(poll[1], headers=live).status_code == 204
    Job.objects.filter(pk=work.pk).update(state=Job.State.DONE)
    fragment = client.get(poll[1], headers=live).content.decode()
    assert "<html" not in fragment
    assert "tick from:body" not in fragment
    assert 'id="lead" hx-swap-oob="true"' in fragment


def test_judgements_of_the_reference_reviewer_are_named_where_they_are_counted(home: Path) -> None:
    wheel = wheel_data.turn("judged", home)
    count = Annotation.objects.filter(source=Annotation.Source.REFERENCE).count()
    assert count
    assert f"7 wait for experts. ▲ {count} by the reference reviewer." in seen(people.client(wheel.engineer))


def test_a_small_build_does_not_hide_the_verdicts_it_left_out(home: Path) -> None:
    wheel = wheel_data.turn("judged", home, items=96)
    client = people.client(wheel.engineer)
    recipe = datasets.Recipe(train_rows=20, exam_rows=10)
    version = datasets.start("icd-chapters", wheel.queue, recipe, "key", wheel.engineer)
    wheel_data.do(version.job)
    assert "icd-chapters v1 holds 30 of 88 verdicts." in seen(client)
    old = Item.objects.filter(state=Item.State.SETTLED).exclude(dataset_rows__version=version)
    Item.objects.filter(pk=old[0].pk).update(settled_at=timezone.now())
    assert "icd-chapters v1 holds 30 of 88 verdicts, 1 is newer." in seen(client)
    old.delete()
    assert "icd-chapters v1 holds all 30 verdicts." in seen(client)


def test_a_check_question_from_a_file_is_no_verdict_to_build_from(home: Path) -> None:
    wheel = wheel_data.turn("dataset", home, items=48)
    client = people.client(wheel.engineer)
    assert "icd-chapters v1 holds all 40 verdicts." in seen(client)
    Item.objects.filter(state=Item.State.WAITING).update(
        state=Item.State.SETTLED, verdict="approved", uploaded=True, settled_at=timezone.now()
    )
    assert "icd-chapters v1 holds all 40 verdicts." in seen(client)
