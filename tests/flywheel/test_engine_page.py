"""The engine room: each process in a sentence, also and above all when it does not answer."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from flywheel import health
from flywheel.models import Job
from inference import clickhouse as trace_store
from inference import spools
from inference.models import Proxy, RoutingVersion, Upstream
from inference.report import Report
from tests import people
from tests.flywheel import wheel_data
from tests.flywheel.tiny_engine import TinyEngine, serve

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def alone(home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers, whatever runs on this machine."""
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")


def check(name: str) -> health.Check:
    return next(each for each in health.checks() if each.name == name)


def test_only_engineers_get_in() -> None:
    assert people.client(None).get("/engine/").headers["Location"].startswith(reverse("sign-in"))
    assert people.client(people.reviewer()).get("/engine/").status_code == 403


def test_the_first_line_counts_what_needs_a_look() -> None:
    page = people.client(people.engineer()).get("/engine/").content.decode()
    assert "<b>5 of 7</b> need a look: proxy, Drain, ClickHouse, Redis, Watch." in page
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


def test_the_drain_by_what_it_reports() -> None:
    assert check("Drain").words == "None has been heard from yet."
    spools.heard_from_drain(Report("gpu-1:/spool", stored_age=2.0, stored=1240))
    assert (check("gpu-1:/spool").tone, check("gpu-1:/spool").words) == ("good", "Everything is stored.")
    spools.heard_from_drain(
        Report("gpu-1:/spool", unstored_age=185.0, stored=1240, problem="ClickHouse does not answer")
    )
    behind = check("gpu-1:/spool")
    assert (behind.tone, behind.words) == ("warn", "Oldest unstored 3\xa0min.")
    assert behind.advice == "ClickHouse does not answer; nothing is lost."
    spools.heard_from_drain(Report("gpu-1:/spool", kept_aside=2, damaged=1))
    assert check("gpu-1:/spool").words == "Stores; something was kept aside."
    spools.heard_from_drain(Report("gpu-1:/spool", worked_age=600.0))
    assert check("gpu-1:/spool").words == "Drain silent for 10\xa0min."


def test_each_spool_has_its_row_and_its_newest_exchange_is_a_link() -> None:
    newest = uuid4()
    spools.heard_from_drain(
        Report(
            "gpu-1:/spool", stored_age=4.0, newest=str(newest), stored=41_200, rate=12.5, disk_bytes=3 << 20
        )
    )
    spools.heard_from_drain(Report("<script>:/x", unstored_age=70.0, kept_aside=3))
    page = people.client(people.engineer()).get("/engine/").content.decode().replace("\xa0", " ")
    assert f'href="/exchanges/{newest}/"' in page
    for said in ("4 s ago", "41,200 ever", "12.5 a second", "3.0 MB", "70 s", "&lt;script&gt;:/x"):
        assert said in page
    assert "<script>:/x" not in page


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
    page = people.client(wheel.engineer).get("/engine/").content.decode()
    for made in (wheel.version, wheel.run, wheel.evaluation, wheel.rollout):
        assert f'href="{made.get_absolute_url()}"' in page
    assert "rollout 1 of icd" in page or f"rollout {wheel.rollout.pk} of icd" in page


def test_the_page_keeps_itself_fresh_with_fragments() -> None:
    client = people.client(people.engineer())
    live = {"HX-Request": "true", "HX-Target": "live"}
    page = client.get("/engine/").content.decode()
    assert 'hx-trigger="tick from:body"' in page
    fragment = client.get("/engine/", headers=live).content.decode()
    assert "<html" not in fragment
    assert 'id="lead" hx-swap-oob="true"' in fragment
