"""Which bodies of POST /v1/feedback are feedback, and what is said to the others."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import feedback
from inference.feedback import Feedback, FeedbackError
from inference.uuid7 import uuid7

EXCHANGE = str(uuid7())
TRACE = "0af7651916cd43dd8448eb211c80319c"


def read(**body: Any) -> Feedback:
    return feedback.read(orjson.dumps(body))


def test_everything_that_may_be_said() -> None:
    found = read(
        exchange_id=EXCHANGE.upper(),
        thumbs="down",
        score=0.25,
        comment=" too vague ",
        correction="Respiratory",
        choice=1,
        user="u-7",
    )
    assert (found.exchange_id, found.trace_id) == (EXCHANGE, "")
    assert found.data == {
        "thumbs": "down",
        "score": 0.25,
        "comment": "too vague",
        "correction": "Respiratory",
        "choice": 1,
        "user": "u-7",
    }
    assert read(trace_id=TRACE.upper(), score=1) == Feedback("", TRACE, {"score": 1.0})
    assert feedback.read(orjson.dumps({"trace_id": TRACE, "score": 0}), "u-8").data["user"] == "u-8"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "exchange_id"),
        ({"thumbs": "up"}, "exchange_id"),
        ({"exchange_id": EXCHANGE, "trace_id": TRACE, "thumbs": "up"}, "exchange_id"),
        ({"exchange_id": "chatcmpl-1", "thumbs": "up"}, "exchange_id"),
        ({"exchange_id": "6f9619ff-8b86-4011-b42d-00c04fc964ff", "thumbs": "up"}, "exchange_id"),
        ({"exchange_id": 7, "thumbs": "up"}, "exchange_id"),
        ({"trace_id": "0" * 32, "thumbs": "up"}, "trace_id"),
        ({"trace_id": TRACE[:-1], "thumbs": "up"}, "trace_id"),
        ({"exchange_id": EXCHANGE}, None),
        ({"exchange_id": EXCHANGE, "comment": " \n"}, None),
        ({"exchange_id": EXCHANGE, "thumbs": "sideways"}, "thumbs"),
        ({"exchange_id": EXCHANGE, "thumbs": ["up"]}, "thumbs"),
        ({"exchange_id": EXCHANGE, "score": 1.01}, "score"),
        ({"exchange_id": EXCHANGE, "score": True}, "score"),
        ({"exchange_id": EXCHANGE, "score": "0.5"}, "score"),
        ({"exchange_id": EXCHANGE, "comment": 7}, "comment"),
        ({"exchange_id": EXCHANGE, "correction": "x" * 20_001}, "correction"),
        ({"exchange_id": EXCHANGE, "thumbs": "up", "choice": -1}, "choice"),
        ({"exchange_id": EXCHANGE, "thumbs": "up", "user": {}}, "user"),
        ({"exchange_id": EXCHANGE, "thumb": "up"}, "thumb"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str | None) -> None:
    with pytest.raises(FeedbackError) as raised:
        read(**body)
    assert raised.value.param == param
    assert raised.value.message.endswith(".")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"score": NaN}']
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(FeedbackError):
        feedback.read(body)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda one: st.lists(one, max_size=2))
)
def test_no_value_of_any_field_breaks_the_reader(value: Any) -> None:
    for name in ("exchange_id", "trace_id", "thumbs", "score", "comment", "correction", "choice", "user"):
        body = {"exchange_id": EXCHANGE, "comment": "x", name: value}
        try:
            found = feedback.read(orjson.dumps(body))
        except FeedbackError:
            continue
        assert orjson.loads(orjson.dumps(found.data)) == found.data
