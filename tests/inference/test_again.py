"""What is sent again is the same question, whole, of the named version."""

import orjson
import pytest

from inference import again


def test_the_question_stays_and_the_version_is_another() -> None:
    sent = {
        "model": "icd",
        "messages": [{"role": "user", "content": "é"}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u1",
    }
    assert again.body(orjson.dumps(sent), "tiny") == {
        "model": "version:tiny",
        "messages": sent["messages"],
        "temperature": 0,
        "stream": False,
    }


@pytest.mark.parametrize("request_body", [b"", b"\xff", b"[1]", b"[" * 10_000])
def test_what_is_no_request_is_said(request_body: bytes) -> None:
    with pytest.raises(again.NotAgainError):
        again.body(request_body, "tiny")
