"""An exchange's question is asked of another version through the proxy: by whom, and how often."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.urls import reverse
from pytest_django.fixtures import Settings

from flywheel.models import Rerun
from inference.models import ModelVersion, Upstream
from tests import people
from tests.flywheel.tiny_engine import TinyEngine, serve
from tests.inference import answered

pytestmark = pytest.mark.django_db
ONE = answered.exchange(1, "wheezing", user="u7")
COMPLETED = answered.exchange(3, surface="completions")
EMBEDDED = answered.exchange(2, surface="embeddings")
AGAIN = reverse("exchange-again", args=[ONE.exchange_id])


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(ONE, COMPLETED, EMBEDDED)
        yield clickhouse


@pytest.fixture(autouse=True)
def proxy(filled: str, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[TinyEngine]:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    settings.EVALUATION_KEY = "fw-again"
    version = ModelVersion.objects.create(name="tiny-2", kind="base", weights="d4" * 32)
    version.upstreams.add(Upstream.objects.create(name="e", base_url="http://127.0.0.1:9"))
    ModelVersion.objects.create(name="unserved", kind="base", weights="e5" * 32)
    with serve(TinyEngine()) as engine:
        settings.PROXY_URL = engine.url
        yield engine


def form(**changes: str) -> dict[str, str]:
    return {"key": uuid4().hex, "version": "tiny-2", **changes}


def test_who_may_not_ask(proxy: TinyEngine) -> None:
    stranger, rita = people.client(None), people.client(people.reviewer())
    assert stranger.post(AGAIN, form()).headers["Location"].startswith("/sign-in/")
    assert rita.get(AGAIN).status_code == rita.post(AGAIN, form()).status_code == 403
    assert proxy.asked == []


def test_the_same_question_goes_to_the_version_and_both_answers_are_shown(proxy: TinyEngine) -> None:
    emil = people.client(people.engineer())
    page = emil.get(AGAIN).text
    assert "tiny-2" in page
    assert "unserved" not in page
    sent = form()
    answer = emil.post(AGAIN, sent)
    (asked,) = proxy.asked
    assert asked["model"] == "version:tiny-2"
    assert asked["messages"][-1]["content"] == "wheezing after exercise 1"
    assert (asked["stream"], asked["path"]) == (False, "/v1/chat/completions")
    assert (asked["temperature"], asked["max_tokens"]) == (0, 12)
    assert asked["tags"] == f"again={ONE.exchange_id}"
    rerun = Rerun.objects.get()
    assert answer.headers["Location"] == f"/exchanges/diff/?a={ONE.exchange_id}.0&b={rerun.answered_by}"
    assert emil.post(AGAIN, sent).headers["Location"] == answer.headers["Location"]
    assert len(proxy.asked) == 1
    assert emil.post(AGAIN, form(version="unserved")).status_code == 422
    assert emil.post(AGAIN, {"version": "tiny-2"}).status_code == 400


def test_a_completion_goes_where_completions_go(proxy: TinyEngine) -> None:
    emil = people.client(people.engineer())
    assert emil.post(reverse("exchange-again", args=[COMPLETED.exchange_id]), form()).status_code == 302
    assert proxy.asked[0]["path"] == "/v1/completions"
    assert proxy.asked[0]["model"] == "version:tiny-2"


def test_a_person_asks_a_few_times_a_minute(proxy: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flywheel.pages.again.A_MINUTE", 2)
    emil, erin = people.client(people.engineer()), people.client(people.engineer("erin"))
    assert [emil.post(AGAIN, form()).status_code for _ in range(3)] == [302, 302, 429]
    assert erin.post(AGAIN, form()).status_code == 302
    assert len(proxy.asked) == 3


def test_what_the_proxy_refuses_is_said(proxy: TinyEngine, settings: Settings) -> None:
    emil = people.client(people.engineer())
    proxy.status = 403
    answer = emil.post(AGAIN, form())
    assert answer.status_code == 422
    assert "not today" in answer.text
    settings.PROXY_URL = "http://127.0.0.1:9"
    assert "did not answer in time" in emil.post(AGAIN, form()).text
    settings.EVALUATION_KEY = ""
    assert "FLYWHEEL_EVALUATION_KEY" in emil.get(AGAIN).text


def test_other_calls_and_unknown_ids_can_not_be_asked(proxy: TinyEngine) -> None:
    emil = people.client(people.engineer())
    assert emil.post(reverse("exchange-again", args=[EMBEDDED.exchange_id]), form()).status_code == 422
    assert emil.get(reverse("exchange-again", args=[uuid4()])).status_code == 404
    assert proxy.asked == []


def test_the_new_answer_may_be_on_its_way() -> None:
    emil = people.client(people.engineer())
    fresh = answered.exchange(99).exchange_id
    answer = emil.get(reverse("exchange-diff"), {"a": ONE.exchange_id, "b": fresh})
    assert answer.status_code == 404
    assert "has just ended" in answer.text
    assert 'hx-trigger="tick from:body"' in answer.text
