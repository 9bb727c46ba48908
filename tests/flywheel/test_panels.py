"""The wheel's cards on an exchange's page: what made the version that answered, what became of the answer."""

from pathlib import Path
from uuid import uuid4

import pytest
from django.template.loader import render_to_string

from inference.panels import Panel, Subject, panels
from tests.flywheel import wheel_data

pytestmark = pytest.mark.django_db


def cards(subject: Subject) -> dict[str, str]:
    """Title to HTML of the wheel's own cards."""
    shown: list[Panel] = [p for p in panels(subject) if p.template.startswith("flywheel/")]
    return {p.title: render_to_string(p.template, {"panel": p.context}) for p in shown}


def test_an_exchange_leads_to_all_that_was_made_of_it(home: Path) -> None:
    wheel = wheel_data.turn("evaluated", home)
    row = wheel.version.rows.filter(split="train").select_related("item").first()
    assert row
    found = cards(Subject(row.item.exchange_id, 0, wheel.base.weights, "icd"))
    assert list(found) == ["What became of it"]
    assert wheel.version.get_absolute_url() in found["What became of it"]
    assert wheel.run.get_absolute_url() in found["What became of it"]


def test_an_answer_of_an_adapter_leads_to_the_run_that_made_it(home: Path) -> None:
    wheel = wheel_data.turn("trained", home)
    found = cards(Subject(uuid4(), 0, wheel.adapter.weights, "icd"))
    assert list(found) == ["What made this version"]
    assert wheel.run.get_absolute_url() in found["What made this version"]
    assert wheel.version.get_absolute_url() in found["What made this version"]


def test_an_exam_answer_leads_to_its_case(home: Path) -> None:
    wheel = wheel_data.turn("evaluated", home)
    case = wheel.evaluation.cases.first()
    assert case
    assert case.baseline_exchange
    found = cards(Subject(case.baseline_exchange, 0, wheel.base.weights, "icd"))
    assert f"/evaluations/{wheel.evaluation.pk}/cases/" in found["What became of it"]


def test_an_exchange_that_nothing_was_made_of_has_no_card(home: Path) -> None:
    wheel_data.turn("nothing", home)
    assert cards(Subject(uuid4(), 0, "", "icd")) == {}
