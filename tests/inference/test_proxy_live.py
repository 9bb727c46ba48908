"""The proxy against a real vLLM: each request is sent both ways and the answers are compared.

Needs an engine of its own that serves smollm2-135m, never one that others use: generated requests can kill
it. Logprobs of a prompt (echo, prompt_logprobs) do, with LoRA on the CPU under vLLM 0.32, so none ask.
``FLYWHEEL_TEST_ENGINE=http://127.0.0.1:8001 SHAPES=500 pytest tests/inference/test_proxy_live.py``.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from inference.sse import DONE, Splitter, payload
from tests.inference.double import Running, proxying

ENGINE = os.environ.get("FLYWHEEL_TEST_ENGINE", "")
SHAPES = int(os.environ.get("SHAPES", "40"))
pytestmark = [
    pytest.mark.wheel,
    pytest.mark.skipif(not ENGINE, reason="FLYWHEEL_TEST_ENGINE names no engine"),
]

TEXT = st.sampled_from(
    ["wheezing after exercise", "naïve 😀 “quote” \\ \n\t", '"logprobs":{"content":[]}', ""]
)
# Never left out: the same request must give the same answer twice.
GREEDY = st.sampled_from([0, 0.0, 0, -1])
SHORT = st.sampled_from([1, 2, 3, 5, 8, 0, 5000, "many"])
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "n": st.sampled_from([1, 2, 0]),
    "stop": st.sampled_from([".", ["\n", "e"], []]),
    "seed": st.integers(-(2**70), 2**70),
    "stream_options": st.sampled_from([None, {}, {"include_usage": True}, {"include_usage": False}])
    | st.just({"include_usage": True, "continuous_usage_stats": True}),
    "return_token_ids": st.booleans(),
    "return_tokens_as_token_ids": st.booleans(),
    "presence_penalty": st.sampled_from([0.5, 9]),
    "min_tokens": st.just(2),
    "ignore_eos": st.just(True),
    "nonsense": st.just({"a": [1]}),
}
CHAT = st.fixed_dictionaries(
    {
        "messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXT}), max_size=2),
        "temperature": GREEDY,
        "max_tokens": SHORT,
    },
    optional={
        **COMMON,
        "logprobs": st.booleans(),
        "top_logprobs": st.sampled_from([0, 2, 20, 21, -2]),
        "response_format": st.just({"type": "json_object"}),
    },
)
COMPLETION = st.fixed_dictionaries(
    {
        "prompt": TEXT | st.lists(TEXT, max_size=2) | st.just([504, 9351]),
        "temperature": GREEDY,
        "max_tokens": SHORT,
    },
    optional={**COMMON, "logprobs": st.sampled_from([0, 2, 20, 21])},
)
REQUEST = st.tuples(st.just("/v1/chat/completions"), CHAT) | st.tuples(st.just("/v1/completions"), COMPLETION)


def without_identity(found: Any) -> Any:
    """An answer without what differs from call to call."""
    names = ("id", "created", "model")
    return {name: value for name, value in found.items() if name not in names}


def laid_together(body: bytes) -> Any:
    """A stream's end result: by choice its text, its fields and its finish; then usage. Not its events."""
    choices: dict[int, dict[str, Any]] = {}
    rest: list[Any] = []
    for one in Splitter().feed(body):
        data = payload(one)
        if data is None or data == DONE:
            rest.append(data)
            continue
        message = without_identity(orjson.loads(data))
        for choice in message.pop("choices", []):
            delta = choice.get("delta") or {"content": choice.get("text")}
            kept = choices.setdefault(
                choice["index"], {"text": "", "fields": set(), "finish": [], "tokens": []}
            )
            kept["text"] += delta.get("content") or ""
            kept["fields"] |= {*choice, *delta}
            kept["finish"].append((choice.get("finish_reason"), choice.get("stop_reason")))
            kept["tokens"].append((choice.get("logprobs"), choice.get("token_ids")))
        rest.append(message)
    for kept in choices.values():
        kept["finish"] = [finish for finish in kept["finish"] if finish[0]]
        if all(logprobs is None and not ids for logprobs, ids in kept["tokens"]):
            kept["tokens"] = []
    return choices, [one for one in rest if one not in ({}, {"object": "chat.completion.chunk"})]


async def compare(proxy: Running, path: str, body: dict[str, Any], stream: bool) -> None:
    if stream:
        body["stream"] = True
    kind = {"content-type": "application/json"}
    sent = json.dumps({**body, "model": "smollm2-135m"})
    async with proxy.http.post(ENGINE + path, data=sent, headers=kind) as expected:
        direct = await expected.read()
    status, headers, got = await proxy.post(json.dumps({**body, "model": "desk"}).encode(), path)
    assert status == expected.status, (direct, got)
    assert headers["content-type"] == expected.headers["content-type"]
    if expected.content_type == "text/event-stream":
        assert laid_together(got) == laid_together(direct)
    else:
        assert without_identity(orjson.loads(got)) == without_identity(orjson.loads(direct))


def test_both_ways_give_the_same(tmp_path: Path) -> None:
    async def run() -> None:
        shapes = requests()
        async with proxying(tmp_path, ENGINE) as proxy:
            for path, body, stream in shapes:
                await compare(proxy, path, body, stream)
            for exchange in await proxy.exchanges(len(shapes)):
                assert exchange.tokens_match is not False
                if exchange.status == 200 and exchange.capture == "wire" and exchange.completion_tokens:
                    assert exchange.tokens

    asyncio.run(run())


def requests() -> list[tuple[str, dict[str, Any], bool]]:
    """SHAPES different requests, the same at every run."""
    made: dict[bytes, tuple[str, dict[str, Any], bool]] = {}

    @seed(4)
    @settings(
        max_examples=SHAPES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(REQUEST, st.booleans())
    def collect(request: tuple[str, dict[str, Any]], stream: bool) -> None:
        made[repr((request, stream)).encode()] = (*request, stream)

    collect()
    return list(made.values())
