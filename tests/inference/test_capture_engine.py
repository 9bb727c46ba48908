"""Engines that capture tokens themselves: when they are asked to, and that clients see nothing of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference import capture, checks
from inference.capture import Plan, Stream
from inference.engine.tag import KEY, Tag
from inference.surfaces import CHAT, COMPLETIONS, MESSAGES, Hidden, Surface
from tests.inference.double import Engine, Running, call, piece, proxying, serving

TAG = Tag("01938f5e-7a00-7000-8000-00000000beef", 0, 1_000, 5, weights="w", tokenizer="t")
USAGE = b'data: {"id":"x","model":"served","choices":[],"usage":{"completion_tokens":2}}\n\n'
CAPTURES = {"capture": True, "why": "", "version": "0.1.0", "vllm": "0.32.0"}


def plan(body: dict[str, Any], surface: Surface = CHAT, way: str = "wire", tag: Tag | None = TAG) -> Plan:
    return capture.plan(surface, body, served="served", public="desk", capture=way, top_k=5, tag=tag)


def sent(one: Plan) -> dict[str, Any]:
    found = orjson.loads(one.body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("surface", [CHAT, COMPLETIONS])
def test_an_engine_that_captures_gets_a_tag_and_nothing_else(surface: Surface) -> None:
    made = plan({"model": "desk", "prompt": "x", "n": 2}, surface)
    assert sent(made) == {"model": "served", "prompt": "x", "n": 2, "vllm_xargs": {KEY: TAG.values()}}
    assert (made.capture, made.hidden) == ("engine", Hidden())


def test_a_stream_is_asked_for_its_usage_too_and_shows_none() -> None:
    made = plan({"messages": [], "stream": True})
    assert sent(made)["stream_options"] == {"include_usage": True}
    stream = Stream(made)
    first, last = piece("one"), piece("two", "stop")
    seen = stream.feed(first + first) + stream.feed(last + USAGE + b"data: [DONE]\n\n") + stream.held()
    assert seen.startswith(first.replace(b"smollm2-135m", b"desk") * 2)
    assert b"usage" not in seen
    assert seen.endswith(b"data: [DONE]\n\n")
    assert stream.ended


def test_a_client_that_asks_for_usage_and_logprobs_gets_them() -> None:
    made = plan(
        {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2}
    )
    assert (sent(made)["logprobs"], sent(made)["top_logprobs"]) == (True, 2)
    assert made.capture == "engine"
    stream = Stream(made)
    assert USAGE.replace(b"served", b"desk") in stream.feed(piece("x", "stop") + USAGE) + stream.held()


@pytest.mark.parametrize("way", ["wire", "off", "refused"])
@pytest.mark.parametrize("tag", [TAG, None])
def test_a_tag_that_a_client_wrote_reaches_no_engine(way: str, tag: Tag | None) -> None:
    made = plan({"messages": [], "vllm_xargs": {KEY: ["forged"], "theirs": 1}}, way=way, tag=tag)
    for body in (made.body, made.plain):
        assert orjson.loads(body)["vllm_xargs"].get(KEY) in (None, TAG.values())
        assert orjson.loads(body)["vllm_xargs"]["theirs"] == 1


@pytest.mark.parametrize(
    ("surface", "asked"),
    [
        (CHAT, {"use_beam_search": True}),
        (CHAT, {"logprobs": True, "top_logprobs": -1}),
        (CHAT, {"logprob_token_ids": [1]}),
        (COMPLETIONS, {"logprobs": -1}),
        (MESSAGES, {}),
    ],
)
def test_what_the_plugin_cannot_capture_gets_no_tag(surface: Surface, asked: dict[str, Any]) -> None:
    made = plan({"prompt": "x", **asked}, surface)
    assert made.capture != "engine"
    assert b"vllm_xargs" not in made.body


def test_another_replica_is_told_of_another_attempt() -> None:
    made = plan({"messages": [{"role": "user", "content": f'"{TAG.exchange_id}",0,'}]})
    again = orjson.loads(made.again(2))
    assert Tag.parse(again["vllm_xargs"][KEY]).attempt == 2
    assert again["messages"] == sent(made)["messages"]


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (orjson.dumps(CAPTURES), "0.1.0"),
        (orjson.dumps({**CAPTURES, "capture": False, "why": "disk"}), ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b'{"capture":1,"version":"x"}', ""),
    ],
)
def test_only_an_engine_that_takes_records_now_captures(told: bytes, version: str) -> None:
    assert checks.version(told) == version


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    made = Engine(usage={"prompt_tokens": 3, "completion_tokens": 2})
    async with serving(made) as url:
        yield made, url


@pytest.fixture
async def proxy(engine: tuple[Engine, str], tmp_path: Path) -> AsyncIterator[Running]:
    async with proxying(tmp_path, engine[1], health_seconds=0.02) as running:
        yield running


async def until_sent(proxy: Running, engine: Engine, *, tagged: bool) -> dict[str, Any]:
    """Call until an engine is asked the one way."""
    while True:
        status, _, _ = await proxy.post(call("hello"))
        assert status == 200
        if (KEY in engine.asked[-1][1].get("vllm_xargs", {})) == tagged:
            return engine.asked[-1][1]
        await asyncio.sleep(0.02)


async def test_the_proxy_follows_what_the_engine_says(proxy: Running, engine: tuple[Engine, str]) -> None:
    """Without the plugin over the wire, with it inside, and back to the wire when its disk is full."""
    asked = await until_sent(proxy, engine[0], tagged=False)
    assert asked["logprobs"] is True
    engine[0].capture = CAPTURES
    asked = await until_sent(proxy, engine[0], tagged=True)
    assert "logprobs" not in asked
    tag = Tag.parse(asked["vllm_xargs"][KEY])
    exchanges = await proxy.exchanges(len(engine[0].asked))
    kept = exchanges[-1]
    assert (tag.exchange_id, tag.attempt, tag.started_us) == (kept.exchange_id, 0, kept.started_us)
    assert (tag.weights, kept.capture, kept.completion_tokens) == ("a" * 64, "engine", 2)
    async with proxy.http.get(proxy.url + "/metrics") as response:
        page = await response.text()
    assert 'flywheel_captures_total{capture="engine"} 1.0' in page
    assert 'flywheel_upstream_captures{upstream="' in page
    engine[0].capture = {**CAPTURES, "capture": False, "why": "the spool takes nothing"}
    assert (await until_sent(proxy, engine[0], tagged=False))["logprobs"] is True
