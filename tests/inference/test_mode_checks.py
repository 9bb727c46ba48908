"""Engines are asked for their logprobs mode by the clock: seldom, and not in vain."""

import logging
from datetime import timedelta

import pytest
from django.utils import timezone

from inference import mode_checks
from inference.models import Upstream
from tests.inference.double import free_port
from tests.inference.moded import Moded, engine

pytestmark = pytest.mark.django_db


def upstream(
    url: str, *, minutes: float | None = None, mode: str = "raw_logprobs", **fields: object
) -> Upstream:
    """Asked so many minutes ago; None: never."""
    at = None if minutes is None else timezone.now() - timedelta(minutes=minutes)
    return Upstream.objects.create(
        name="gpu-1", base_url=url, found_at=at, found_mode=mode if at else "", **fields
    )


def test_one_that_was_never_asked_is_asked_once() -> None:
    with engine(moded := Moded()) as url:
        one = upstream(url)
        mode_checks.check_due()
        asked = len(moded.asked)
        mode_checks.check_due()
    one.refresh_from_db()
    assert one.found_mode == "raw_logprobs"
    assert len(moded.asked) == asked > 0


@pytest.mark.parametrize(
    ("minutes", "mode", "asked"),
    [(59, "raw_logprobs", False), (61, "raw_logprobs", True), (4, "", False), (6, "", True)],
)
def test_what_was_found_is_believed_for_a_while(minutes: float, mode: str, asked: bool) -> None:
    with engine(moded := Moded()) as url:
        upstream(url, minutes=minutes, mode=mode)
        mode_checks.check_due()
    assert bool(moded.asked) == asked


def test_one_that_was_started_in_another_mode_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with engine(Moded("raw_logits")) as url, caplog.at_level(logging.WARNING):
        one = upstream(url, minutes=61)
        mode_checks.check_due()
    one.refresh_from_db()
    assert one.found_mode == "raw_logits"
    assert "gpu-1: It gives raw_logits; raw_logprobs is declared" in caplog.text


def test_one_that_is_not_in_use_is_left_alone() -> None:
    with engine(moded := Moded()) as url:
        upstream(url, enabled=False)
        mode_checks.check_due()
    assert not moded.asked


def test_one_that_is_away_costs_the_others_nothing() -> None:
    with engine(Moded()) as url:
        one = upstream(url)
        away = Upstream.objects.create(name="away", base_url=f"http://127.0.0.1:{free_port()}")
        mode_checks.check_due()
    one.refresh_from_db()
    away.refresh_from_db()
    assert (one.found_mode, away.found_mode) == ("raw_logprobs", "")
    assert away.found_at is not None
