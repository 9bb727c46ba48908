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
BAD = answered.ended(answered.exchange(4), "bad_request", "no JSON")
UNKNOWN = answered.ended(answered.exchange(5, route="gpt-4o", model=""), "refused", "no such model")
AGAIN = reverse("exchange-again", args=[ONE.exchange_id])


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(ONE, COMPLETED, EMBEDDED, BAD, UNKNOWN)
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


def test_what_never_was_a_request_is_not_offered(proxy: TinyEngine) -> None:
    emil = people.client(people.engineer())
    for one in (BAD, UNKNOWN):
        assert "Try on another version" not in emil.get(reverse("exchange", args=[one.exchange_id])).text
        answer = emil.post(reverse("exchange-again", args=[one.exchange_id]), form())
        assert answer.status_code == 422
        assert "never was a request" in answer.text
    assert "Try on another version" in emil.get(reverse("exchange", args=[ONE.exchange_id])).text
    assert proxy.asked == []


def test_both_exchanges_name_each_other_and_their_comparison() -> None:
    emil = people.client(people.engineer())
    where = reverse("exchange", args=[ONE.exchange_id])
    assert "sked again" not in emil.get(where).text
    version = ModelVersion.objects.get(name="tiny-2")
    rerun = {"exchange_id": ONE.exchange_id, "version": version, "asked_by": people.engineer("erin")}
    Rerun.objects.create(key="k1", answered_by=COMPLETED.exchange_id, **rerun)
    Rerun.objects.create(key="k2", **rerun)  # no answer came
    compare = f"/exchanges/diff/?a={ONE.exchange_id}.0&amp;b={COMPLETED.exchange_id}"
    new = reverse("exchange", args=[COMPLETED.exchange_id])
    first, second = emil.get(where).text, emil.get(new).text
    assert first.count("Tried again on") == 1
    assert f'Tried again on <a href="{new}">tiny-2</a>' in first
    assert f'Asks again what <a href="{where}">{ONE.exchange_id[-8:]}</a> was asked' in second
    assert f'href="{compare}"' in first
    assert f'href="{compare}"' in second
    assert "Asks again" not in first
    assert "Tried again" not in second


def test_the_new_answer_may_be_on_its_way() -> None:
    emil = people.client(people.engineer())
    fresh = answered.exchange(99).exchange_id
    answer = emil.get(reverse("exchange-diff"), {"a": ONE.exchange_id, "b": fresh})
    assert answer.status_code == 404
    assert "has just ended" in answer.text
    assert 'hx-trigger="tick from:body"' in answer.text
