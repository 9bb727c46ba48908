"""What one stream has learned serves the next, and only where that is laid out the same."""

from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.capture import Plan, Stream, plan
from inference.cutting import Cut
from inference.layouts import Layouts
from inference.surfaces import CHAT, SURFACES
from tests.inference.recorded import PAIRS
from tests.inference.test_cutting import STREAMED, logprobs, slowly, values

OF = ("chat", "m", "desk")


def planned() -> Plan:
    return plan(CHAT, {"stream": True}, served="m", public="desk", capture="wire", top_k=5)


def event(finish: str | None = None, **head: Any) -> bytes:
    """An event with one token."""
    choice = {
        "index": 0,
        "delta": {"content": "a"},
        "logprobs": logprobs("chat", [7]),
        "finish_reason": finish,
        "token_ids": [7],
    }
    usual = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + orjson.dumps({**usual, **head, "choices": [choice]}) + b"\n\n"


def learned() -> Layouts:
    layouts, made = Layouts(), planned()
    Stream(made, layouts).feed(event())
    assert layouts.find(OF, event(id="other", created=2)) is not None
    return layouts


@pytest.mark.parametrize("name", STREAMED)
def test_the_second_stream_of_a_model_learns_nothing_anew(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = PAIRS[name]
    made = plan(
        SURFACES[pair.path], pair.request, served="smollm2-135m", public="desk", capture="wire", top_k=5
    )
    layouts, learning = Layouts(), count()
    first = Stream(made, layouts)
    given_first = first.feed(pair.captured.body)
    if not first._learns:
        return
    learn = Cut.learn
    monkeypatch.setattr(Cut, "learn", lambda *given: (next(learning), learn(*given))[1])
    second = Stream(made, layouts)
    assert second.feed(pair.captured.body) == given_first
    assert second.held() == first.held()
    assert next(learning) == 0


@given(st.text(max_size=9), st.integers(-9, 2**70))
def test_whatever_its_id_and_time_a_stream_comes_out_as_if_it_were_alone(ident: str, created: int) -> None:
    head: dict[str, Any] = {"id": ident, "created": created}
    try:
        events = [event(**head), event(**head), event("stop", **head), b"data: [DONE]\n\n"]
    except TypeError:  # a number or a text that is none in JSON
        return
    made = planned()
    running = Stream(made, learned())
    sent = b"".join(running.feed(one) for one in events)
    expected, expected_held = slowly(made, events)
    assert values(sent) == values(expected)
    assert values(running.held()) == values(expected_held)


@pytest.mark.parametrize(
    "other",
    [
        event(model="another"),
        event(object="text_completion"),
        event(id='with "quotes"'),
        event(id="back\\slash"),
        event(created="1"),
        event(created=1.5),
        event(system_fingerprint="f"),
        event().replace(b'"id"', b' "id"'),
        event().replace(b',"object":"chat.completion.chunk"', b""),
        b'data: {"id":"',
        b"data: [DONE]\n\n",
        b"",
    ],
)
def test_what_is_laid_out_otherwise_is_not_taken_for_known(other: bytes) -> None:
    assert learned().find(OF, other) is None


def test_a_layout_is_known_of_its_own_model_alone() -> None:
    assert learned().find(("chat", "m", "front"), event()) is None
