"""Alerts on a replayed feed: what fires and what stays silent, the end of it, and telling people of it."""

import functools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import Settings

from flywheel import alerts, built_in_rules, telling
from flywheel.alert_models import Alert, AlertChannel, AlertCondition, AlertMessage, AlertRule
from flywheel.watch import Watch
from inference.exposition import Page, parse
from inference.models import Upstream
from inference.vitals import METRICS, Sample
from tests import people
from tests.inference import pages

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
AT_WORK, DEADLOCK, IDLE = (pages.gpu(name) for name in ("busy", "spinning", "idle"))
STUCK = pages.vllm(2)
"""One request runs; replayed again and again, nothing ever comes of it."""


@pytest.fixture(autouse=True)
def rules() -> None:
    if not AlertRule.objects.exists():  # where migrations were left out
        built_in_rules.add(AlertRule.objects, AlertCondition.objects)


def working(step: int) -> str:
    """The recorded page of an engine, gone on: forty tokens a second more."""
    return STUCK.replace(
        'vllm:generation_tokens_total{engine="0",model_name="smollm2-135m"} ',
        f'vllm:generation_tokens_total{{engine="0",model_name="smollm2-135m"}} {step * 4}',
    )


read = functools.cache(parse)


def replay(steps: int, engine: Any, gpu: str | None, *, begin: int = 0) -> set[str]:
    """Ten seconds a step: an engine's page by step (None: away) and its GPU. Returns the rules that fire."""
    Upstream.objects.get_or_create(
        name="gpu-1", base_url="http://gpu-1:8000", gpu_metrics_url="http://dcgm:9400/metrics" if gpu else ""
    )
    at = begin

    def ask(urls: list[str]) -> list[Page]:
        text = engine(at)
        page = read(text) if text is not None else Page(why="does not answer")
        return [page, *([read(gpu)] if gpu else [])]

    watch = Watch(ask, lambda: 10.0 * at)
    for step in range(begin, begin + steps):
        at = step
        alerts.evaluate(watch.look().samples, NOW + timedelta(seconds=10 * step))
    return set(alerts.firing().values_list("rule__name", flat=True))


def test_a_deadlock_fires_although_the_gpu_says_it_is_busy() -> None:
    assert replay(13, lambda step: STUCK, DEADLOCK) == set()
    assert replay(15, lambda step: STUCK, DEADLOCK) == {"GPU busy but doing nothing"}
    alert = Alert.objects.get(state=Alert.State.FIRING)
    assert (alert.source, alert.part) == ("gpu-1", "0")
    assert alert.values["gpu_power_share"] == pytest.approx(123 / 700, abs=0.001)
    assert alert.values["tokens_per_s"] == 0.0


@pytest.mark.parametrize(
    ("engine", "gpu"),
    [
        (working, AT_WORK),  # at work
        (working, DEADLOCK),  # tokens come, whatever the power is
        (lambda step: STUCK, AT_WORK),  # a long prompt: no token yet, and all the power
        (lambda step: pages.vllm(3), IDLE),  # nothing to do
    ],
)
def test_what_is_no_deadlock_stays_silent(engine: Any, gpu: str) -> None:
    assert replay(30, engine, gpu) == set()


def test_a_gpu_without_a_known_cap_can_be_no_deadlock() -> None:
    bare = [line for line in DEADLOCK.splitlines() if "POWER_MGMT_LIMIT" not in line]
    assert replay(30, lambda step: STUCK, "\n".join(bare) + "\n") == set()


def test_an_engine_away_fires_after_its_time_and_ends_when_it_is_back() -> None:
    assert replay(3, lambda step: None, None) == set()
    assert replay(4, lambda step: None, None) == {"Engine away"}
    assert replay(1, lambda step: STUCK, None, begin=4) == set()
    ended = Alert.objects.get()
    assert (ended.state, ended.ended_at) == (Alert.State.RESOLVED, NOW + timedelta(seconds=40))


def test_what_breaks_off_begins_anew() -> None:
    assert replay(40, lambda step: STUCK if step % 3 == 2 else None, None) == set()
    assert not Alert.objects.filter(state=Alert.State.RESOLVED).exists()


def test_an_engine_that_is_taken_off_fires_no_more() -> None:
    assert replay(5, lambda step: None, None) == {"Engine away"}
    Upstream.objects.update(enabled=False)
    alerts.evaluate([Sample("up", "another", "", 1.0)], NOW + timedelta(minutes=5))
    assert not alerts.firing().exists()


def sweep(at: float, **values: float) -> set[str]:
    alerts.evaluate(
        [Sample(metric, "gpu-1", "", value) for metric, value in values.items()], NOW + timedelta(seconds=at)
    )
    return set(alerts.firing().values_list("rule__name", flat=True))


def test_what_is_not_measured_neither_begins_nor_ends_an_alert() -> None:
    sweep(0, up=1, kv_cache=0.99)
    assert sweep(120, up=1, kv_cache=0.99) == {"KV cache full"}
    assert sweep(130, up=0) == {"KV cache full"}
    assert sweep(140, up=1, kv_cache=0.5) == set()
    sweep(150, up=1, kv_cache=0.99)
    sweep(160, up=1)
    assert sweep(280, up=1, kv_cache=0.99) == set()


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"unstored_seconds": 61}, "Oldest unstored record over a minute"),
        ({"dropped": 1}, "Captures dropped"),
        ({"drain_silent_seconds": 61}, "Drain silent"),
        ({"kept_aside": 1}, "Records kept aside"),
        ({"preemptions_per_min": 2}, "Preemptions"),
        ({"gpu_up": 0}, "GPU metrics away"),
        ({"requests_waiting": 30}, "Requests queue"),
        ({"gpu_temperature": 90}, "GPU hot"),
        ({"gpu_xid": 79}, "XID error"),
    ],
)
def test_each_rule_fires_and_its_opposite_does_not(values: dict[str, float], rule: str) -> None:
    quiet = {name: 1.0 if name == "gpu_up" else 0.0 for name in values}
    sweep(0, **quiet)
    assert sweep(130, **quiet) == set()
    sweep(140, **values)
    assert sweep(270, **values) == {rule}


def test_every_rule_names_metrics_that_exist_and_says_what_to_do() -> None:
    for rule in built_in_rules.RULES:
        assert all(metric in METRICS for metric, _, _ in rule.conditions)
        assert all((rule.meaning, rule.users_notice, rule.first_step))


def test_a_rule_that_is_switched_off_ends_what_it_fired() -> None:
    assert sweep(0, dropped=1) == {"Captures dropped"}
    AlertRule.objects.update(enabled=False)
    assert sweep(10, dropped=1) == set()


# Telling people


class Receiver:
    """A webhook that answers as told, and keeps what it was told."""

    def __init__(self) -> None:
        self.status, self.port = 200, 0
        self.got: list[dict[str, Any]] = []

    @contextmanager
    def up(self) -> Iterator[None]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.got.append(body | {"key": self.headers["idempotency-key"]})
                self.send_response(receiver.status)
                self.send_header("location", "http://127.0.0.1:9/")
                self.send_header("content-length", "0")
                self.end_headers()

        server = HTTPServer(("127.0.0.1", self.port), Handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def receiver() -> Receiver:
    found = Receiver()
    with found.up():
        pass
    AlertChannel.objects.create(name="pager", kind="webhook", address=f"http://127.0.0.1:{found.port}/hook")
    return found


def told(receiver: Receiver) -> list[tuple[str, str]]:
    return [(one["state"], one["rule"]) for one in receiver.got]


def later(**passed: float) -> int:
    return telling.send_due(datetime.now(UTC) + timedelta(**passed))


def test_a_receiver_that_was_killed_hears_everything_once_and_in_order_when_it_is_back(
    receiver: Receiver,
) -> None:
    sweep(0, dropped=1)
    assert later() == 0  # nobody is there
    assert "does not answer" in AlertMessage.objects.get().error
    sweep(10, dropped=0)
    assert later(seconds=1) == 0  # not yet again, and no end before its beginning
    with receiver.up():
        assert later(minutes=1) == 1
        assert later(minutes=2) == 1
        assert later(minutes=3) == 0
    assert told(receiver) == [("firing", "Captures dropped"), ("resolved", "Captures dropped")]
    said = receiver.got[0]
    assert said["text"] == "Firing, critical: Captures dropped: gpu-1"
    assert all(said[name] for name in ("meaning", "users_notice", "first_step", "url", "key"))
    assert said["key"] == said["id"] != receiver.got[1]["key"]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_a_refusal_is_tried_again_later_and_later_and_given_up_after_a_day(
    status: int, receiver: Receiver
) -> None:
    receiver.status = status
    sweep(0, dropped=1)
    pauses = []
    with receiver.up():
        for _ in range(9):
            message = AlertMessage.objects.get()
            now = message.next_at
            assert telling.send_due(now) == 0
            pauses.append((AlertMessage.objects.get().next_at - now).total_seconds())
        assert len(receiver.got) == 9
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
        assert f"answers {status}" in AlertMessage.objects.get().error
        later(days=2)
        assert AlertMessage.objects.get().given_up_at is not None
        receiver.status = 200
        assert later(days=3) == 0


def test_two_watches_send_once(receiver: Receiver) -> None:
    sweep(0, dropped=1)
    now = datetime.now(UTC) + timedelta(seconds=1)
    first, second = list(telling.due(now)), list(telling.due(now))
    receiver.status = 500  # so that only the claim can keep the second from trying, too
    with receiver.up():
        assert (telling._send(first[0], now), telling._send(second[0], now)) == (False, False)
    assert len(receiver.got) == 1


def test_a_receiver_that_hangs_holds_up_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        AlertChannel.objects.create(name="pager", kind="webhook", address=address)
        sweep(0, dropped=1)
        assert later() == 0
    assert "no word within" in AlertMessage.objects.get().error


def test_by_mail_too_and_warnings_only_to_who_wants_them(settings: Settings) -> None:
    settings.EMAIL_FROM = "flywheel@clinic.example"
    for name, warnings in (("ops", True), ("chief", False)):
        AlertChannel.objects.create(
            name=name, kind="email", address=f"{name}@clinic.example", warnings=warnings
        )
    sweep(0, dropped=1, kept_aside=1)
    assert later() == 3
    assert sorted((one.to[0], one.subject) for one in mail.outbox) == [
        ("chief@clinic.example", "Firing, critical: Captures dropped: gpu-1"),
        ("ops@clinic.example", "Firing, critical: Captures dropped: gpu-1"),
        ("ops@clinic.example", "Firing, warning: Records kept aside: gpu-1"),
    ]
    assert "What to do first: Make room" in str(mail.outbox[0].body)
    assert all("@clinic.example>" in one.extra_headers["Message-ID"] for one in mail.outbox)


def test_who_heard_nothing_of_the_beginning_hears_nothing_of_the_end(receiver: Receiver) -> None:
    AlertChannel.objects.update(enabled=False)
    sweep(0, dropped=1)
    AlertChannel.objects.update(enabled=True)
    sweep(10, dropped=0)
    assert not AlertMessage.objects.exists()


@pytest.mark.parametrize(
    ("kind", "address"), [("webhook", "ftp://x/"), ("webhook", "file:///etc/passwd"), ("email", "nobody")]
)
def test_an_address_that_can_never_be_reached_is_refused(kind: str, address: str) -> None:
    with pytest.raises(ValidationError):
        AlertChannel(name="x", kind=kind, address=address).full_clean()


# On pages


def test_what_fires_is_on_the_page_with_its_words_and_critical_ones_on_every_page() -> None:
    for at in range(0, 40, 10):
        sweep(at, up=0, kept_aside=1)
    emil = Client()
    emil.force_login(people.engineer())
    page = emil.get("/engine/").text
    for rule in ("Engine away", "Records kept aside"):
        found = AlertRule.objects.get(name=rule)
        assert f"{rule}: gpu-1" in page
        assert found.first_step in page
    assert "/exchanges/?q=upstream%3Agpu-1+since%3A" in page
    words = emil.get("/words/").text
    assert "Engine away: gpu-1." in words
    assert "Records kept aside" not in words
    rita = Client()
    rita.force_login(people.reviewer())
    assert "Engine away" not in rita.get("/words/").text


def test_what_could_not_be_told_is_on_the_page(receiver: Receiver) -> None:
    sweep(0, dropped=1)
    later()
    emil = Client()
    emil.force_login(people.engineer())
    assert "1 message not delivered: pager (does not answer" in emil.get("/engine/").text
