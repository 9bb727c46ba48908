"""What each surface's requests and answers mean, and what of an engine is not reachable at all."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference.capture import Plan, Stream, clean_body, plan
from inference.exchange import _tokens_match
from inference.surfaces import MESSAGES, NAMED, RESPONSES, SURFACES, read
from tests.inference.double import Engine, Running, call, proxying, serving, snapshot

# Every path that vLLM 0.32 mounts besides those served: vllm/entrypoints/**/api_router.py and what stands
# beside them. With VLLM_SERVER_DEV_MODE and VLLM_ALLOW_RUNTIME_LORA_UPDATING most of them change the engine.
NOT_SERVED = (
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/wake_up", "/is_sleeping"),
    *("/release_kv_cache_memory", "/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"),
    *("/collective_rpc", "/server_info", "/start_profile", "/stop_profile", "/scale_elastic_ep"),
    *("/is_scaling_elastic_ep", "/pause", "/resume", "/is_paused", "/abort_requests", "/get_world_size"),
    *("/init_weight_transfer_engine", "/shutdown_weight_transfer_engine", "/start_weight_update"),
    *("/update_weights", "/finish_weight_update", "/fault_tolerance/apply", "/fault_tolerance/status"),
    *("/inference/v1/generate", "/inference/v1/abort_requests", "/invocations", "/ping", "/load"),
    *("/kv_event_sources", "/tokenizer_info", "/docs", "/redoc", "/openapi.json", "/static/x"),
    *("/v1/chat/completions/render", "/v1/chat/completions/derender", "/v1/completions/render"),
    *("/v1/chat/completions/batch", "/v1/completions/derender", "/v1/messages/render"),
    *("/v1/messages/count_tokens", "/v1/responses/render", "/v1/responses/resp_1"),
    *("/v1/responses/resp_1/cancel", "/v1/systemone", "/generative_scoring", "/pooling", "/classify"),
    *("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/v2/embed", "/v2/chat"),
    *("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/realtime"),
    *(
        "//v1/load_lora_adapter",
        "/v1/../sleep",
        "/v1/chat/completions/../../../sleep",
        "/V1/chat/completions",
    ),
    *("/v1/chat/completions/", "/v1/chat%2Fcompletions", "/%73leep"),
)


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    made = Engine()
    async with serving(made) as url:
        yield made, url


@pytest.fixture
async def proxy(engine: tuple[Engine, str], tmp_path: Path) -> AsyncIterator[Running]:
    async with proxying(tmp_path, engine[1]) as running:
        yield running


async def test_nothing_else_of_an_engine_is_reachable(proxy: Running, engine: tuple[Engine, str]) -> None:
    for path in NOT_SERVED:
        for method in ("GET", "POST", "DELETE"):
            status, body = await proxy.raw(method, path, orjson.dumps(call("hello")))
            assert (status, orjson.loads(body)["error"]["code"]) == (404, "unknown_url"), (method, path)
    assert engine[0].asked == []
    assert proxy.spooled() == []
    assert not set(NOT_SERVED) & set(SURFACES)


async def test_the_proxys_version_is_said_to_who_has_a_key(proxy: Running) -> None:
    status, body = await proxy.raw("GET", "/version", b"")
    assert status == 200
    assert orjson.loads(body)["version"]
    async with proxy.http.get(proxy.url + "/version") as response:
        assert response.status == 401


async def test_counting_tokens_is_answered_and_not_kept(proxy: Running, engine: tuple[Engine, str]) -> None:
    body = {"model": "desk", "prompt": "wheezing", "add_special_tokens": False}
    status, headers, said = await proxy.post(body, "/tokenize")
    assert (status, said) == (200, b'{"count": 2,  "max_model_len":1024,"tokens":[1,2],"token_strs":null}')
    assert engine[0].asked[0][:2] == ("/tokenize", {**body, "model": "smollm2-135m"})
    assert "x-flywheel-exchange-id" not in headers
    status, _, _ = await proxy.post({"model": "other", "prompt": "x"}, "/detokenize")
    assert status == 404
    assert proxy.spooled() == []


PARTS = [
    {"type": "text", "text": "What is this? \U0001fa7a \u2028"},
    {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + "iVBORw0KG+/=" * 50},
    },
    {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF" * 50, "format": "wav"}},
    {"type": "video_url", "video_url": {"url": "https://example.test/a?b=c&d=%20"}},
]


async def test_pictures_and_sound_go_through_as_they_came(proxy: Running, engine: tuple[Engine, str]) -> None:
    messages = [{"role": "user", "content": PARTS}]
    status, _, _ = await proxy.post({"model": "desk", "messages": messages})
    assert status == 200
    assert engine[0].asked[0][1]["messages"] == messages
    (exchange,) = await proxy.exchanges(1)
    assert exchange.messages == messages


def planned(name: str, body: dict[str, Any]) -> Plan:
    return plan(NAMED[name], body, served="m", public="desk", capture="wire", top_k=5)


@pytest.mark.parametrize(
    ("name", "capture"),
    [("messages", "untold"), ("embeddings", "untold"), ("tokenize", "untold"), ("responses", "wire")],
)
def test_surfaces_without_logprobs_say_so(name: str, capture: str) -> None:
    assert planned(name, {"model": "desk", "input": "x"}).capture == capture


def test_a_name_that_is_not_the_models_stays() -> None:
    """A tool's argument and metadata may be called model too, and may come first."""
    answer = {
        "id": "msg_1",
        "type": "message",
        "content": [{"type": "tool_use", "name": "f", "input": {"model": "T", "big": 2**70}}],
        "model": "m",
    }
    cleaned = clean_body(planned("messages", {}), dumps(answer))
    got = orjson.loads(cleaned.replace(str(2**70).encode(), b"1"))
    assert (got["model"], got["content"][0]["input"]) == ("desk", {"model": "T", "big": 1})
    response = {"id": "resp_1", "metadata": {"model": "of a car"}, "model": "m", "output": []}
    got = orjson.loads(clean_body(planned("responses", {}), dumps(response)))
    assert (got["model"], got["metadata"]) == ("desk", {"model": "of a car"})


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def named(kind: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **more}))


def test_a_message_is_held_from_its_stop_reason_on() -> None:
    started = {"id": "msg_1", "type": "message", "content": [], "model": "m"}
    said = [
        named("message_start", message=started),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": '"stop_reason":"x"'}),
        named("content_block_stop", index=0),
        named(
            "message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 3, "output_tokens": 2}
        ),
        named("message_stop"),
    ]
    running = Stream(planned("messages", {"stream": True}))
    sent = [running.feed(one) for one in said]
    assert sent == [said[0].replace(b'"model":"m"', b'"model":"desk"'), *said[1:4], b"", b""]
    assert running.held() == said[4] + said[5]
    answer = read("messages", b"".join(said), 0)
    assert answer.choices[0].text == '"stop_reason":"x"'
    assert (answer.choices[0].finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("stop", 3, 2)


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_a_response_is_held_from_its_end_on_and_gives_back_what_was_added(end: str) -> None:
    text = {
        "type": "output_text",
        "text": "so",
        "annotations": [],
        "logprobs": [{"token": "so", "logprob": -1}],
    }
    whole = {"model": "m", "top_logprobs": 0, "output": [{"type": "message", "content": [text]}]}
    raw = {
        "input_messages": [{"message": "x", "tokens": [5]}],
        "output_messages": [{"message": "so", "tokens": [7]}],
    }
    usage = {"input_tokens": 1, "output_tokens": 1}
    said = [
        named("response.created", response={**whole, "output": [], "status": "in_progress"}),
        named("response.output_text.delta", delta="so", logprobs=text["logprobs"]),
        named("response.content_part.done", part=text),
        named("response.output_item.done", item=whole["output"][0]),  # type: ignore[index]
        named(f"response.{end}", response={**whole, **raw, "status": end, "usage": usage}),
    ]
    running = Stream(planned("responses", {"stream": True, "input": "x"}))
    got = [orjson.loads(one.split(b"data: ")[1]) for one in map(running.feed, said) if one]
    got.append(orjson.loads(running.held().split(b"data: ")[1]))
    assert len(got) == len(said)
    assert b'logprob"' not in dumps(got)
    assert got[1]["logprobs"] == []
    assert got[2]["part"]["logprobs"] is got[3]["item"]["content"][0]["logprobs"] is None
    last = got[4]["response"]
    assert (last["model"], last["top_logprobs"]) == ("desk", None)
    assert (last["input_messages"], last["output_messages"]) == (None, None)
    answer = read("responses", b"".join(said), 5)
    assert answer.prompt_token_ids == [5]
    assert (answer.tokens[0].ids, answer.tokens[0].logprobs, answer.tokens[0].top_ids) == ([7], [-1.0], [])
    cut_off = read("responses", b"".join(said[:2]), 5)
    assert (cut_off.choices[0].text, cut_off.choices[0].finish_reason, cut_off.tokens) == ("so", "", [])


def test_a_response_that_comes_later_is_not_served() -> None:
    assert RESPONSES.refuses({"background": True})
    assert not RESPONSES.refuses({"background": False})
    assert not MESSAGES.refuses({"background": True})


async def test_refusals_have_the_surfaces_form(proxy: Running, engine: tuple[Engine, str]) -> None:
    status, _, said = await proxy.post({"model": "other", "messages": []}, "/v1/messages")
    assert (status, orjson.loads(said)["type"]) == (404, "error")
    status, _, said = await proxy.post({"model": "desk", "input": "x", "background": True}, "/v1/responses")
    assert (status, orjson.loads(said)["error"]["code"]) == (400, "not_served")
    assert engine[0].asked == []
    status, _, said = await proxy.post(call("begin and stop", stream=True), "/v1/messages")
    assert said.split(b"\n\n")[-2].startswith(b'event: error\ndata: {"type":"error","error":{')
    assert [one.end_reason for one in await proxy.exchanges(3)] == [
        "bad_request",
        "bad_request",
        "engine_died",
    ]


async def test_an_engine_with_a_cap_gives_as_many_as_it_gives(
    engine: tuple[Engine, str], tmp_path: Path
) -> None:
    engine[0].most_logprobs = 3
    async with proxying(tmp_path, engine[1]) as proxy:
        for _ in range(2):
            status, _, _ = await proxy.post(call("hello"))
            assert status == 200
        assert [asked.get("top_logprobs") for _, asked, _ in engine[0].asked] == [6, 3, 3]
        assert [(one.capture, one.top_k) for one in await proxy.exchanges(2)] == [("wire", 3), ("wire", 3)]
        status, _, _ = await proxy.post(call("hello", logprobs=True, top_logprobs=4))
        assert status == 400, "what a client asks for itself is the engine's to refuse"


async def test_a_request_that_is_refused_for_itself_alone_says_nothing_of_the_engine(
    engine: tuple[Engine, str], tmp_path: Path
) -> None:
    async with proxying(tmp_path, engine[1]) as proxy:
        for order in ("quarrel", "hello"):
            status, _, _ = await proxy.post(call(order))
            assert status == 200
        assert [one.capture for one in await proxy.exchanges(2)] == ["refused", "wire"]


@pytest.mark.parametrize(
    ("share", "captures"), [(0.0, {"unsampled"}), (1.0, {"wire"}), (0.5, {"unsampled", "wire"})]
)
async def test_a_route_captures_a_share(
    engine: tuple[Engine, str], tmp_path: Path, share: float, captures: set[str]
) -> None:
    async with proxying(tmp_path, found=snapshot(engine[1], capture_rate=share)) as proxy:
        for _ in range(40):
            await proxy.post(call("hello"))
        assert {one.capture for one in await proxy.exchanges(40)} == captures
        assert {"logprobs" in asked for _, asked, _ in engine[0].asked} == {one == "wire" for one in captures}


def test_embeddings_are_whole_without_a_finish() -> None:
    body = {
        "object": "list",
        "model": "m",
        "data": [{"index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 4},
    }
    answer = read("embeddings", dumps(body), 0)
    assert (answer.is_whole, answer.prompt_tokens, answer.choices) == (True, 4, [])
    assert NAMED["embeddings"].asked({"input": ["a", "b"]})[1] == {"role": "user", "content": "b"}


def test_a_count_of_ids_that_is_not_the_usage_is_said() -> None:
    entry = {"token": "token_id:1", "logprob": -1.0, "top_logprobs": []}

    def match(ids: list[int], entries: int, usage: int) -> bool | None:
        choice = {"index": 0, "message": {"content": "a"}, "token_ids": ids, "finish_reason": "stop"}
        choice["logprobs"] = {"content": [entry] * entries}
        body = {"choices": [choice], "usage": {"completion_tokens": usage}}
        return _tokens_match(read("chat", dumps(body), 5))

    assert match([1, 1], 2, 2) is True
    assert match([1, 1], 2, 3) is False
    assert match([1], 2, 2) is False
    assert match([1, 1], 0, 3) is False
    assert match([], 0, 3) is None


@pytest.mark.parametrize(
    "more", [{"prompt_logprobs": 1}, {"prompt_logprobs": 0}, {"echo": True, "logprobs": 0}]
)
async def test_an_engine_that_would_not_survive_it_is_not_asked_about_prompts(
    engine: tuple[Engine, str], tmp_path: Path, more: dict[str, Any]
) -> None:
    found = snapshot(engine[1])
    for given in (True, False):
        found["upstreams"]["e0"]["prompt_logprobs"] = given
        async with proxying(tmp_path / str(given), found=found) as proxy:
            body = {"model": "desk", "prompt": "hello", **more}
            status, _, said = await proxy.post(body, "/v1/completions")
            assert status == (200 if given else 400), said
            status, _, _ = await proxy.post(
                {"model": "desk", "prompt": "hello", "echo": True}, "/v1/completions"
            )
            assert status == 200
            ends = [one.end_reason for one in await proxy.exchanges(2)]
            assert ends[0] == ("stop" if given else "bad_request")
