"""Requests to try: valid and invalid, streamed and not, the same ones at every run.

Each starts from a small valid request, gets a few options, and one in four gets something wrong. Answers are
a few tokens long and drawn greedily or from a seed, so that the same request gives the same answer twice.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from inference.surfaces import SURFACES

CHAT, TEXT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
TOKENIZE, DETOKENIZE = "/tokenize", "/detokenize"
Options = dict[str, st.SearchStrategy[Any]]
Body = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """One request: the body is without its model, which has two names."""

    path: str
    body: Body

    @property
    def asks_about_the_prompt(self) -> bool:
        """Whether logprobs of the prompt are wanted: with adapters, the CPU's engine dies of it."""
        return self.body.get("prompt_logprobs") is not None or bool(
            self.body.get("echo") and self.body.get("logprobs") is not None
        )

    def __str__(self) -> str:
        return f"{self.path} {json.dumps(self.body)}"


_WORDS = st.sampled_from(
    ["wheezing after exercise", "naïve 😀 “quote” \\ \n\t", '"logprobs":{"content":[]}', "token_id:504", ""]
)
_SHORT = st.sampled_from([1, 2, 3, 4, 5, 6, 6])
_SCHEMA = {
    "type": "object",
    "properties": {"desk": {"type": "string", "enum": ["a", "b"]}},
    "required": ["desk"],
    "additionalProperties": False,
}
_TOOL = {"type": "function", "function": {"name": "route", "description": "x", "parameters": _SCHEMA}}
_OTHER_TOOL = {"type": "function", "function": {"name": "stop", "parameters": {"type": "object"}}}
_WRONG = st.sampled_from([None, "x", "", -1, 0, 1.5, [], {}, True, 10**30, [None], {"a": [1]}])

_SAMPLING: Options = {
    "n": st.sampled_from([1, 2, 3]),
    "stop": st.sampled_from([".", ["\n", "e"], [" a", "the"], [], ["x"] * 5]),
    "stop_token_ids": st.sampled_from([[28], [], [504, 30]]),
    "include_stop_str_in_output": st.booleans(),
    "seed": st.sampled_from([0, 1, 2**40, -(2**62), 2**70]),
    "stream_options": st.sampled_from(
        [
            None,
            {},
            {"include_usage": True},
            {"include_usage": False},
            {"include_usage": True, "continuous_usage_stats": True},
            {"continuous_usage_stats": True},
        ]
    ),
    "return_token_ids": st.booleans(),
    "return_tokens_as_token_ids": st.booleans(),
    "presence_penalty": st.sampled_from([0.5, -2, 9]),
    "frequency_penalty": st.sampled_from([0.5, 3]),
    "repetition_penalty": st.sampled_from([1.1, 0]),
    "logit_bias": st.sampled_from([{"504": -100}, {"28": 5.0}, {"9999999": 1}, {"x": 1}]),
    "min_tokens": st.sampled_from([2, 9]),
    "min_p": st.sampled_from([0.1, 2]),
    "top_p": st.sampled_from([0.9, 1, 0, 2]),
    "top_k": st.sampled_from([5, -1, 0]),
    "ignore_eos": st.booleans(),
    "skip_special_tokens": st.booleans(),
    "spaces_between_special_tokens": st.booleans(),
    "bad_words": st.just(["the"]),
    "allowed_token_ids": st.sampled_from([[504, 28, 30], []]),
    "truncate_prompt_tokens": st.sampled_from([4, -1]),
    "logprob_token_ids": st.just([504, 28]),
    "priority": st.sampled_from([0, 1]),
    "request_id": st.just("abc"),
    "cache_salt": st.sampled_from(["salt", ""]),
    "user": st.just("u"),
    "nonsense": st.just({"a": [1]}),
    "structured_outputs": st.sampled_from(
        [{"choice": ["yes", "no"]}, {"regex": "[ab]{2}"}, {"json": _SCHEMA}, {"regex": "("}, {}]
    ),
    "add_special_tokens": st.booleans(),
    "vllm_xargs": st.sampled_from([{"a": 1}, "x"]),
    "temperature": st.sampled_from([0.0, -1, 3, 0.7]),
}
_CHAT_OPTIONS: Options = {
    **_SAMPLING,
    "logprobs": st.booleans(),
    "top_logprobs": st.sampled_from([0, 1, 2, 5, 20, 21, -2]),
    "prompt_logprobs": st.sampled_from([0, 1, 3, -1]),
    "response_format": st.sampled_from(
        [
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "desk", "schema": _SCHEMA}},
            {"type": "json_schema"},
            {"type": "other"},
        ]
    ),
    "tools": st.sampled_from([[_TOOL], [_TOOL, _OTHER_TOOL], []]),
    "tool_choice": st.sampled_from(["auto", "none", "required"])
    | st.sampled_from([{"type": "function", "function": {"name": name}} for name in ("route", "nobody")]),
    "parallel_tool_calls": st.booleans(),
    "max_completion_tokens": st.sampled_from([3, 0]),
    "add_generation_prompt": st.booleans(),
    "continue_final_message": st.booleans(),
    "echo": st.booleans(),
    "documents": st.just([{"title": "a", "text": "b"}]),
    "chat_template_kwargs": st.sampled_from([{}, {"enable_thinking": False}]),
    "include_reasoning": st.booleans(),
    "reasoning_effort": st.sampled_from(["low", "much"]),
    "metadata": st.just({"a": "b"}),
    "service_tier": st.just("auto"),
    "store": st.booleans(),
}
_TEXT_OPTIONS: Options = {
    **_SAMPLING,
    "logprobs": st.sampled_from([0, 1, 2, 20, 21, -1]),
    "prompt_logprobs": st.sampled_from([0, 2, -1]),
    "echo": st.booleans(),
    "suffix": st.just("end"),
    "best_of": st.sampled_from([1, 2]),
    "use_beam_search": st.just(True),
    "length_penalty": st.just(1.5),
    "response_format": st.just({"type": "json_object"}),
}
_RESPONSES_OPTIONS: Options = {
    "instructions": st.just("Be short."),
    "temperature": st.sampled_from([0.0, -1, 3]),
    "top_p": st.sampled_from([0.9, 2]),
    "top_logprobs": st.sampled_from([0, 2, 21]),
    "include": st.sampled_from([["message.output_text.logprobs"], []]),
    "text": st.sampled_from(
        [{"format": {"type": "text"}}, {"format": {"type": "json_schema", "name": "d", "schema": _SCHEMA}}]
    ),
    "tools": st.sampled_from(
        [[], [{"type": "function", "name": "route", "parameters": _SCHEMA, "strict": True}]]
    ),
    "tool_choice": st.sampled_from(["auto", "none", "required"]),
    "store": st.just(False),
    "truncation": st.sampled_from(["auto", "disabled", "other"]),
    "metadata": st.just({"a": "b"}),
    "user": st.just("u"),
    "nonsense": st.just(1),
    "previous_response_id": st.just("resp_nothing"),
}
_MESSAGES_OPTIONS: Options = {
    "system": st.sampled_from(["Be short.", [{"type": "text", "text": "Be short."}]]),
    "temperature": st.sampled_from([0.0, -1]),
    "stop_sequences": st.sampled_from([["."], []]),
    "top_k": st.just(5),
    "top_p": st.just(0.9),
    "tools": st.just([{"name": "route", "input_schema": _SCHEMA}]),
    "tool_choice": st.sampled_from([{"type": "any"}, {"type": "auto"}, {"type": "tool", "name": "route"}]),
    "metadata": st.just({"user_id": "u"}),
    "nonsense": st.just(1),
}
_TOKENIZE_OPTIONS: Options = {
    "add_special_tokens": st.booleans(),
    "return_token_strs": st.booleans(),
    "nonsense": st.just(1),
}


def _rarely(odd: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Once in ten times the odd one."""
    return st.integers(0, 9).flatmap(lambda number: odd if number == 9 else usual)


_SAID = st.sampled_from(["user", "user", "user", "system", "assistant"])
_MESSAGE = st.fixed_dictionaries(
    {"role": _SAID, "content": _WORDS | _WORDS.map(lambda text: [{"type": "text", "text": text}])}
)
_ODD_MESSAGES: list[Any] = [
    [],
    [{"role": "user"}],
    [{"role": "nobody", "content": "x"}],
    [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
        }
    ],
    [{"role": "user", "content": [{"type": "other"}]}],
    [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "route", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ],
]
_CHATS = st.fixed_dictionaries(
    {
        "messages": _rarely(st.sampled_from(_ODD_MESSAGES), st.lists(_MESSAGE, min_size=1, max_size=3)),
        "max_tokens": _SHORT,
        "temperature": st.just(0),
        "seed": st.just(7),
    }
)
_PROMPTS = (
    _WORDS
    | st.lists(_WORDS, min_size=1, max_size=2)
    | st.sampled_from([[504, 9351], [[504], [9351, 28]], [], [""], [[]], [10**9]])
)
_TEXTS = st.fixed_dictionaries(
    {"prompt": _PROMPTS, "max_tokens": _SHORT, "temperature": st.just(0), "seed": st.just(7)}
)
_RESPONSES = st.fixed_dictionaries(
    {
        "input": _WORDS | st.lists(_MESSAGE, min_size=1, max_size=2),
        "max_output_tokens": _SHORT,
        "temperature": st.just(0),
    }
)
_MESSAGES = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": _WORDS}), min_size=1, max_size=2
        ),
        "max_tokens": _SHORT,
        "temperature": st.just(0),
    }
)
_KINDS: dict[str, tuple[st.SearchStrategy[Body], Options]] = {
    CHAT: (_CHATS, _CHAT_OPTIONS),
    TEXT: (_TEXTS, _TEXT_OPTIONS),
    RESPONSES: (_RESPONSES, _RESPONSES_OPTIONS),
    MESSAGES: (_MESSAGES, _MESSAGES_OPTIONS),
    TOKENIZE: (st.fixed_dictionaries({"prompt": _WORDS}), _TOKENIZE_OPTIONS),
    DETOKENIZE: (st.fixed_dictionaries({"tokens": st.just([504, 9351])}), {"nonsense": st.just(1)}),
}
_STREAMING = frozenset({CHAT, TEXT, RESPONSES, MESSAGES})
_SHARE = {CHAT: 8, TEXT: 4, RESPONSES: 2, MESSAGES: 2, TOKENIZE: 1, DETOKENIZE: 1}


@st.composite
def _shapes(draw: st.DrawFn, paths: tuple[str, ...]) -> Shape:
    path = draw(st.sampled_from([path for path in paths for _ in range(_SHARE[path])]))
    valid, options = _KINDS[path]
    body = dict(draw(valid))
    if path in _STREAMING:
        stream = draw(st.sampled_from([True, True, True, True, False, False, None, None, None, "yes"]))
        if stream is not None:
            body["stream"] = stream
    for name in draw(st.lists(st.sampled_from(sorted(options)), max_size=4, unique=True)):
        body[name] = draw(options[name])
    if body.get("temperature") == 0.7:
        body["seed"] = 7
    if draw(st.sampled_from([True, False, False, False])):
        wrong = draw(st.sampled_from(sorted({*body, *options})))
        body[wrong] = draw(_WRONG)
    elif draw(st.sampled_from([True, *[False] * 19])):
        body.pop(draw(st.sampled_from(sorted(body))))
    return Shape(path, body)


def shapes(count: int, paths: tuple[str, ...], *, about_the_prompt: bool) -> list[Shape]:
    """``count`` different ones. ``about_the_prompt`` lets some ask for the prompt's logprobs."""
    made: dict[str, Shape] = {}

    @settings(
        max_examples=2 * count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_shapes(paths))
    def collect(shape: Shape) -> None:
        if _is_harmless(shape) and (about_the_prompt or not shape.asks_about_the_prompt):
            made[str(shape)] = shape

    collect()
    # Neighbours were made from each other; so take them from all over.
    return [made[text] for text in sorted(made, key=lambda text: sha256(text.encode()).digest())[:count]]


def _is_harmless(shape: Shape) -> bool:
    """Whether it ends soon, and gives the same twice."""
    body = shape.body
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    long = shape.path in (CHAT, RESPONSES) and limit is None
    random = body.get("temperature", 1) not in (0, -1) and not isinstance(body.get("seed"), int)
    unseeded = shape.path in (RESPONSES, MESSAGES) and body.get("temperature") in (None, True, 1.5)
    return not (long or (random and shape.path in (CHAT, TEXT)) or unseeded)


def paths_served() -> tuple[str, ...]:
    """Those of the paths that the proxy serves."""
    return tuple(path for path in _KINDS if path in SURFACES)
