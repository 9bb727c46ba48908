"""From spooled bytes to an exchange: real recorded answers, cut-off ones, and ones that are no answers."""

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.exchange import Exchange, Opened, parse
from inference.raw import RawExchange
from tests.inference.recorded import PAIRS

OPENED: Opened = {
    "surface": "chat",
    "streamed": False,
    "route": "desk",
    "model": "smollm2-135m",
    "weights": "a" * 64,
    "base_weights": "b" * 64,
    "tokenizer": "c" * 64,
    "upstream": "one",
    "logprobs_mode": "raw_logprobs",
    "key": "clinic",
    "user": "",
    "session": "",
    "tags": {},
    "trace_id": "1" * 32,
    "span_id": "2" * 16,
    "parent_span_id": "",
    "started_us": 1_000_000,
    "capture": "wire",
    "top_k": 5,
    "proxy": "p",
    "snapshot": 1,
}
CLOSED = {"end_reason": "complete", "status": 200, "first_byte_us": 1_250_000, "finished_us": 2_000_000}


def raw(
    response: bytes, request: bytes = b"{}", closed: dict[str, Any] = CLOSED, **opened: Any
) -> RawExchange:
    header = {**OPENED, **opened}
    return RawExchange("018f0000-0000-7000-8000-000000000000", 0, header, request, response, closed)


def recorded(name: str, **opened: Any) -> Exchange:
    pair = PAIRS[name]
    surface = "chat" if "chat" in pair.path else "completions"
    return parse(raw(pair.captured.body, orjson.dumps(pair.request), surface=surface, **opened))


def test_a_chat_and_its_stream_are_the_same_exchange() -> None:
    whole, streamed = recorded("chat"), recorded("chat_streamed", streamed=True)
    assert whole.choices == streamed.choices
    assert whole.choices[0].text == "The symptoms of Wheezing after exercise can"
    assert whole.end_reason == streamed.end_reason == "length"
    assert whole.tokens == streamed.tokens
    assert whole.prompt_token_ids == streamed.prompt_token_ids
    assert (whole.prompt_tokens, whole.completion_tokens, whole.tokens_match) == (28, 8, True)
    assert (streamed.prompt_tokens, streamed.completion_tokens, streamed.tokens_match) == (28, 8, True)
    (tokens,) = whole.tokens
    assert tokens.ids == [504, 2336, 282, 5979, 20941, 990, 3388, 416]
    assert tokens.top_offsets == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert tokens.top_ids[:5] == [504, 2427, 57, 49, 1589]
    assert tokens.logprobs[0] == tokens.top_logprobs[0] == -1.891825795173645


@pytest.mark.parametrize("name", ["completion", "completion_streamed"])
def test_a_completion(name: str) -> None:
    exchange = recorded(name)
    assert exchange.choices[0].text == " responsible for breathing. They're"
    assert exchange.messages == [{"role": "user", "content": "The lungs are"}]
    assert exchange.prompt_token_ids == [504, 9351, 359]
    assert exchange.tokens[0].ids == [3358, 327, 6804, 30, 1069, 2316]
    assert exchange.tokens[0].top_offsets[-1] == 30
    assert exchange.tokens_match is True


@pytest.mark.parametrize("name", ["chat_hot", "completion_hot"])
def test_alternatives_are_in_order_and_hold_the_sampled_token_only_if_it_ranks(name: str) -> None:
    (tokens,) = recorded(name).tokens
    outside = 0
    for position, (token, logprob) in enumerate(zip(tokens.ids, tokens.logprobs, strict=True)):
        begin, end = tokens.top_offsets[position : position + 2]
        ranked = tokens.top_logprobs[begin:end]
        assert len(ranked) == 5
        assert ranked == sorted(ranked, reverse=True)
        listed = token in tokens.top_ids[begin:end]
        assert listed == (logprob >= ranked[-1])
        outside += not listed
    assert outside, "the recording at temperature 2 has a sampled token outside the top 5"


def test_several_choices() -> None:
    whole, streamed = recorded("chat_n2"), recorded("chat_n2_streamed")
    for exchange in (whole, streamed):
        assert [choice.index for choice in exchange.choices] == [0, 1]
        assert [tokens.choice for tokens in exchange.tokens] == [0, 1]
        assert all(len(tokens.ids) == 8 for tokens in exchange.tokens)
    assert whole.tokens_match is True
    assert streamed.tokens_match is None  # no usage was sent
    assert streamed.completion_tokens == 16
    batch = recorded("completion_batch")
    assert [message["content"] for message in batch.messages] == ["The lungs are", "The heart is"]
    assert len(batch.tokens) == 2


@pytest.mark.parametrize("name", ["chat_logprobs", "completion_logprobs"])
def test_a_clients_own_logprobs_leave_the_sampled_ones(name: str) -> None:
    (tokens,) = recorded(name, top_k=0).tokens
    plain = "chat" if "chat" in name else "completion"
    (full,) = recorded(plain).tokens
    assert tokens.ids == full.ids
    assert tokens.logprobs == full.logprobs
    assert tokens.top_ids == []
    assert tokens.top_offsets == [0] * (len(tokens.ids) + 1)


@given(st.sampled_from(sorted(PAIRS)), st.data())
def test_a_cut_anywhere_leaves_what_came_before(name: str, data: st.DataObject) -> None:
    pair = PAIRS[name]
    cut = data.draw(st.integers(0, len(pair.captured.body)))
    surface = "chat" if "chat" in pair.path else "completions"
    closed = {"end_reason": "client_left"}
    exchange = parse(raw(pair.captured.body[:cut], orjson.dumps(pair.request), closed, surface=surface))
    whole = parse(raw(pair.captured.body, orjson.dumps(pair.request), closed, surface=surface))
    assert exchange.end_reason == "client_left"
    in_full = {tokens.choice: tokens for tokens in whole.tokens}
    for got in exchange.tokens:
        assert got.ids == in_full[got.choice].ids[: len(got.ids)]
        assert len(got.top_offsets) == len(got.ids) + 1
        assert got.top_offsets[-1] == len(got.top_ids)


def test_an_error_inside_a_stream_is_an_error() -> None:
    stream = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: {"error":{"message":"no"}}\n\n'
    )
    exchange = parse(raw(stream))
    assert (exchange.end_reason, exchange.error, exchange.choices[0].text) == ("engine_error", "no", "a")


def test_ids_that_do_not_match_usage_are_said() -> None:
    body = orjson.loads(PAIRS["chat"].captured.body)
    body["usage"]["completion_tokens"] = 9
    assert parse(raw(orjson.dumps(body))).tokens_match is False
    body["usage"]["completion_tokens"] = 8
    body["choices"][0]["token_ids"] = body["choices"][0]["token_ids"][:-1]
    assert parse(raw(orjson.dumps(body))).tokens_match is False


def test_minus_infinity() -> None:
    top = [{"token": f"token_id:{i}", "logprob": p} for i, p in [(1, -0.5), (2, -9999.0)]]
    content = [{"token": "token_id:1", "logprob": -0.5, "top_logprobs": top}]
    body = {"choices": [{"index": 0, "message": {}, "logprobs": {"content": content}, "token_ids": [1]}]}
    assert parse(raw(orjson.dumps(body))).tokens[0].top_logprobs == [-0.5, -math.inf]


def test_tool_calls_are_laid_together() -> None:
    pieces: list[dict[str, Any]] = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "say", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}},
    ]
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    exchange = parse(raw(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)))
    assert exchange.choices[0].tool_calls == [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "say", "arguments": "{}"}},
    ]


def test_a_refused_call_is_an_exchange_too() -> None:
    closed = {"end_reason": "bad_request", "status": 400, "error": "not JSON", "finished_us": 1_000_100}
    exchange = parse(raw(b"", b"{nonsense", closed, model="", capture="off"))
    assert (exchange.messages, exchange.choices, exchange.error) == ([], [], "not JSON")


def test_what_no_proxy_spools_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be parsed"):
        parse(RawExchange("x", 0, {}, b"", b"", {}))


def test_a_conversation_is_a_session_or_a_beginning() -> None:
    def of(*texts: str, session: str = "", key: str = "clinic") -> str:
        turns = [
            {"role": role, "content": text} for role, text in zip(["system", "user"] * 2, texts, strict=False)
        ]
        return parse(raw(b"", orjson.dumps({"messages": turns}), session=session, key=key)).conversation

    assert of("s", "hello") == of("s", "hello", "x", "again")
    assert len({of("s", "hello"), of("t", "hello"), of("s", "hi"), of("s", "hello", key="other")}) == 4
    assert of("s", "hello", session="7") == "7"


def test_params_are_what_shapes_the_answer() -> None:
    assert recorded("chat_stop").params == {"max_tokens": 40, "temperature": 0, "seed": 1, "stop": ["."]}
