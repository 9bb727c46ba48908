"""Conversations as people read them, and hostile text that stays text."""

import json
import shlex
from typing import Any

import pytest

from inference import reading


def test_a_text_too_long_for_markdown_stays_as_written_and_harmless() -> None:
    html = reading.markdown("**<script>alert(1)</script>** " * 10_000)
    assert html.startswith("<pre>**&lt;script&gt;")
    assert "<script" not in html
    assert "<strong>" not in html


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![pixel](https://evil.example/p.png)",
        '<a href="#" style="position:fixed">x</a>',
        "`<b>`<svg/onload=alert(1)>",
    ],
)
def test_markdown_lets_nothing_run_load_or_style(hostile: str) -> None:
    html = reading.markdown(hostile)
    assert "<script" not in html
    assert "<img" not in html
    assert "<svg" not in html
    assert 'href="javascript' not in html
    assert "<a" not in html or "style" not in html


def test_markdown_renders_what_models_write() -> None:
    html = reading.markdown("**J00–J99** and\n\n1. one\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert "<strong>J00–J99</strong>" in html
    assert html.count("<li>") == 2
    assert "<td>2</td>" in html


def test_links_lead_out_without_telling_where_from() -> None:
    assert 'rel="noopener noreferrer nofollow"' in reading.markdown("[x](https://example.org)")


def test_of_a_message_that_no_page_can_hold_the_beginning_is_shown() -> None:
    (turn,) = reading.turns([{"role": "user", "content": "x" * (reading.LONGEST_TURN + 7)}])
    assert (len(turn.text), turn.left_out) == (reading.LONGEST_TURN, 7)
    (turn,) = reading.turns([{"role": "user", "content": "x"}])
    assert turn.left_out == 0


def test_only_the_last_message_stands_unfolded() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "wheezing"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "find", "arguments": '{"q":1}'}}],
        },
        {
            "role": "user",
            "content": [{"type": "text", "text": "and this"}, {"type": "image_url", "image_url": {}}],
        },
    ]
    turns = reading.turns(messages)
    assert [turn.folded for turn in turns] == [True, True, True, False]
    assert turns[2].calls[0].name == "find"
    assert json.loads(turns[2].calls[0].arguments) == {"q": 1}
    assert turns[3].text == "and this\n[image]"
    assert reading.asked(messages) == "and this\n[image]"


def test_messages_of_no_known_form_are_shown_and_never_an_error() -> None:
    odd: list[dict[str, Any]] = [
        {"content": {"x": 1}},
        {"role": "oracle", "content": ["a", 3]},
        {"tool_calls": "nonsense"},
    ]
    assert [turn.text for turn in reading.turns(odd)] == ['{"x": 1}', "a\n3", ""]
    assert reading.turns([]) == []
    assert reading.asked([]) == ""
    assert reading.calls([{"function": {"name": "f", "arguments": "{not json"}}])[0].arguments == "{not json"


def test_the_curl_line_is_one_shell_command_with_the_very_body() -> None:
    body = b'{"messages":[{"role":"user","content":"it\'s $HOME `id`"}]}'
    words = shlex.split(reading.as_curl("http://127.0.0.1:8080", "chat", body).replace("\\\n", " "))
    assert words[1] == "http://127.0.0.1:8080/v1/chat/completions"
    assert words[-1].encode() == body
    assert "Bearer $FLYWHEEL_KEY" in words[3]


PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_pictures_that_came_along_are_shown_and_none_is_fetched() -> None:
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "input_image", "image_url": PIXEL},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://tracker.example/p.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zz4="}},
        {"type": "image_url", "image_url": {"url": 'data:image/png;base64,x" onerror="alert(1)'}},
        {"type": "image_url", "image_url": {"url": "javascript:alert(1)"}},
        {"type": "image", "source": {"media_type": None, "data": {"a": 1}}},
        "loose",
        None,
    ]
    assert reading.images(parts) == [PIXEL] * 3
    assert reading.images("text") == reading.images(None) == []
    (turn,) = reading.turns([{"role": "user", "content": parts}])
    assert turn.images == [PIXEL] * 3
    assert turn.text.startswith("what is this?\n[image]\n")


def test_long_json_is_laid_out_and_short_or_broken_is_left() -> None:
    long = json.dumps({"findings": ["wheezing"] * 20})
    assert reading.laid_out(long).startswith('{\n  "findings": [\n    "wheezing",')
    assert reading.laid_out('{"a": 1}') == reading.laid_out("plain words " * 20) == ""
    assert reading.laid_out(long[:-1]) == ""


def test_json_nested_ten_thousand_deep_breaks_nothing() -> None:
    deep = "[" * 10_000 + "]" * 10_000
    assert reading.laid_out(deep) == ""
    (call,) = reading.calls([{"function": {"name": "f", "arguments": deep}}])
    assert call.arguments == deep
