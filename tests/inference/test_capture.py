"""What is asked of an engine and taken out again, against what a real engine said to both requests."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from inference.capture import Plan, Stream, clean_body, load, plan
from inference.sse import DONE, Splitter, event, name_of, payload
from inference.surfaces import CHAT, SURFACES
from tests.inference import alike
from tests.inference.recorded import PAIRS, Pair

GOOD = sorted(name for name, pair in PAIRS.items() if pair.plain.status == 200)
STREAMED = [name for name in GOOD if PAIRS[name].request.get("stream")]
WHOLE = [name for name in GOOD if name not in STREAMED]


def planned(pair: Pair, public: str = "desk", capture: str = "wire", **more: Any) -> Plan:
    surface = SURFACES[pair.path]
    body = {**pair.request, "model": public, **more}
    return plan(surface, body, served="smollm2-135m", public=public, capture=capture, top_k=5)


def stream(made: Plan, body: bytes, size: int = 700) -> tuple[list[bytes], bytes]:
    """What a client gets at once, and what is held back."""
    running = Stream(made)
    sent = [ready for at in range(0, len(body), size) if (ready := running.feed(body[at : at + size]))]
    assert running.ended
    return sent, running.held()


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_the_engine_is_asked_what_was_recorded(name: str) -> None:
    pair = PAIRS[name]
    if "n2_streamed" in name or "batch_streamed" in name:
        assert "stream_options" not in load(planned(pair).body)
    assert load(planned(pair).body) == pair.injected
    assert load(planned(pair).plain) == pair.request


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_as_if_nothing_had_been_asked(name: str) -> None:
    pair = PAIRS[name]
    cleaned = clean_body(planned(pair), pair.captured.body)
    assert alike.body(cleaned) == alike.renamed(alike.body(pair.plain.body), "desk")


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_is_as_if_nothing_had_been_asked(name: str) -> None:
    pair = PAIRS[name]
    sent, held = stream(planned(pair), pair.captured.body)
    got = alike.stream(b"".join(sent) + held)
    assert got == alike.renamed(alike.stream(pair.plain.body), "desk")


@pytest.mark.parametrize("name", STREAMED)
def test_from_the_last_finish_on_everything_is_held(name: str) -> None:
    pair = PAIRS[name]
    for made in (planned(pair), planned(pair, capture="off")):
        body = pair.captured.body if made.adds else pair.plain.body
        sent, held = stream(made, body)
        assert finished(pair, b"".join(sent)) == made.choices - 1
        assert finished(pair, held) == 1
        assert finished(pair, Splitter().feed(held)[0]) == 1
        assert sent


def finished(pair: Pair, events: bytes) -> int:
    """How many choices they finish."""
    surface = SURFACES[pair.path]
    return sum(surface.finishes(name_of(one), payload(one) or b"") for one in Splitter().feed(events))


@pytest.mark.parametrize("name", GOOD)
def test_where_nothing_is_added_bytes_pass(name: str) -> None:
    pair = PAIRS[name]
    same, renamed = planned(pair, "smollm2-135m", "off"), planned(pair, 'a"b\\1', "off")
    for made in (same, renamed):
        assert load(made.body) == pair.request
        body = pair.plain.body
        got = (
            clean_body(made, body)
            if name in WHOLE
            else b"".join(stream(made, body)[0]) + stream(made, body)[1]
        )
        assert got == body.replace(b'"model":"smollm2-135m"', b'"model":' + orjson.dumps(made.model))


def test_a_model_name_inside_the_text_stays() -> None:
    body = orjson.dumps(
        {"id": "x", "choices": [{"text": 'say "model":"smollm2-135m"'}], "model": "smollm2-135m"}
    )
    pair = PAIRS["chat"]
    cleaned = clean_body(planned(pair, capture="off"), body)
    assert orjson.loads(cleaned)["choices"][0]["text"] == 'say "model":"smollm2-135m"'
    assert orjson.loads(cleaned)["model"] == "desk"


@pytest.mark.parametrize(
    ("more", "capture", "top_k"),
    [
        ({}, "wire", 5),
        ({"echo": True}, "unsupported", 0),
        ({"use_beam_search": True}, "unsupported", 0),
        ({"logprobs": True}, "wire", 0),
        ({"logprobs": True, "top_logprobs": 3}, "wire", 0),
        ({"logprobs": True, "top_logprobs": 3, "return_tokens_as_token_ids": True}, "wire", 3),
        ({"top_logprobs": 0}, "wire", 5),
        ({"top_logprobs": 3}, "wire", 0),
    ],
)
def test_what_a_row_will_say(more: dict[str, Any], capture: str, top_k: int) -> None:
    made = planned(PAIRS["chat"], **more)
    assert (made.capture, made.top_k) == (capture, top_k)
    asked = load(made.body)
    assert {name: asked[name] for name in more} == more or made.hidden.logprobs


def test_k_of_the_two_surfaces() -> None:
    def added(name: str, k: int) -> tuple[Any, Any]:
        pair = PAIRS[name]
        surface = SURFACES[pair.path]
        body = load(plan(surface, pair.request, served="m", public="p", capture="wire", top_k=k).body)
        return body.get("logprobs"), body.get("top_logprobs")

    assert [added("chat", k) for k in (0, 5, 19, 20)] == [(True, 0), (True, 6), (True, 20), (True, 20)]
    assert [added("completion", k) for k in (0, 5, 20)] == [(0, None), (5, None), (20, None)]


def events(*bodies: Any) -> list[bytes]:
    return [b"data: " + orjson.dumps(body) + b"\n\n" for body in bodies]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": {"content": []},
        "finish_reason": finish,
        "token_ids": [1],
    }
    return {"model": "smollm2-135m", "choices": [choice], **more}


def test_chunks_that_only_carried_tokens_go_and_their_finish_stays() -> None:
    running = Stream(planned(PAIRS["chat_streamed"]))
    first, empty, last = events(chunk({"content": "a"}), chunk({}), chunk({}, "stop"))
    assert running.feed(first)
    assert running.feed(empty) == b""
    assert running.feed(last) == b""
    assert orjson.loads(payload(running.held()) or b"")["choices"][0]["finish_reason"] == "stop"


def test_a_client_that_asked_for_tokens_gets_the_empty_chunks_too() -> None:
    running = Stream(planned(PAIRS["chat_streamed"], return_token_ids=True))
    (empty,) = events(chunk({}))
    assert orjson.loads(payload(running.feed(empty)) or b"")["choices"][0]["token_ids"] == [1]


def test_an_engine_that_sends_usage_anyway_goes_on_doing_so() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    running = Stream(planned(PAIRS["chat_streamed"]))
    for one in events(chunk({"content": "a"}, usage=usage), chunk({}, "stop", usage=usage)):
        running.feed(one)
    running.feed(events({"model": "m", "choices": [], "usage": usage})[0])
    assert running.held().count(b'"usage"') == 2


def test_an_error_event_is_an_end() -> None:
    running = Stream(planned(PAIRS["chat_streamed"]))
    running.feed(events(chunk({"content": "a"}))[0])
    assert running.feed(events({"error": {"message": "no"}})[0]) == b""
    assert running.ended
    assert "no" in running.error
    assert b"no" in running.held()


def test_an_event_that_is_not_json_can_not_be_cleaned() -> None:
    running = Stream(planned(PAIRS["chat_streamed"]))
    assert running.feed(b"data: {oops\n\n") == b""
    assert "can't be read" in running.broken


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{", b"", b"null", b'{"a":NaN}'])
def test_a_request_is_an_object(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(body)


def test_a_very_large_integer_is_sent_on_as_it_came() -> None:
    big = 2**80 + 1
    made = plan(CHAT, load(b'{"seed": %d}' % big), served="m", public="p", capture="off", top_k=5)
    assert load(made.body)["seed"] == big


def spaced(data: bytes) -> bytes:
    return json.dumps(orjson.loads(data), ensure_ascii=False).encode()


def shuffled(data: bytes) -> bytes:
    """The same answer with every object's names in the opposite order."""

    def turn(found: Any) -> Any:
        if isinstance(found, list):
            return [turn(one) for one in found]
        return {k: turn(found[k]) for k in reversed(found)} if isinstance(found, dict) else found

    return orjson.dumps(turn(orjson.loads(data)))


@pytest.mark.parametrize("other", [spaced, shuffled])
@pytest.mark.parametrize("name", WHOLE)
def test_another_layout_gives_the_same_answer(name: str, other: Callable[[bytes], bytes]) -> None:
    made, body = planned(PAIRS[name]), PAIRS[name].captured.body
    assert orjson.loads(clean_body(made, other(body))) == orjson.loads(clean_body(made, body))


@pytest.mark.parametrize("other", [spaced, shuffled])
@pytest.mark.parametrize("name", STREAMED)
def test_another_layout_gives_the_same_stream(name: str, other: Callable[[bytes], bytes]) -> None:
    made, body = planned(PAIRS[name]), PAIRS[name].captured.body
    again = b"".join(
        one if (data := payload(one)) in (None, DONE) else event(other(data or b""), name_of(one))
        for one in Splitter().feed(body)
    )
    got, expected = (
        alike.stream(b"".join(sent) + held) for sent, held in (stream(made, again), stream(made, body))
    )
    assert got == expected


def test_text_that_looks_like_tokens_stays() -> None:
    text = '"logprobs":{"content":[]},"finish_reason":"stop","token_ids":[1],"model":"x"'
    for name in ("chat", "completion"):
        message = orjson.loads(PAIRS[name].captured.body)
        choice = message["choices"][0]
        (choice.get("message") or choice)["content" if name == "chat" else "text"] = text
        cleaned = orjson.loads(clean_body(planned(PAIRS[name]), orjson.dumps(message)))["choices"][0]
        assert (cleaned.get("message") or cleaned)["content" if name == "chat" else "text"] == text
        assert cleaned["logprobs"] is None
        assert cleaned["token_ids"] is None
