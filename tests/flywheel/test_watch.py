"""The watch: a sweep over engines, GPUs and spools, also those that die, hang or talk nonsense."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import DatabaseError
from django.utils import timezone
from pytest_django import Settings

from flywheel import health, watch
from flywheel.models import Sweep
from flywheel.watch import Watch
from inference import clickhouse as trace_store
from inference import spools, vitals
from inference.exposition import Page, parse
from inference.models import Upstream
from inference.report import Report
from tests.inference import pages
from tests.inference.pages import BUSY, dcgm

pytestmark = pytest.mark.django_db


class Feed:
    """Answers by address, and what was asked; a list is answered one a sweep, its last one for ever."""

    def __init__(self, **answers: Page | list[Page]) -> None:
        self.answers, self.asked = answers, 0

    def __call__(self, urls: list[str]) -> list[Page]:
        self.asked += 1
        return [self._one(url) for url in urls]

    def _one(self, url: str) -> Page:
        found = self.answers[urlsplit(url).hostname.replace("-", "_")]  # type: ignore[union-attr]
        if isinstance(found, Page):
            return found
        return found.pop(0) if len(found) > 1 else found[0]


def clock() -> Any:
    moments: Iterator[float] = iter(pages.SECONDS[n] for n in (1, 2, 3))
    return lambda: next(moments)


def upstream(name: str, **fields: Any) -> Upstream:
    return Upstream.objects.create(name=name, base_url=f"http://{name}:8000", **fields)


def values(seen: watch.Seen) -> dict[tuple[str, str, str], float]:
    return {(one.source, one.metric, one.part): one.value for one in seen.samples}


def test_a_sweep_sees_engines_gpus_and_spools() -> None:
    upstream("gpu-1", gpu_metrics_url="http://dcgm:9400/metrics", gpus="1")
    upstream("off", enabled=False)
    spools.heard_from_drain(Report("host:/spool", unstored_age=30.0, kept_aside=1, damaged=1))
    feed = Feed(gpu_1=[parse(pages.vllm(n)) for n in (1, 2, 3)], dcgm=parse(dcgm(BUSY, BUSY)))
    one = Watch(feed, clock())
    first, second, third = (values(one.look()) for _ in range(3))
    assert ("gpu-1", "tokens_per_s", "") not in first
    assert second["gpu-1", "requests_running", ""] == 1.0
    assert third["gpu-1", "tokens_per_s", ""] == pytest.approx(575 / 10.7, rel=1e-3)
    assert {part for source, metric, part in third if metric == "gpu_power"} == {"1"}
    assert 29.0 <= third["host:/spool", "unstored_seconds", ""] < 60
    assert third["host:/spool", "kept_aside", ""] == 2.0
    assert not [key for key in third if key[0] == "off"]


def test_an_engine_that_dies_is_down_and_begins_anew_when_it_is_back() -> None:
    upstream("gpu-1")
    feed = Feed(gpu_1=[parse(pages.vllm(1)), Page(why="does not answer (gone)"), parse(pages.vllm(3))])
    one = Watch(feed, clock())
    one.look()
    gone = one.look()
    assert values(gone) == {("gpu-1", "up", ""): 0.0}
    assert gone.silent == {"gpu-1": "does not answer (gone)"}
    back = values(one.look())
    assert back["gpu-1", "up", ""] == 1.0
    assert ("gpu-1", "tokens_per_s", "") not in back


def test_one_engines_nonsense_is_not_anothers() -> None:
    upstream("a")
    upstream("b")
    found = Watch(Feed(a=parse("<html>"), b=parse(pages.vllm(2))), lambda: 0.0).look()
    assert values(found)["a", "up", ""] == 0.0
    assert values(found)["b", "requests_running", ""] == 1.0
    assert "no Prometheus text" in found.silent["a"]


@pytest.mark.parametrize("page", [Page(why="no word within 5 s"), parse("up 1\n"), parse(dcgm())])
def test_gpus_that_are_not_shown_are_told(page: Page) -> None:
    upstream("gpu-1", gpu_metrics_url="http://dcgm:9400/metrics")
    found = Watch(Feed(gpu_1=parse(pages.vllm(1)), dcgm=page), lambda: 0.0).look()
    assert values(found)["gpu-1", "gpu_up", ""] == 0.0
    assert found.silent["gpu-1: GPUs"]


def test_with_the_trace_store_away_it_looks_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")
    assert health.watch().words == "Has not looked yet."
    upstream("gpu-1")
    seen = Watch(Feed(gpu_1=parse(pages.vllm(2))), lambda: 0.0).sweep()
    assert seen.samples
    assert Sweep.objects.get().problem
    assert "can't keep what it sees" in health.watch().words


def test_a_watch_that_stopped_is_told() -> None:
    Sweep.objects.create(pk=1, at=timezone.now() - timedelta(minutes=5))
    assert (health.watch().tone, health.watch().words) == ("bad", "Last looked 5\xa0min\xa0ago.")


def test_what_it_saw_is_kept(clickhouse: str, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    trace_store.migrate()
    settings.VITALS_DAYS = 30
    upstream("gpu-1")
    Watch(Feed(gpu_1=parse(pages.vllm(2))), lambda: 0.0).sweep()
    assert Sweep.objects.get().problem == ""
    assert vitals.latest(datetime.now(UTC), ["gpu-1"])["gpu-1", "requests_running", ""] == 1.0
    assert vitals.keep_for(30) is False
    assert "0 did not answer" in health.watch().words


def test_nothing_ends_the_watch(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.WATCH_SECONDS = 0.0
    stopping = threading.Event()
    failures: list[Exception] = [DatabaseError("locked"), KeyError("a mistake"), OSError("no files left")]

    def sweep(self: Watch) -> None:
        if not failures:
            stopping.set()
            return
        raise failures.pop()

    monkeypatch.setattr(Watch, "sweep", sweep)
    monkeypatch.setattr(watch, "close_old_connections", lambda: None)
    Watch().run(stopping)
    assert stopping.is_set()
