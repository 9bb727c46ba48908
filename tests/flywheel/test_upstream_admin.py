"""An engine's logprobs mode: asked for where engines are registered, and a contradiction is hard to miss."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from flywheel import health
from inference import snapshots
from inference.models import Upstream
from tests import people
from tests.inference.double import free_port
from tests.inference.moded import Moded, engine

pytestmark = pytest.mark.django_db
LIST = "admin:inference_upstream_changelist"


@pytest.fixture
def olga() -> Client:
    client = Client()
    client.force_login(people.operator())
    return client


def form(url: str, **fields: str) -> dict[str, str]:
    return {"name": "gpu-1", "base_url": url, "logprobs_mode": "raw_logprobs", "enabled": "on", **fields}


def check(client: Client, *engines: Upstream) -> str:
    chosen = {"action": "check_mode", "_selected_action": [one.pk for one in engines]}
    return client.post(reverse(LIST), chosen, follow=True).content.decode()


def test_a_contradiction_is_in_the_list_until_it_is_settled(olga: Client) -> None:
    with engine(Moded("processed_logprobs")) as url:
        one = Upstream.objects.create(name="gpu-1", base_url=url)
        assert "not checked" in olga.get(reverse(LIST)).content.decode()
        number = snapshots.number()
        assert "It gives processed_logprobs; raw_logprobs is declared" in check(olga, one)
        assert snapshots.number() == number, "proxies were told of what they do not use"
        listed = olga.get(reverse(LIST)).content.decode()
        for words in ("▲ It gives processed_logprobs", "--logprobs-mode raw_logprobs", "declare processed_"):
            assert words in listed
        Upstream.objects.update(logprobs_mode="processed_logprobs")
        assert "✓ processed_logprobs" in olga.get(reverse(LIST)).content.decode()


def test_the_engine_room_warns_of_an_engine_that_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "get", lambda _url: (200, b""))
    one = Upstream(name="gpu-1", base_url="http://127.0.0.1:9", found_mode="raw_logits")
    found = health.engine(one)
    assert found.tone == "warn"
    assert "declare raw_logits" in found.advice
    one.logprobs_mode = "raw_logits"
    assert health.engine(one).tone == "good"


def test_several_are_asked_at_once_and_one_that_is_away_says_so(olga: Client) -> None:
    with engine(Moded("raw_logits")) as url:
        away = Upstream.objects.create(name="away", base_url=f"http://127.0.0.1:{free_port()}")
        there = Upstream.objects.create(name="there", base_url=url, logprobs_mode="raw_logits")
        page = check(olga, away, there)
    assert "away: its logprobs mode is not known: it does not answer" in page
    assert "there: it gives raw_logits, as declared" in page
    assert "not known: it does not answer" in olga.get(reverse(LIST)).content.decode()


def test_an_engine_is_asked_when_it_is_saved(
    olga: Client, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_KEY", "engine-key")
    with engine(moded := Moded("raw_logits", secret="engine-key")) as url:
        with django_capture_on_commit_callbacks(execute=True):
            olga.post(reverse("admin:inference_upstream_add"), form(url, secret_env="GPU_KEY"))
        one = Upstream.objects.get()
        assert one.found_mode == "raw_logits"
        address = reverse("admin:inference_upstream_change", args=[one.pk])
        assert "▲ It gives raw_logits" in olga.get(address).content.decode()
        asked = len(moded.asked)
        same = form(url, secret_env="GPU_KEY", gpus="0,1")
        with django_capture_on_commit_callbacks(execute=True):
            olga.post(address, same)
        assert Upstream.objects.get().gpus == "0,1"
        assert len(moded.asked) == asked, "nothing had changed that its mode depends on"
        with django_capture_on_commit_callbacks(execute=True):
            olga.post(address, same | {"logprobs_mode": "raw_logits"})
        assert len(moded.asked) > asked
        assert Upstream.objects.get().contradiction == ""


@pytest.mark.django_db(transaction=True)
def test_an_engine_that_is_away_is_saved_and_what_was_found_elsewhere_is_forgotten(olga: Client) -> None:
    one = Upstream.objects.create(name="gpu-1", base_url="http://127.0.0.1:9", found_mode="raw_logits")
    url = f"http://127.0.0.1:{free_port()}"
    answer = olga.post(reverse("admin:inference_upstream_change", args=[one.pk]), form(url))
    assert answer.status_code == 302
    one.refresh_from_db()
    assert (one.base_url, one.found_mode) == (url, "")
    assert "does not answer" in one.found_why
    assert "its logprobs mode is not known" in olga.get(reverse(LIST)).content.decode()


def test_a_mode_that_is_none_is_not_declared(olga: Client) -> None:
    answer = olga.post(
        reverse("admin:inference_upstream_add"), form("http://127.0.0.1:9", logprobs_mode="raw")
    )
    assert "not one of the available choices" in answer.text
    assert not Upstream.objects.exists()
