"""A drain's reports: what web takes, what it refuses, and that nothing of it can hold a drain up."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from socket import create_server

import orjson
import pytest
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from inference import internal, report
from inference.drain import Drain
from inference.models import Spool
from inference.proxy import Proxy
from inference.proxy import Settings as ProxySettings
from inference.report import Rate, Report, Reporter

URL = "/internal/spool"
TOKEN = "between us"


def post(content: bytes, token: str = TOKEN) -> int:
    headers = {"authorization": f"Bearer {token}"}
    # Checks are enforced as for a browser: a drain has no cookie to show.
    client = Client(enforce_csrf_checks=True)
    return client.post(URL, content, content_type="application/json", headers=headers).status_code


@pytest.mark.django_db
def test_who_has_the_token_may_report_and_nobody_else(settings: Settings) -> None:
    sent = orjson.dumps(asdict(Report("gpu-1:/spool", stored=7, newest="no id")))
    assert post(sent) == 403
    settings.INTERNAL_TOKEN = TOKEN
    assert post(sent, "guessed") == 403
    assert Client().get(URL).status_code == 405
    assert post(sent) == 204
    assert (Spool.objects.get().stored, Spool.objects.get().newest) == (7, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"stored": 1}',
        b'{"name": ""}',
        b'{"name": "x", "stored": "7"}',
        b'{"name": "x", "stored": -1}',
        b'{"name": "x", "stored": true}',
        b'{"name": "x", "rate": 1e400}',
        b'{"name": "x", "disk_bytes": 1e3}',
        b'{"name": "x", "stopped": 1}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "' + b"x" * 300 + b'"}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_refused_and_not_kept(content: bytes, settings: Settings) -> None:
    settings.INTERNAL_TOKEN = TOKEN
    assert post(content) == 400
    assert not Spool.objects.exists()


def test_what_a_newer_drain_says_besides_is_left_out() -> None:
    assert Report.parse(b'{"name": "x", "mood": "fine"}') == Report("x")


def test_the_rate_is_of_the_last_minute() -> None:
    rate = Rate()
    assert rate(0.0, 100) == 0.0
    assert rate(30.0, 400) == 10.0
    assert rate(60.0, 400) == 5.0
    assert rate(90.0, 400) == 0.0
    assert rate(95.0, 10) == 0.0


def test_a_drain_says_how_its_spool_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_NAME", "gpu-1")
    drain = Drain(tmp_path)
    (tmp_path / "1-1.segment").write_bytes(b"x" * 1000)
    said = drain.report(True)
    drain.close()
    assert (said.name, said.disk_bytes, said.stopped, said.unstored_age) == ("gpu-1", 1000, True, None)
    assert Report.parse(orjson.dumps(asdict(said))) == said


async def test_a_proxy_and_a_drain_call_a_spool_the_same(tmp_path: Path) -> None:
    proxy = Proxy(ProxySettings(tmp_path, tmp_path / "x" / ".." / "spool", "http://127.0.0.1:9", "", "p"))
    proxy.metrics.dropped.inc(3)
    news = proxy._news()
    assert (news["spool"], news["dropped"]) == (report.spool_name(tmp_path / "spool"), "3")


@pytest.mark.django_db(transaction=True)
async def test_a_real_drain_and_a_real_proxy_are_heard_by_a_real_web(
    tmp_path: Path, live_server: LiveServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_NAME", "gpu-1")
    monkeypatch.setattr(internal, "WAIT_SECONDS", 0.0)
    settings.INTERNAL_TOKEN = TOKEN
    drain = Drain(tmp_path)
    await asyncio.to_thread(Reporter(drain.report, live_server.url, TOKEN).send, stopped=False)
    drain.close()
    proxy = Proxy(ProxySettings(tmp_path, tmp_path, live_server.url, TOKEN, "p1"))
    proxy.metrics.dropped.inc(3)
    following = asyncio.create_task(proxy.follower.follow())
    try:
        for _ in range(1000):
            row = await Spool.objects.aget()
            if row.proxy_seen_at is not None:
                break
            await asyncio.sleep(0.02)
    finally:
        following.cancel()
    assert (row.name, row.proxy, row.dropped) == ("gpu-1", "p1", 3)
    assert row.heard_at is not None


@contextmanager
def hanging() -> Iterator[str]:
    """A web that takes connections and never answers."""
    with create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "file:///etc/passwd", "nonsense"])
def test_web_that_is_away_or_misnamed_ends_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS", 0.001)
    said = threading.Event()
    sent: list[bool] = []

    def say(stopped: bool) -> Report:
        sent.append(stopped)
        if len(sent) == 2:
            raise KeyError("a mistake")
        if len(sent) > 3:
            said.set()
        return Report("x")

    reporter = Reporter(say, url, TOKEN)
    reporter.start()
    assert said.wait(20)
    reporter.stop()
    assert sent[-1] is True


def test_web_that_hangs_holds_up_a_stop_for_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(report, "SECONDS", 0.001)
    with hanging() as url:
        reporter = Reporter(lambda stopped: Report("x"), url, TOKEN)
        reporter.start()
        time.sleep(0.02)
        reporter.stop()
        reporter.join(20)
        assert not reporter.is_alive()
