"""The engine room: each process in a sentence, also and above all when it does not answer."""

import time
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from flywheel import health
from flywheel.models import Job
from inference import clickhouse as trace_store
from inference.models import Proxy, RoutingVersion, Upstream
from tests import people
from tests.flywheel import wheel_data
from tests.flywheel.tiny_engine import TinyEngine, serve

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def alone(home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers, whatever runs on this machine."""
    settings.SPOOL = home / "spool"
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")
    settings.SPOOL.mkdir()


def as_(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def check(name: str) -> health.Check:
    return next(each for each in health.checks() if each.name == name)


def says(settings: Settings, **status: object) -> None:
    """What the drain last wrote."""
    (settings.SPOOL / "status.json").write_bytes(orjson.dumps({"updated_at": time.time()} | status))


def test_only_engineers_get_in() -> None:
    assert as_(None).get("/engine/").headers["Location"].startswith(reverse("sign-in"))
    assert as_(people.reviewer()).get("/engine/").status_code == 403


def test_the_first_line_counts_what_needs_a_look() -> None:
    page = as_(people.engineer()).get("/engine/").content.decode()
    assert "<b>4 of 6</b> need a look: proxy, Drain, ClickHouse, Redis." in page
    assert "nothing listens there" in page
    assert "No job has been started yet." in page


def test_an_engine_is_healthy_or_says_why_not() -> None:
    with serve(TinyEngine()) as engine:
        Upstream.objects.create(name="gpu-1", base_url=engine.url)
        assert check("gpu-1").tone == "good"
    assert check("gpu-1").words == "Does not answer (nothing listens there)."
    Upstream.objects.update(enabled=False)
    assert "gpu-1" not in [each.name for each in health.checks()]


def test_proxies_follow_lag_or_are_silent() -> None:
    RoutingVersion.objects.update_or_create(pk=1, defaults={"number": 9})
    now = timezone.now()
    Proxy.objects.create(name="a", version=9, seen_at=now)
    Proxy.objects.create(name="b", version=7, seen_at=now)
    Proxy.objects.create(name="c", version=9, seen_at=now - timedelta(minutes=5))
    found = {each.name: each for each in health.proxies()}
    assert [found[name].tone for name in "abc"] == ["good", "warn", "bad"]
    assert found["b"].words == "2 behind the newest routing, 9."
    assert "5\xa0min\xa0ago" in found["c"].words


def test_the_drain_by_what_it_wrote(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Has not run" in check("Drain").words
    now = timezone.now()
    monkeypatch.setattr("flywheel.health.timezone.now", lambda: now)
    says(settings, stored=1240, last_stored_at=now.timestamp() - 2)
    assert check("Drain") == health.Check(
        "Drain", check("Drain").what, "good", "Everything is stored, last 2.0\xa0s ago; 1,240 stored."
    )
    says(settings, stored=1240, oldest_unstored_at=time.time() - 185, problem="ClickHouse does not answer")
    behind = check("Drain")
    assert (behind.tone, behind.words) == ("warn", "Oldest unstored: 3\xa0min. ClickHouse does not answer")
    assert "nothing is lost" in behind.advice
    says(settings, stored=5, quarantined=2, damaged=1)
    assert "2 set aside" in check("Drain").words
    says(settings, updated_at=time.time() - 600)
    assert check("Drain").tone == "bad"


def test_a_torn_status_file_is_no_error(settings: Settings) -> None:
    (settings.SPOOL / "status.json").write_text('{"upda')
    assert "Has not run" in check("Drain").words


def test_the_trace_store_answers(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    trace_store.migrate()
    assert check("ClickHouse").tone == "good"
    assert check("ClickHouse").words.startswith("Answers; version 2")


def test_a_job_that_nobody_takes_is_told() -> None:
    assert check("Worker").tone == "good"
    wheel_data.job(Job.Kind.TRAINING, people.engineer(), timezone.now(), state=Job.State.PENDING, pk=1)
    assert check("Worker").words == "Job 1 (train an adapter), asked for 10\xa0min\xa0ago, still waits."


def test_jobs_lead_to_what_they_make(home: Path) -> None:
    wheel = wheel_data.turn("rolled_out", home)
    page = as_(wheel.engineer).get("/engine/").content.decode()
    for made in (wheel.version, wheel.run, wheel.evaluation, wheel.rollout):
        assert f'href="{made.get_absolute_url()}"' in page
    assert "rollout 1 of icd" in page or f"rollout {wheel.rollout.pk} of icd" in page


def test_the_page_keeps_itself_fresh_with_fragments() -> None:
    client = as_(people.engineer())
    live = {"HX-Request": "true", "HX-Target": "live"}
    page = client.get("/engine/").content.decode()
    assert 'hx-trigger="tick from:body"' in page
    fragment = client.get("/engine/", headers=live).content.decode()
    assert "<html" not in fragment
    assert 'id="lead" hx-swap-oob="true"' in fragment
