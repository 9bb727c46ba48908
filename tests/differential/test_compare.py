"""The comparison sees what must not differ, and nothing else."""

from dataclasses import replace

import pytest

from tests.differential.compare import Answer, difference
from tests.differential.shapes import CHAT, TEXT, paths_served, shapes
from tests.inference.recorded import PAIRS


def answer(name: str) -> Answer:
    """What the engine gave to a plain request."""
    plain = PAIRS[name].plain
    return Answer(plain.status, {"content-type": plain.type}, plain.body)


def through(direct: Answer, old: bytes = b"", new: bytes = b"") -> Answer:
    """The same through a proxy that changes something."""
    body = direct.body.replace(b'"model":"smollm2-135m"', b'"model":"desk"')
    assert old in body
    return replace(direct, body=body.replace(old, new, 1) if old else body)


def differs(direct: Answer, proxied: Answer) -> str:
    return difference(direct, proxied, served="smollm2-135m", public="desk")


@pytest.mark.parametrize(
    "name", ["chat", "chat_streamed_usage", "chat_n2_streamed", "completion", "chat_bad"]
)
def test_the_public_name_and_other_ids_are_no_difference(name: str) -> None:
    direct = answer(name)
    assert differs(direct, through(direct)) == ""
    if b'"created":' in direct.body:
        assert differs(direct, through(direct, b'"created":1', b'"created":2')) == ""
        assert differs(direct, through(direct, b'"id":"', b'"id":"x')) == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "seen"),
    [
        ("chat", b"Wheezing", b"wheezing", "content"),
        ("chat", b'"finish_reason":"length"', b'"finish_reason":"stop"', "finish_reason"),
        ("chat", b'"completion_tokens":8', b'"completion_tokens":9', "completion_tokens"),
        ("chat", b'"logprobs":null,', b"", "logprobs vanished"),
        ("chat", b'"logprobs":null,', b'"logprobs":null,"more":null,', "more appeared"),
        ("chat", b'"model":"desk"', b'"model":"smollm2-135m"', "model"),
        ("chat_streamed", b'"content":"The"', b'"content":"the"', "content"),
        ("chat_streamed", b'"logprobs":null', b'"logprobs":{"content":[{"token":"x"}]}', "lists"),
        ("chat_streamed", b'"token_ids":null', b'"token_ids":[1]', "token_ids"),
        ("chat_streamed", b"data: [DONE]\n\n", b"", "done"),
        ("chat_streamed_usage", b'"completion_tokens":8', b'"completion_tokens":9', "completion_tokens"),
        ("chat_streamed", b"data: [DONE]", b'data: {"choices":[],"usage":{"a":1}}\n\ndata: [DONE]', "usage"),
        ("chat_bad", b"temperature", b"heat", "message"),
    ],
)
def test_what_a_client_could_see_is_a_difference(name: str, old: bytes, new: bytes, seen: str) -> None:
    direct = answer(name)
    found = differs(direct, through(direct, old, new))
    assert seen in found
    assert found


def test_status_headers_and_a_broken_answer_count() -> None:
    direct = answer("chat_streamed")
    assert "status" in differs(direct, replace(through(direct), status=500))
    assert "x-more" in differs(direct, replace(through(direct), headers={**direct.headers, "x-more": "1"}))
    ours = {**direct.headers, "x-flywheel-exchange-id": "1", "x-request-id": "1"}
    assert differs(direct, replace(through(direct), headers=ours)) == ""
    broken = replace(direct, is_broken=True)
    assert "broke off" in differs(direct, replace(through(direct), is_broken=True))
    assert "broke off" in differs(broken, through(direct)), "a broken answer must not look whole"
    said = through(direct, b"data: [DONE]", b'data: {"error":{"message":"x"}}')
    assert differs(broken, said) == ""


def test_how_a_stream_is_cut_is_no_difference() -> None:
    direct = answer("chat_streamed")
    joined = through(direct, b'{"content":"The"}', b'{"content":"The symptoms"}')
    assert differs(direct, replace(joined, body=joined.body.replace(b'" symptoms"', b'""'))) == ""


@pytest.mark.slow
def test_shapes_are_many_and_the_same_each_time() -> None:
    made = shapes(60, (CHAT, TEXT), about_the_prompt=False)
    assert [str(shape) for shape in made] == [
        str(s) for s in shapes(60, (CHAT, TEXT), about_the_prompt=False)
    ]
    assert len({str(shape) for shape in made}) == 60
    assert {shape.path for shape in made} == {CHAT, TEXT}
    assert {bool(shape.body.get("stream")) for shape in made} == {True, False}
    assert not any(shape.asks_about_the_prompt for shape in made)
    assert CHAT in paths_served()
