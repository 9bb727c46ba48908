"""Cutting bytes gives what reading and writing JSON gives: whatever the text, however the stream is cut."""

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.capture import Plan, Stream, clean_body, plan
from inference.cutting import without_ids, without_logprobs
from inference.layouts import Layouts
from inference.sse import DONE, Splitter, payload
from inference.surfaces import CHAT, NAMED, SURFACES
from tests.inference.recorded import PAIRS

STREAMED = sorted(name for name, pair in PAIRS.items() if "event-stream" in pair.plain.type)
HOSTILE = (
    *('","logprobs":{"content":[', ',"logprobs":{', ']},"finish_reason":null,"token_ids":[', "]}]}\n\n"),
    *('"finish_reason":"stop"', '"finish_reason":null', '\n\ndata: {"id":"x"', '"model":"m"', '","delta":{}'),
    *(
        '"',
        "\\",
        '\\"',
        "{",
        "}",
        "{}",
        "[",
        "]",
        "\r\n\r\n",
        "\n\n",
        "[DONE]",
        '{"error":1}',
        "é",
        "𝄞",
        "\u2028",
    ),
)
WISHES: list[dict[str, Any]] = [{}, {}, {}, {"return_token_ids": True}, {"logprobs": 1}]
TEXT = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=6), max_size=4).map("".join)
IDS = st.integers(0, 200_000)


def entry(token: int) -> dict[str, Any]:
    text = f"token_id:{token}"
    return {"token": text, "logprob": -1.25, "bytes": list(text.encode())}


def logprobs(surface: str, ids: list[int]) -> dict[str, Any]:
    if surface == "chat":
        return {"content": [{**entry(i), "top_logprobs": [entry(i), entry(i + 1)]} for i in ids]}
    return {
        "text_offset": [0] * len(ids),
        "token_logprobs": [-1.25] * len(ids),
        "tokens": [f"token_id:{i}" for i in ids],
        "top_logprobs": [{f"token_id:{i}": -1.25, f"token_id:{i + 1}": -2.5} for i in ids],
    }


DELTAS = st.one_of(
    st.just({}),
    TEXT.map(lambda text: {"content": text}),
    TEXT.map(lambda text: {"reasoning": text}),
    TEXT.map(lambda text: {"content": text, "extra": [text]}),
    TEXT.map(lambda text: {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": text}}]}),
    st.builds(lambda text, other: {"role": text, "logprobs": {"content": [other]}}, TEXT, TEXT),
)


@st.composite
def choice(draw: st.DrawFn, surface: str, index: int, *, finish: str | None) -> dict[str, Any]:
    """One choice of one event, as vLLM lays it out for chats and for completions; sometimes otherwise."""
    ids = draw(st.lists(IDS, max_size=3))
    has_logprobs = bool(ids) or draw(st.booleans())
    found = logprobs(surface, ids) if has_logprobs else None
    made: dict[str, Any] = {"index": index}
    made |= {"delta": draw(DELTAS)} if surface == "chat" else {"text": draw(TEXT)}
    made |= {"logprobs": found, "finish_reason": finish}
    if surface == "completions":
        made |= {"stop_reason": None, "prompt_token_ids": draw(st.sampled_from([None, [1, 2]]))}
    elif finish or draw(st.integers(0, 9)) == 0:
        made["stop_reason"] = draw(st.sampled_from([None, 5, 'a"b']))
    made["token_ids"] = ids if found is not None else None
    if draw(st.integers(0, 19)) == 0:
        made = {name: made[name] for name in draw(st.permutations(list(made)))}
    return made


def dump(message: Any, *, spaced: bool) -> bytes:
    text = json.dumps(message, ensure_ascii=False, separators=None if spaced else (",", ":"))
    return text.encode()


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, Plan, list[bytes]]:
    """A surface, a plan, and the events that an engine might answer with."""
    surface = draw(st.sampled_from(["chat", "completions"]))
    count = draw(st.integers(1, 3))
    wish = draw(st.sampled_from(WISHES))
    made = plan(
        NAMED[surface],
        {"model": "desk", "stream": True, "n": count, **wish},
        served="m",
        public=draw(st.sampled_from(["desk", 'de"sk\\', "m"])),
        capture=draw(st.sampled_from(["wire", "wire", "wire", "off"])),
        top_k=5,
    )
    head = {"id": draw(st.sampled_from(["chatcmpl-1", 'a"b'])), "object": "o", "created": 17, "model": "m"}
    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 12))):
        several = 2 if draw(st.integers(0, 19)) == 0 else 1
        indices = draw(st.lists(st.integers(0, count - 1), min_size=several, max_size=several))
        choices = [draw(choice(surface, index, finish=None)) for index in indices]
        more: dict[str, Any] = {"usage": {"total_tokens": 3}} if draw(st.integers(0, 19)) == 0 else {}
        if draw(st.integers(0, 19)) == 0:
            more["prompt_token_ids"] = [1, 2, 3]
        messages.append({**head, "choices": choices, **more})
    finishing = [draw(choice(surface, index, finish="stop")) for index in range(count)]
    messages += [{**head, "choices": [one]} for one in finishing]
    if draw(st.booleans()):
        last = {"choices": [], "usage": {"total_tokens": 3}, "system_fingerprint": "f"}
        messages.append({**head, **last})
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"]))
    spaced = draw(st.integers(0, 9)) == 0
    events = [b"data: " + dump(message, spaced=spaced) + end + end for message in messages]
    return surface, made, [*events, b"data: [DONE]" + end + end]


def values(sent: bytes) -> list[Any]:
    found = [payload(one) or b"" for one in Splitter().feed(sent)]
    return [one if one == DONE else orjson.loads(one) for one in found]


def slowly(made: Plan, events: list[bytes]) -> tuple[bytes, bytes]:
    """Event by event, each read and written as JSON: nothing is learned from one for the next."""
    running = Stream(made)
    running._learns = False
    sent = b"".join(running.feed(event) for event in events)
    assert running.ended
    return sent, running.held()


def quickly(made: Plan, chunks: list[bytes], layouts: Layouts | None = None) -> tuple[bytes, bytes]:
    running = Stream(made, layouts)
    sent = b"".join([running.feed(chunk) for chunk in chunks] + [running.finish()])
    assert running.ended
    assert not running.broken
    return sent, running.held()


@pytest.mark.slow
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(streams(), st.lists(st.floats(0, 1), max_size=6))
def test_a_stream_cut_in_bytes_is_the_one_read_as_json(
    found: tuple[str, Plan, list[bytes]], cuts: list[float]
) -> None:
    _, made, events = found
    body = b"".join(events)
    places = sorted({0, len(body), *(int(share * len(body)) for share in cuts)})
    chunks = [body[a:b] for a, b in pairwise(places)]
    expected, expected_held = slowly(made, events)
    layouts = Layouts()
    for _ in range(2):  # the second time with what the first has learned
        sent, held = quickly(made, chunks, layouts)
        assert values(sent) == values(expected)
        assert values(held) == values(expected_held)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_body_cut_in_bytes_is_the_one_read_as_json(data: st.DataObject) -> None:
    surface = data.draw(st.sampled_from(["chat", "completions"]))
    wish = data.draw(st.sampled_from(WISHES))
    made = plan(
        NAMED[surface],
        {"model": "desk", **wish},
        served="m",
        public='de"sk',
        capture="wire",
        top_k=5,
    )
    choices = [
        data.draw(choice(surface, index, finish="stop")) for index in range(data.draw(st.integers(1, 3)))
    ]
    message = {"id": "x", "model": "m", "choices": choices, "prompt_token_ids": [1, 2], "usage": {}}
    cut, read = (clean_body(made, dump(message, spaced=spaced)) for spaced in (False, True))
    assert orjson.loads(cut) == orjson.loads(read)


NO_TOKENS: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
ONE_TOKEN = {"text_offset": [0], "token_logprobs": [-1.25], "tokens": ["a"], "top_logprobs": [{"a": -1.25}]}
ENDED = {"finish_reason": None, "stop_reason": None, "token_ids": [0]}


@pytest.mark.parametrize("finish", ["stop", None])
def test_logprobs_at_a_choices_end_do_not_reach_into_the_next_choice(finish: str | None) -> None:
    ended = ENDED | {"finish_reason": finish}
    choices: list[dict[str, Any]] = [
        {"index": 0, "text": "one", **ended, "logprobs": NO_TOKENS},
        {"index": 1, "text": "two", "logprobs": ONE_TOKEN, **ended},
    ]
    made = plan(NAMED["completions"], {"model": "desk"}, served="m", public="desk", capture="wire", top_k=5)
    message = {"id": "x", "model": "m", "choices": choices}
    cleaned = orjson.loads(clean_body(made, dump(message, spaced=False)))
    assert [one["text"] for one in cleaned["choices"]] == ["one", "two"]


def test_an_event_of_two_choices_keeps_both_though_another_layout_was_learned() -> None:
    made = plan(
        NAMED["completions"],
        {"model": "desk", "stream": True},
        served="m",
        public="desk",
        capture="wire",
        top_k=5,
    )
    usual = {"index": 0, "text": "one", "logprobs": ONE_TOKEN, **ENDED}
    other = {"index": 0, "text": "two", **ENDED, "logprobs": NO_TOKENS}
    running = Stream(made)
    sent = b""
    for choices in ([usual], [usual], [other, {**usual, "index": 1, "text": "three"}]):
        message = {"id": "x", "model": "m", "choices": choices}
        sent += running.feed(b"data: " + dump(message, spaced=False) + b"\n\n")
    told = [one["text"] for event in values(sent) for one in event["choices"]]
    assert told == ["one", "one", "two", "three"]


@pytest.mark.parametrize("size", [1, 7, 700, 100_000])
@pytest.mark.parametrize("name", STREAMED)
def test_recorded_streams_come_out_the_same_however_they_are_cut(name: str, size: int) -> None:
    pair = PAIRS[name]
    body = pair.captured.body
    made = plan(
        SURFACES[pair.path],
        pair.request,
        served="smollm2-135m",
        public="desk",
        capture="wire",
        top_k=5,
    )
    (sent, held), (expected, expected_held) = (
        quickly(made, [body[at : at + size] for at in range(0, len(body), size)]),
        slowly(made, Splitter().feed(body)),
    )
    assert values(sent) == values(expected)
    assert values(held) == values(expected_held)


@pytest.mark.interpreted
@pytest.mark.parametrize("name", STREAMED)
def test_the_layout_of_a_real_stream_is_learned(name: str) -> None:
    """Otherwise all the tests here compare the slow way with itself."""
    pair = PAIRS[name]
    made = plan(
        SURFACES[pair.path], pair.request, served="smollm2-135m", public="desk", capture="wire", top_k=5
    )
    running, seen = Stream(made), []
    if not running._learns:
        return
    take = running._take_event

    def watched(raw: bytes) -> bytes:
        seen.append(raw)
        return take(raw)

    running._take_event = watched  # type: ignore[method-assign]
    running.feed(pair.captured.body)
    slow = [one for one in seen if b'"finish_reason":null' in one and b'"logprobs":{' in one]
    assert len([one for one in slow if b'"tool_calls"' not in one]) <= 2 * made.choices


def test_a_stream_that_can_not_be_read_on_says_so_and_gives_what_came_before() -> None:
    pair = PAIRS["chat_streamed"]
    made = plan(CHAT, pair.request, served="smollm2-135m", public="desk", capture="wire", top_k=5)
    first = Splitter().feed(pair.captured.body)[0]
    running = Stream(made)
    assert running.feed(first + b"data: {oops\n\n" + first)
    assert "can't be read" in running.broken
    assert running.feed(first) == b""


def test_an_event_without_end_is_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.capture.MOST_BYTES", 1000)
    made = plan(CHAT, {"stream": True}, served="m", public="p", capture="off", top_k=5)
    for body in (b"x" * 900, b"data: x\n" + b"y" * 900):
        running = Stream(made)
        assert running.feed(body) == b""
        assert not running.broken
        running.feed(b"z" * 200)
        assert "1000" in running.broken


def test_the_last_event_may_lack_its_blank_line() -> None:
    made = plan(CHAT, {"stream": True}, served="m", public="p", capture="off", top_k=5)
    running = Stream(made)
    assert running.feed(b'data: {"choices":[]}\n\ndata: [DO') == b'data: {"choices":[]}\n\n'
    assert running.feed(b"NE]") == running.finish() == b""
    assert running.ended
    assert running.held() == b"data: [DONE]"


@pytest.mark.parametrize("capture", ["wire", "off"])
def test_one_event_may_go_on_with_one_choice_and_finish_another(capture: str) -> None:
    made = plan(CHAT, {"stream": True, "n": 2}, served="m", public="p", capture=capture, top_k=5)

    def said(index: int, finish: str | None) -> dict[str, Any]:
        found = logprobs("chat", [7]) if capture == "wire" else None
        told = {"index": index, "delta": {"content": "a"}, "logprobs": found, "finish_reason": finish}
        return {**told, "token_ids": [7] if found else None}

    def one(*choices: dict[str, Any]) -> bytes:
        message = {"id": "x", "object": "o", "created": 1, "model": "m", "choices": choices}
        return b"data: " + dump(message, spaced=False) + b"\n\n"

    first, both, last = one(said(0, None)), one(said(0, None), said(1, "stop")), one(said(0, "stop"))
    running = Stream(made)
    assert values(running.feed(first + first + both))
    assert not running.ended
    assert running.feed(last) == b""
    assert running.ended
    assert values(running.held())[0]["choices"][0]["finish_reason"] == "stop"


def test_what_stands_between_the_logprobs_and_the_finish_is_not_cut_away() -> None:
    answer = b'{"choices":[{"index":0,"logprobs":{"content":[]},"other":{"a":[1]},"finish_reason":"stop"}]}'
    assert without_logprobs(answer) is None
    # Whatever letters it is written with.
    assert (
        without_logprobs(answer.replace(b"other", b"spent").replace(b'"a":[1]', b'"n":[{"n":[1]}]')) is None
    )
    assert without_logprobs(answer.replace(b',"other":{"a":[1]}', b"")) is not None


def test_what_stands_there_in_one_event_alone_is_not_cut_away() -> None:
    """The stream's other events are as they were learned."""
    made = plan(CHAT, {"stream": True}, served="m", public="desk", capture="wire", top_k=1)

    def event(text: str, more: bytes = b"") -> bytes:
        choice = {
            "index": 0,
            "delta": {"content": text},
            "logprobs": logprobs("chat", [7]),
            "finish_reason": None,
        }
        said = {"id": "x", "model": "m", "choices": [{**choice, "token_ids": [7]}]}
        return (
            b"data: " + orjson.dumps(said).replace(b',"finish_reason"', more + b',"finish_reason"') + b"\n\n"
        )

    running = Stream(made)
    running.feed(event("one"))
    odd = values(running.feed(event("two", b',"spent":{"n":[{"n":[1]}]}')))
    assert odd[0]["choices"][0]["spent"] == {"n": [{"n": [1]}]}
    assert odd[0]["choices"][0]["logprobs"] is None


def test_a_name_that_only_ends_as_ids_do_stays() -> None:
    answer = b'{"my_token_ids":[1,2],"token_ids":[3],"prompt_token_ids":[4],"other":{"token_ids":null}}'
    expected = b'{"my_token_ids":[1,2],"token_ids":null,"prompt_token_ids":null,"other":{"token_ids":null}}'
    assert without_ids(answer) == expected


@pytest.mark.parametrize(
    ("before", "inside"),
    [
        (b"event: odd\n", b""),  # a line of the next event, whole
        (b"id: 1", b""),  # and in the midst of it
        (b"", b"\r"),  # an end of a line, where none may be
    ],
)
def test_what_waits_or_is_no_plain_line_is_never_overtaken(before: bytes, inside: bytes) -> None:
    """A whole event of tokens in a chunk of its own is as much as the same bytes in one chunk."""
    pair = PAIRS["chat_streamed"]
    made = plan(CHAT, {**pair.request, "model": "desk"}, served="m", public="desk", capture="wire", top_k=5)
    events = [one + b"\n\n" for one in pair.captured.body.split(b"\n\n") if b'"logprobs":{' in one]
    odd = events[2].replace(b'"content":"', b'"content":"' + inside, 1)
    assert inside in odd
    chunks = [events[0], events[1], before, odd, events[1]]
    apart, joined = Stream(made), Stream(made)
    got = b"".join(apart.feed(chunk) for chunk in chunks)
    assert (got, apart.broken) == (joined.feed(b"".join(chunks)), joined.broken)


@pytest.mark.parametrize("capture", ["wire", "off"])
@pytest.mark.parametrize("size", [0, 1, 97, 5000])
@pytest.mark.parametrize("name", STREAMED)
def test_what_comes_together_in_pieces_is_as_much_as_in_one(name: str, size: int, capture: str) -> None:
    """Pieces are an event each, as engines send them (0), or cut anywhere."""
    pair = PAIRS[name]
    body = pair.captured.body
    made = plan(
        SURFACES[pair.path], pair.request, served="smollm2-135m", public="desk", capture=capture, top_k=5
    )
    parts = [body[at : at + size] for at in range(0, len(body), size)] if size else Splitter().feed(body)
    together, joined = Stream(made), Stream(made)
    seen = together.feed_all(parts) + together.finish() + together.held()
    assert values(seen) == values(joined.feed(body) + joined.finish() + joined.held())
    assert (together.ended, together.broken, together.error) == (joined.ended, joined.broken, joined.error)


def test_after_the_end_tokens_are_held_too() -> None:
    pair = PAIRS["chat_streamed"]
    made = plan(CHAT, {**pair.request, "model": "desk"}, served="m", public="desk", capture="wire", top_k=5)
    running = Stream(made)
    running.feed(pair.captured.body)
    assert running.ended
    token = next(one for one in pair.captured.body.split(b"\n\n") if b'"logprobs":{' in one) + b"\n\n"
    assert running.feed(token) == b""
