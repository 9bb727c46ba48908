"""The proxy on real sockets, before an engine that answers as vLLM does: what clients get, what is kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from inference.sse import Splitter, payload
from inference.surfaces import SURFACES
from tests.inference import alike
from tests.inference.double import Engine, Running, call, free_port, proxying, serving, snapshot
from tests.inference.recorded import PAIRS


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    made = Engine()
    async with serving(made) as url:
        yield made, url


@pytest.fixture
async def proxy(engine: tuple[Engine, str], tmp_path: Path) -> AsyncIterator[Running]:
    async with proxying(tmp_path, engine[1], silence_seconds=0.5, body_limit=100_000) as running:
        yield running


def events(body: bytes) -> list[bytes]:
    return [payload(one) or b"" for one in Splitter().feed(body)]


@pytest.mark.parametrize("name", sorted(PAIRS))
async def test_the_answer_is_the_engines_own(proxy: Running, name: str) -> None:
    pair, surface = PAIRS[name], SURFACES[PAIRS[name].path]
    status, headers, body = await proxy.post({**pair.request, "model": "desk"}, pair.path)
    assert status == pair.plain.status
    assert headers["content-type"] == pair.plain.type
    read = alike.stream if "event-stream" in pair.plain.type else alike.body
    assert read(body) == alike.renamed(read(pair.plain.body), "desk")
    if not surface.is_exchange:
        assert "x-flywheel-exchange-id" not in headers
        return
    (exchange,) = await proxy.exchanges(1)
    assert headers["x-flywheel-exchange-id"] == exchange.exchange_id
    assert exchange.request == orjson.dumps({**pair.request, "model": "desk"})
    if status != 200:
        assert exchange.end_reason == "bad_request"
        assert exchange.error
        return
    assert exchange.response in {one.captured.body for one in PAIRS.values() if one.injected == pair.injected}
    assert exchange.capture == NO_TOKENS.get(name, "wire" if surface.gives_tokens else "untold")
    assert bool(exchange.tokens) == (exchange.capture == "wire")
    assert exchange.tokens_match == MATCHES.get(name, True if exchange.tokens else None)
    assert exchange.end_reason in ("length", "stop", "tool_calls")
    assert exchange.messages
    assert exchange.prompt_tokens


NO_TOKENS = {
    "reasoning_hidden": "withheld",
    "reasoning_hidden_streamed": "withheld",
    "completion_echo": "unsupported",
    # A response's logprobs stand in its text, and these have none.
    "responses_tool": "withheld",
    "responses_tool_streamed": "withheld",
    # And here those of the text's tokens alone, beside the ids of all: which is whose can't be known.
    "responses_reasoning_streamed": "withheld",
}
MATCHES = {
    "responses_tool": True,
    "responses_tool_streamed": True,
    "responses_reasoning_streamed": False,
    # A stream of several choices can't be asked for its usage unseen.
    "chat_n2_streamed": None,
    "completion_batch_streamed": None,
}


async def test_the_official_client_streams_and_does_not(proxy: Running) -> None:
    request = {name: value for name, value in PAIRS["chat"].request.items() if name != "model"}
    whole = await proxy.openai.chat.completions.create(model="desk", **request)
    assert whole.model == "desk"
    assert whole.choices[0].message.content == "The symptoms of Wheezing after exercise can"
    assert whole.choices[0].logprobs is None
    text = ""
    async for part in await proxy.openai.chat.completions.create(model="desk", stream=True, **request):
        text += part.choices[0].delta.content or ""
    assert text == whole.choices[0].message.content
    first, second = await proxy.exchanges(2)
    assert first.tokens == second.tokens
    assert (first.route, first.model, first.weights, first.key) == (
        "desk",
        "smollm2-135m",
        "a" * 64,
        "clinic",
    )
    assert second.streamed
    assert second.first_token_seconds is not None
    assert 0 < second.first_token_seconds <= (second.finished_us - second.started_us) / 1e6


async def test_models_are_the_routes(proxy: Running) -> None:
    assert [model.id async for model in proxy.openai.models.list()] == ["desk"]
    assert (await proxy.openai.models.retrieve("desk")).owned_by == "flywheel"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await proxy.openai.models.retrieve("other")
    assert proxy.spooled() == []


async def test_answers_are_counted_by_route_and_what_is_none_makes_no_label(proxy: Running) -> None:
    await proxy.post(call("hello"))
    for name in ("gpt-4o", "other"):
        await proxy.post(call("hello", model=name))
    async with proxy.http.get(proxy.url + "/metrics") as response:
        page = await response.text()
    counted = sorted(line for line in page.splitlines() if line.startswith("flywheel_exchanges_total"))
    assert [line.partition("route=")[2] for line in counted] == [
        '"",surface="chat"} 2.0',
        '"desk",surface="chat"} 1.0',
    ]


async def test_strangers_are_counted_and_not_kept(proxy: Running) -> None:
    for secret in ("", "fw-other"):
        status, _, body = await proxy.post(call("hello"), secret=secret)
        assert status == 401
        assert orjson.loads(body)["error"]["code"] == "invalid_api_key"
    assert proxy.spooled() == []
    async with proxy.http.get(proxy.url + "/metrics") as response:
        assert "flywheel_unauthenticated_total 2.0" in await response.text()


@pytest.mark.parametrize(
    "path", ["/", "/v1/load_lora_adapter", "/v1/chat/completions/x", "/internal/routing"]
)
async def test_other_paths_are_not_there(proxy: Running, engine: tuple[Engine, str], path: str) -> None:
    status, _, body = await proxy.post(call("hello"), path)
    assert status == 404
    assert orjson.loads(body)["error"]["code"] == "unknown_url"
    assert engine[0].asked == []


async def test_a_version_can_be_called_by_name_by_those_who_may(
    engine: tuple[Engine, str], tmp_path: Path
) -> None:
    found = snapshot(engine[1])
    async with proxying(tmp_path / "may", found=found) as proxy:
        status, _, body = await proxy.post(call("hello", model="version:smollm2-135m"))
        assert (status, orjson.loads(body)["model"]) == (200, "version:smollm2-135m")
        (exchange,) = await proxy.exchanges(1)
        assert (exchange.route, exchange.model) == ("version:smollm2-135m", "smollm2-135m")
    for key in found["keys"].values():
        key |= {"may_call_versions": False, "routes": []}
    async with proxying(tmp_path / "may-not", found=found) as proxy:
        for model in ("version:smollm2-135m", "desk"):
            status, _, body = await proxy.post(call("hello", model=model))
            assert (status, orjson.loads(body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code", "reason"),
    [
        (b"{nonsense", 400, "invalid_json", "bad_request"),
        (b"[1]", 400, "invalid_json", "bad_request"),
        (b'{"messages":[]}', 400, "missing_model", "bad_request"),
        (b'{"model":"other","messages":[]}', 404, "model_not_found", "bad_request"),
        (b'{"model":"desk"' + b" " * 100_000 + b"}", 413, "request_too_large", "refused"),
    ],
)
async def test_what_can_not_be_served_is_said_and_kept(
    proxy: Running, body: bytes, status: int, code: str, reason: str
) -> None:
    got, headers, said = await proxy.post(body)
    assert got == status
    error = orjson.loads(said)["error"]
    assert error["code"] == code
    (exchange,) = await proxy.exchanges(1)
    assert (exchange.exchange_id, exchange.status) == (headers["x-flywheel-exchange-id"], status)
    assert (exchange.end_reason, exchange.error) == (reason, error["message"])


@pytest.mark.parametrize(
    ("path", "secret", "status", "form"),
    [
        ("/v1/messages", "fw-test", 404, {"type": "error", "error": {"type": "not_found_error"}}),
        ("/v1/messages", "wrong", 401, {"type": "error", "error": {"type": "authentication_error"}}),
        ("/v1/responses", "fw-test", 404, {"error": {"code": "model_not_found"}}),
    ],
)
async def test_an_error_has_the_form_of_its_api(
    proxy: Running, path: str, secret: str, status: int, form: dict[str, Any]
) -> None:
    got, _, said = await proxy.post({"model": "other", "messages": [], "input": "hi"}, path, secret)
    error = orjson.loads(said)
    assert got == status
    assert error.keys() == form.keys()
    assert form["error"].items() <= error["error"].items()
    assert error["error"]["message"]


async def test_a_user_is_named_by_header_or_as_openais_client_does(proxy: Running) -> None:
    await proxy.post({**call("hello"), "user": " rosa "})
    await proxy.post({**call("hello"), "safety_identifier": "sven"})
    await proxy.post({**call("hello"), "user": "rosa"}, **{"x-flywheel-user": "paul"})
    await proxy.post({**call("hello"), "user": {"no": "name"}})
    found = await proxy.exchanges(4)
    assert [one.user for one in found] == ["rosa", "sven", "paul", ""]


async def test_clients_find_the_exchange_under_their_own_name_for_it(proxy: Running) -> None:
    response = await proxy.openai.chat.completions.create(
        model="desk", messages=[{"role": "user", "content": "hello"}]
    )
    (exchange,) = await proxy.exchanges(1)
    assert response._request_id == exchange.exchange_id


async def test_a_large_body_without_a_length_is_stopped_too(proxy: Running) -> None:
    async def flood() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 50_000

    async with proxy.http.post(
        proxy.url + "/v1/completions", data=flood(), headers={"authorization": "Bearer fw-test"}
    ) as response:
        assert response.status == 413
    (exchange,) = await proxy.exchanges(1)
    assert exchange.request == b""


@pytest.mark.parametrize(
    ("order", "stream", "status", "reason"),
    [
        ("HTTP 500", False, 500, "engine_error"),
        ("HTTP 429", False, 429, "refused"),
        ("a page", False, 502, "engine_error"),
        ("no json", False, 502, "engine_error"),
        ("hang", False, 504, "engine_timeout"),
        ("hang", True, 504, "engine_timeout"),
        ("begin and hang", True, 200, "engine_timeout"),
        ("begin and stop", True, 200, "engine_died"),
        ("error inside", True, 200, "engine_error"),
        ("malformed", True, 200, "engine_error"),
    ],
)
async def test_every_way_an_engine_can_fail_is_said_and_kept(
    proxy: Running, order: str, stream: bool, status: int, reason: str
) -> None:
    got, _, body = await proxy.post(call(order, stream=stream))
    assert got == status
    if status != 200:
        assert "message" in orjson.loads(body)["error"]
    else:
        said = events(body)
        assert orjson.loads(said[0])["choices"][0]["delta"]["content"] == "one"
        assert any(b'"error"' in one for one in said)
        assert not any(b'"finish_reason":"' in one for one in said)
    (exchange,) = await proxy.exchanges(1)
    assert exchange.end_reason == reason
    assert exchange.error
    if status == 200:
        assert exchange.choices[0].text == "one"


async def test_a_client_that_leaves_stops_the_engine_and_is_kept(
    proxy: Running, engine: tuple[Engine, str]
) -> None:
    async with proxy.http.post(
        proxy.url + "/v1/chat/completions",
        json=call("wait", stream=True),
        headers={"authorization": "Bearer fw-test"},
    ) as response:
        assert b"one" in await response.content.readany()
        response.close()
    (exchange,) = await proxy.exchanges(1)
    assert (exchange.end_reason, exchange.choices[0].text) == ("client_left", "one")
    while not engine[0].left:  # noqa: ASYNC110 – the engine learns it from its socket
        await asyncio.sleep(0.01)


async def test_pieces_go_out_as_they_come_and_the_end_only_when_kept(
    proxy: Running, engine: tuple[Engine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = asyncio.Event()
    loop = asyncio.get_running_loop()
    original = proxy.app.spool._tail._sync

    def sync(descriptor: int) -> None:
        asyncio.run_coroutine_threadsafe(synced.wait(), loop).result()
        original(descriptor)

    monkeypatch.setattr(proxy.app.spool._tail, "_sync", sync)
    parts = await proxy.openai.chat.completions.create(
        model="desk", messages=[{"role": "user", "content": "wait"}], stream=True
    )
    first = await anext(parts)
    assert first.choices[0].delta.content == "one"
    engine[0].go_on.set()
    second = asyncio.ensure_future(anext(parts))
    await asyncio.sleep(0.1)
    assert not second.done()
    synced.set()
    assert (await second).choices[0].finish_reason == "stop"
    assert len(proxy.spooled()) == 1


async def test_an_engine_that_gives_no_logprobs_serves_all_the_same(
    proxy: Running, engine: tuple[Engine, str]
) -> None:
    engine[0].refuses_logprobs = True
    for _ in range(2):
        status, _, _ = await proxy.post(call("hello"))
        assert status == 200
    assert [exchange.capture for exchange in await proxy.exchanges(2)] == ["refused", "refused"]
    assert len(engine[0].asked) == 3, "once refused, it is not asked again for a while"
    status, _, body = await proxy.post(call("hello", logprobs=True))
    assert (status, orjson.loads(body)["error"]["message"]) == (400, "logprobs are not supported")


async def test_a_trace_goes_through(proxy: Running, engine: tuple[Engine, str]) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await proxy.post(
        call("hello"),
        traceparent=f"00-{trace}-{parent}-01",
        tracestate="a=b",
        x_flywheel_user="u1",
        x_flywheel_session="s1",
        x_flywheel_tags="evaluation=7, arm=baseline",
    )
    await proxy.post(call("hello"), traceparent="nonsense")
    first, second = await proxy.exchanges(2)
    assert (first.trace_id, first.parent_span_id) == (trace, parent)
    sent = [headers for _, _, headers in engine[0].asked]
    assert sent[0]["traceparent"] == f"00-{trace}-{first.span_id}-01"
    assert sent[0]["tracestate"] == "a=b"
    assert (first.user, first.session, first.conversation) == ("u1", "s1", "s1")
    assert first.tags == {"evaluation": "7", "arm": "baseline"}
    assert second.parent_span_id == ""
    assert second.trace_id in sent[1]["traceparent"]


async def test_no_credential_is_kept_or_sent_on(proxy: Running, engine: tuple[Engine, str]) -> None:
    await proxy.post(call("hello"))
    await proxy.exchanges(1)
    kept = b"".join(path.read_bytes() for path in proxy.settings.home.rglob("*") if path.is_file())
    assert b"fw-test" not in kept
    assert "authorization" not in engine[0].asked[0][2]


async def test_another_replica_answers_when_one_does_not(engine: tuple[Engine, str], tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with proxying(tmp_path, nobody, engine[1]) as proxy:
        for _ in range(2):
            status, _, _ = await proxy.post(call("hello"))
            assert status == 200
        first, second = await proxy.exchanges(2)
        assert (first.upstream, first.attempt) == ("e1", 1)
        assert (second.upstream, second.attempt) == ("e1", 0), "the one out of order is not asked first"


async def test_a_busy_replica_hands_over_and_the_last_ones_word_counts(tmp_path: Path) -> None:
    first, second = Engine(), Engine()
    async with serving(first) as one, serving(second) as two, proxying(tmp_path, one, two) as proxy:
        status, _, _ = await proxy.post(call("HTTP 429"))
        assert status == 429
        assert len(first.asked) == len(second.asked) == 1


async def test_no_replica_is_a_clear_error(tmp_path: Path) -> None:
    async with proxying(tmp_path, f"http://127.0.0.1:{free_port()}") as proxy:
        with pytest.raises(openai.InternalServerError, match="No engine could be reached") as caught:
            await proxy.openai.chat.completions.create(**call("hello"))
        assert caught.value.status_code == 503
        (exchange,) = await proxy.exchanges(1)
        assert exchange.end_reason == "engine_died"


async def test_capture_off_adds_nothing(engine: tuple[Engine, str], tmp_path: Path) -> None:
    async with proxying(tmp_path, found=snapshot(engine[1], capture="off")) as proxy:
        pair = PAIRS["chat_streamed"]
        _, _, body = await proxy.post({**pair.request, "model": "desk"})
        assert body == pair.plain.body.replace(b'"model":"smollm2-135m"', b'"model":"desk"')
        assert engine[0].asked[0][1] == pair.request
        (exchange,) = await proxy.exchanges(1)
        assert (exchange.capture, exchange.tokens) == ("off", [])


def fail(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_disk_refuses_or_serves_as_the_route_says(
    engine: tuple[Engine, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    engine[0].go_on.set()
    for policy in ("refuse", "serve"):
        async with proxying(tmp_path / policy, found=snapshot(engine[1], disk_full=policy)) as proxy:
            monkeypatch.setattr(proxy.app.spool._tail, "_sync", fail)
            for _ in range(2):  # the first finds the disk full at its end, the second at its beginning
                status, _, body = await proxy.post(call("hello", stream=stream))
                served = b'"finish_reason":"stop"' in body
                assert served == (policy == "serve")
                if not served:
                    assert status == 503 or (stream and b"not_recorded" in body)
            async with proxy.http.get(proxy.url + "/metrics") as response:
                assert ("flywheel_dropped_captures_total 0.0" in await response.text()) == (
                    policy == "refuse"
                )
            async with proxy.http.get(proxy.url + "/ready") as response:
                assert response.status == 503
                assert "No space left" in (await response.json())["why"]
            monkeypatch.undo()


async def test_alive_and_ready_are_two_things(tmp_path: Path) -> None:
    async with proxying(tmp_path, found={**snapshot(), "version": 0}) as proxy:
        for path, status in (("/health", 200), ("/ready", 503)):
            async with proxy.http.get(proxy.url + path) as response:
                assert response.status == status


async def test_a_stop_loses_nothing(engine: tuple[Engine, str], tmp_path: Path) -> None:
    async with proxying(tmp_path, found=snapshot(engine[1], durability="relaxed")) as proxy:
        answers = await asyncio.gather(*(proxy.post(call(f"hello {number}")) for number in range(50)))
    assert {status for status, _, _ in answers} == {200}
    ids = {headers["x-flywheel-exchange-id"] for _, headers, _ in answers}
    assert {exchange.exchange_id for exchange in proxy.spooled()} == ids


async def test_a_broken_off_upload_is_kept(proxy: Running) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rsplit(":", 1)[1]))
    head = ["POST /v1/completions HTTP/1.1", "host: x", "authorization: Bearer fw-test", "content-length: 50"]
    writer.write("\r\n".join([*head, "", '{"model":']).encode())
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    (exchange,) = await proxy.exchanges(1)
    assert (exchange.end_reason, exchange.request) == ("client_left", b'{"model":')


async def test_errors_reach_the_official_client_in_a_stream(proxy: Running) -> None:
    parts = await proxy.openai.chat.completions.create(**call("begin and stop"), stream=True)
    assert (await anext(parts)).choices[0].delta.content == "one"
    with pytest.raises(openai.APIError, match="broke off"):
        await anext(parts)
