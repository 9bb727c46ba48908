"""What a request asked for besides its question, in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import parameters

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = [*parameters.SHOWN, "tools", "response_format", "text"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"stop": ["\n\n", "END"]}, ("stop", "“\\n\\n”, “END”")),
        ({"stop": "é"}, ("stop", "“é”")),
        ({"presence_penalty": 0.5}, ("presence penalty", "0.5")),
        ({"frequency_penalty": -1}, ("frequency penalty", "-1")),
        ({"max_output_tokens": 5}, ("max output tokens", "5")),
        ({"logprobs": True}, ("logprobs", "yes")),
        ({"top_logprobs": 3}, ("top logprobs", "3")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "chapter", "schema": {}}}},
            ("answer bound by a schema", "chapter"),
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "chapter", "schema": {}}}},
            ("answer bound by a schema", "chapter"),
        ),
        ({"response_format": {"type": "json_object"}}, ("answer bound to", "a JSON object")),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "a"}},
                    {"type": "function", "name": "b"},
                    {"type": "web_search"},
                ]
            },
            ("tools offered", "a, b, web_search"),
        ),
    ],
)
def test_what_was_sent_is_told_in_words(sent: dict[str, object], said: tuple[str, str]) -> None:
    assert parameters.told(sent) == [said]


def test_what_was_not_said_is_not_told() -> None:
    assert parameters.told({"temperature": None, "tools": [], "response_format": {"type": "text"}}) == []


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_was_sent_is_text(sent: dict[str, object]) -> None:
    assert all(isinstance(part, str) for pair in parameters.told(sent) for part in pair)


def test_many_tools_are_counted() -> None:
    (said,) = parameters.told({"tools": [{"name": f"t{n}"} for n in range(25)]})
    assert said[1].endswith("t19 and 5 more")
