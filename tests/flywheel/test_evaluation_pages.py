"""Pages about evaluations: the sentence, what it cost, each number's cases, and three different verdicts."""

import re
from pathlib import Path

import pytest
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from flywheel import statistics
from flywheel.models import Evaluation, EvaluationCase, Job
from flywheel.pages import keys
from tests import people
from tests.flywheel import wheel_data
from tests.flywheel.wheel_data import Wheel

pytestmark = pytest.mark.django_db


@pytest.fixture
def wheel(home: Path, settings: Settings) -> Wheel:
    settings.EVALUATION_KEY = "fw-test"
    return wheel_data.turn("evaluated", home, items=96)


def asked(wheel: Wheel, **changes: object) -> dict[str, str]:
    values = {
        "candidate": wheel.adapter.pk, "baseline": wheel.base.pk, "route": "icd", "version": wheel.version.pk,
        "key": keys.fresh(),
    }  # fmt: skip
    return {name: str(value) for name, value in (values | changes).items()}


def outcome(wheel: Wheel, *, gained: int, lost: int, n: int = 100) -> str:
    """The evaluation's page, had it ended so."""
    both = n - gained - lost
    before = [True] * (both + lost) + [False] * gained
    after = [True] * both + [False] * lost + [True] * gained
    found = statistics.compare(["Eye"] * n, "Ear", before, after).as_dict()
    Evaluation.objects.update(results=found | {"seconds_a_call": 0.1})
    return people.client(wheel.engineer).get(wheel.evaluation.get_absolute_url()).content.decode()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["/evaluations/", "/evaluations/new/", "{}", "{}cases/"])
def test_only_engineers_get_in(wheel: Wheel, address: str) -> None:
    address = address.format(wheel.evaluation.get_absolute_url())
    assert people.client(None).get(address).headers["Location"].startswith(reverse("sign-in"))
    assert people.client(wheel.reviewer).get(address).status_code == 403
    assert people.client(wheel.engineer).get(address).status_code == 200


def test_a_reviewer_cannot_evaluate(wheel: Wheel) -> None:
    assert people.client(wheel.reviewer).post("/evaluations/new/", asked(wheel)).status_code == 403
    assert Evaluation.objects.count() == 1


def test_before_the_button_stands_what_it_costs(wheel: Wheel) -> None:
    page = people.client(wheel.engineer).get("/evaluations/new/").content.decode()
    assert "<b>24</b> exam questions, 48 calls, about 10" in page
    assert "as measured here" in page


def test_pressed_twice_evaluates_once(wheel: Wheel) -> None:
    client, posted = people.client(wheel.engineer), asked(wheel)
    first, second = client.post("/evaluations/new/", posted), client.post("/evaluations/new/", posted)
    made = Evaluation.objects.exclude(pk=wheel.evaluation.pk).get()
    assert first.headers["Location"] == second.headers["Location"] == made.get_absolute_url()
    assert client.post("/evaluations/new/", posted | {"candidate": str(wheel.base.pk)}).status_code == 409


def test_when_it_cannot_be_pressed_it_says_why(wheel: Wheel) -> None:
    client = people.client(wheel.engineer)
    page = client.get("/evaluations/new/", asked(wheel, candidate=wheel.base.pk)).content.decode()
    assert "The candidate is what answers now" in page
    assert re.search(r"<button[^>]* disabled aria-describedby=\"why-not\"", page)
    assert client.post("/evaluations/new/", asked(wheel, candidate=wheel.base.pk)).status_code == 422


def test_what_answers_now_is_not_offered_against_itself(wheel: Wheel) -> None:
    wheel.route.targets.update(model_version=wheel.adapter)
    page = people.client(wheel.engineer).get("/evaluations/new/").content.decode()
    chosen = re.findall(r'<option value="(\d+)" selected', page)
    assert str(wheel.adapter.pk) in chosen
    assert str(wheel.base.pk) in chosen
    assert "The candidate is what answers now" not in page


def test_better_reads_as_a_sentence_and_leads_to_the_rollout(wheel: Wheel) -> None:
    page = outcome(wheel, gained=40, lost=2)
    assert re.search(r"Better: <b>\+38\.0 points \(\d+\.\d–\d+\.\d\)</b>, 100 cases, p &lt; 0\.001\.", page)
    assert "✓ ship" in page
    assert f'class="button button-primary" href="/rollouts/new/?evaluation={wheel.evaluation.pk}"' in page


def test_worse_blocks_and_offers_no_rollout(wheel: Wheel) -> None:
    page = outcome(wheel, gained=2, lost=40)
    assert "Worse: <b>−38.0 points" in page
    assert "✕ block" in page
    assert "/rollouts/new/" not in page


def test_not_enough_data_says_how_much_more_and_where_to_get_it(wheel: Wheel) -> None:
    page = outcome(wheel, gained=8, lost=4)
    assert "No clear difference: <b>+4.0 points" in page
    assert re.search(r"About \d+ more would probably decide", page)
    rows = re.search(r"/datasets/new/\?queue=coding-desk&amp;name=icd-chapters&amp;exam_rows=(\d+)", page)
    assert rows
    assert int(rows[1]) > wheel.version.exam_rows


def test_all_three_are_drawn_on_one_axis_and_stand_in_a_table(wheel: Wheel) -> None:
    page = outcome(wheel, gained=40, lost=2)
    for name in ("always “Ear”", "what answers now", "candidate"):
        assert 'class="chart-name" x="0"' in page
        assert page.count(name) >= 2
    assert "must beat 0" in page


def test_each_number_is_a_list_and_each_case_leads_to_its_two_exchanges(wheel: Wheel) -> None:
    client = people.client(wheel.engineer)
    page = client.get(wheel.evaluation.get_absolute_url()).content.decode()
    for show in ("lost", "gained", "both-right", "both-wrong"):
        link = f"{wheel.evaluation.get_absolute_url()}cases/?show={show}"
        number = re.search(rf'href="{re.escape(link)}">.*?</span> (\d+)</span>', page)
        assert number
        listed = client.get(link).content.decode()
        assert f"<b>{number[1]}</b> case" in listed
    case = EvaluationCase.objects.filter(baseline_right=False, candidate_right=True).first()
    assert case
    gained = client.get(f"{wheel.evaluation.get_absolute_url()}cases/?show=gained").content.decode()
    assert f"/exchanges/{case.baseline_exchange}/" in gained
    assert f"/exchanges/{case.candidate_exchange}/" in gained


def test_cases_can_be_narrowed_and_turned_page_by_page(wheel: Wheel) -> None:
    case = wheel.evaluation.cases.first()
    assert case
    for index in range(60):
        EvaluationCase.objects.create(
            evaluation=wheel.evaluation, row=wheel.version.rows.filter(split="train")[index],
            question=f"further {index}", expected="A & B", baseline_right=True, candidate_right=False,
        )  # fmt: skip
    client = people.client(wheel.engineer)
    address = f"{wheel.evaluation.get_absolute_url()}cases/?show=lost&expected=A%20%26%20B"
    page = client.get(address).content.decode()
    assert "<b>60</b> cases lost: right before, wrong now, right answer <bdi>A &amp; B</bdi>." in page
    further = re.search(r'class="button" href="(\?[^"]+)"', page)
    assert further
    rest = client.get(f"{wheel.evaluation.get_absolute_url()}cases/{further[1].replace('&amp;', '&')}")
    assert "further 59" in rest.content.decode()
    assert "further 0<" not in rest.content.decode()
    assert "Further cases" not in rest.content.decode()


def test_right_answers_of_the_reference_reviewer_are_named_as_such(wheel: Wheel) -> None:
    page = people.client(wheel.engineer).get(wheel.evaluation.get_absolute_url()).content.decode()
    assert re.search(r"▲ \d+ by the reference reviewer", page)


def test_while_it_runs_the_answers_are_counted(wheel: Wheel) -> None:
    Evaluation.objects.update(results={})
    Job.objects.filter(pk=wheel.evaluation.job_id).update(state=Job.State.RUNNING, done=31, total=48)
    page = people.client(wheel.engineer).get(wheel.evaluation.get_absolute_url()).content.decode()
    assert "<b>31</b> of 48 answers are in." in page
    assert 'hx-trigger="tick from:body"' in page
    assert 'value="cancel"' in page


def test_empty_pages_lead_to_the_next_step(home: Path) -> None:
    client = people.client(people.engineer())
    assert reverse("training-new") in client.get("/evaluations/").content.decode()
    assert reverse("dataset-new") in client.get("/evaluations/new/").content.decode()


def test_hostile_answers_stay_text(wheel: Wheel) -> None:
    EvaluationCase.objects.update(
        candidate_answer="<script>alert(1)</script>", expected="<b>x</b>", question="<i>"
    )
    client = people.client(wheel.engineer)
    for address in ("", "cases/"):
        page = client.get(wheel.evaluation.get_absolute_url() + address).content.decode()
        assert "<script>alert" not in page
        assert "<b>x</b>" not in page


def test_queries_are_bounded(wheel: Wheel, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    client = people.client(wheel.engineer)
    page = wheel.evaluation.get_absolute_url()
    for address, most in (
        ("/evaluations/", 11),
        (page, 18),
        (f"{page}cases/", 13),
        ("/evaluations/new/", 30),
    ):
        with django_assert_max_num_queries(most):
            client.get(address)
