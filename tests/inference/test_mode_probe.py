"""An engine is asked for its mode over a real socket; what it can't or won't say is no error."""

from typing import Any

import pytest

from inference import mode_probe
from inference.logprobs_mode import MODES
from tests.inference.double import free_port
from tests.inference.moded import Moded, engine


@pytest.mark.parametrize("mode", MODES)
def test_an_engine_without_the_plugin_is_asked_twice(mode: str) -> None:
    moded = Moded(mode)
    with engine(moded) as url:
        assert mode_probe.probe(f"{url}/").mode == mode
    asked = [body for path, body in moded.asked if path == "/v1/completions"]
    assert [body["temperature"] for body in asked] == [1.0, 0.25]
    assert all(body["model"] == "smollm2-135m" and body["max_tokens"] <= 4 for body in asked)
    assert not any("seed" in body for body in asked)


def test_a_plugin_is_taken_at_its_word_and_nothing_is_generated() -> None:
    moded = Moded(plugin={"capture": False, "why": "no room", "logprobs_mode": "processed_logits"})
    with engine(moded) as url:
        found = mode_probe.probe(url)
    assert (found.mode, found.why) == ("processed_logits", "its capture plugin says so")
    assert [path for path, _ in moded.asked] == ["/flywheel/capture"]


@pytest.mark.parametrize("said", [{"capture": False}, {"logprobs_mode": ""}, {"logprobs_mode": ["x"]}, [], 7])
def test_a_plugin_that_does_not_know_its_mode_is_no_answer(said: Any) -> None:
    with engine(Moded("raw_logits", plugin=said)) as url:
        assert mode_probe.probe(url).mode == "raw_logits"


def test_the_engines_key_is_shown_and_a_wrong_one_is_told() -> None:
    with engine(Moded(secret="engine-key")) as url:
        assert mode_probe.probe(url, "engine-key").mode == "raw_logprobs"
        for secret in ("", "other"):
            found = mode_probe.probe(url, secret)
            assert found.mode == ""
            assert "wants a key (401)" in found.why


@pytest.mark.parametrize(
    ("moded", "why"),
    [
        (Moded(status=400, body={"error": {"message": "top_k is not known"}}), "400: top_k is not known"),
        (Moded(status=400, body={"message": "no logprobs"}), "400: no logprobs"),
        (Moded(status=500, body="<h1>"), "500: Internal Server Error"),
        (Moded(body="oops"), "no JSON"),
        (Moded(body={"choices": [{"logprobs": None}]}), "no logprobs"),
        (Moded(models={"data": []}), "names no model"),
        (Moded(models=[]), "names no model"),
    ],
)
def test_one_that_does_not_tell_is_unknown_and_says_why(moded: Moded, why: str) -> None:
    with engine(moded) as url:
        found = mode_probe.probe(url)
    assert found.mode == ""
    assert why in found.why


def test_one_that_is_away_is_unknown() -> None:
    assert "does not answer" in mode_probe.probe(f"http://127.0.0.1:{free_port()}").why
    assert "none of HTTP" in mode_probe.probe("file:///etc").why
    assert mode_probe.probe("http://").mode == ""


def test_the_key_is_not_carried_to_where_a_redirect_leads() -> None:
    with engine(other := Moded()) as elsewhere, engine(Moded(elsewhere=f"{elsewhere}/v1/models")) as url:
        found = mode_probe.probe(url, "engine-key")
    assert "307" in found.why
    assert other.asked == []
