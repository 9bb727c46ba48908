"""The benchmark measures what it says: what the canned engines send, how an answer is looked at, the sums."""

import asyncio
import contextlib
from typing import Any

import orjson
import pytest

from bench.proxy import answers, engine, figures, load, measure, ours, paced, profile
from bench.proxy.load import BadAnswersError, Request
from inference import capture
from inference.capture import Plan, Stream
from inference.routing import Snapshot
from inference.surfaces import CHAT
from tests.inference.double import Message, Receive, Send, begin, free_port, serving


def plan(**more: Any) -> Plan:
    """What the proxy makes of the benchmark's request."""
    body = orjson.loads(Request(0, "m", stream=False).body) | more
    return capture.plan(CHAT, body, served="m", public="m", capture="wire", top_k=5)


def test_the_large_answers_are_what_the_proxy_asks_an_engine_for() -> None:
    shown = orjson.loads(answers.whole(logprobs=True))["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert len(shown) == orjson.loads(plan().body)["top_logprobs"]
    assert 48_000 < len(answers.whole(logprobs=True)) < 52_000
    assert 62_000 < sum(map(len, answers.events(logprobs=True))) < 66_000
    assert len(answers.events(logprobs=True)) == 67


def test_what_the_proxy_leaves_of_them_is_the_small_answer() -> None:
    cleaned = capture.clean_body(plan(), answers.whole(logprobs=True))
    assert load.read_whole(orjson.loads(cleaned)) == (answers.TEXT, False)
    assert load.read_whole(orjson.loads(answers.whole(logprobs=True))) == (answers.TEXT, True)
    events, asked = answers.events(logprobs=True), plan(stream=True)
    stream = Stream(asked)
    sent = b"".join(stream.feed(event) for event in events) + stream.held()
    assert load.read_stream(sent) == (answers.TEXT, False)
    assert load.read_stream(b"".join(events)) == (answers.TEXT, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("logprobs", [False, True])
async def test_an_answer_that_shows_too_much_or_says_too_little_is_no_answer(
    stream: bool, logprobs: bool
) -> None:
    whole = b"".join(answers.events(logprobs=logprobs)) if stream else answers.whole(logprobs=logprobs)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await begin(send, 200, "text/event-stream" if stream else "application/json")
        await send({"type": "http.response.body", "body": whole})

    async with serving(app) as url:
        request = Request(int(url.rsplit(":", 1)[1]), "m", stream=stream)
        if not logprobs:
            await asyncio.to_thread(load.check, request)
            whole = whole.replace(b" word", b"", 1)
        with pytest.raises(BadAnswersError):
            await asyncio.to_thread(load.check, request)


async def test_paced_streams_come_whole_stamped_and_in_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "STREAMS", 3)
    monkeypatch.setattr(paced, "PACE_SECONDS", 0.001)
    burst, large, small = free_port(), free_port(), free_port()
    serving = asyncio.create_task(engine.serve(burst, large, small))
    await asyncio.sleep(0.05)
    for port in (large, small):
        heard = await paced.listen(Request(port, "m", stream=True), seconds=0.01)
        assert heard.streams == 3
        assert heard.events == 3 * (answers.TOKENS + 1)
        assert len(heard.delays) == 3 * (answers.TOKENS - 1), "all tokens but the last tell their time"
        assert heard.percentile_ms(0.0) >= 0
    await asyncio.to_thread(load_burst, burst)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def load_burst(port: int) -> None:
    with pytest.raises(BadAnswersError, match="another answer"):  # it shows logprobs
        load.check(Request(port, "m", stream=True))


def test_the_snapshot_has_a_route_for_each_way_to_measure() -> None:
    found = Snapshot.parse(orjson.loads(ours.snapshot({"json": 1, "off-json": 2, "relaxed-json": 3})))
    assert {name: (route.capture, route.durability) for name, route in found.routes.items()} == {
        "json": ("all", "strict"),
        "off-json": ("off", "strict"),
        "relaxed-json": ("all", "relaxed"),
    }


def test_ratios_are_medians_of_each_rounds_own() -> None:
    found = {
        "json": [10.0, 30.0, 20.0],
        "json_cpu_us": [1.0, 1.0, 1.0],
        "off_json": [50.0, 50.0, 50.0],
        "json nginx": [100.0, 100.0, 1000.0],
        "json nginx cpu": [1.0, 1.0, 1.0],
        "json vllm_router": [100.0, 25.0, 25.0],
        "json vllm_router cpu": [1.0, 1.0, 1.0],
    }
    made = measure.ratios(found, ["json"], ["nginx", "vllm_router"])
    assert made["json_vs_nginx"] == 0.1
    assert made["capture_off_vs_vllm_router"] == 2.0


def test_figures_say_what_was_to_be_reached() -> None:
    rows = list(figures.table({"json_vs_nginx": 0.09, "added_p50_ms": 0.2, "json_vs_litellm": None}))
    assert "SHORT at least 0.1" in rows[0]
    assert "ok" in rows[1]
    assert rows[2].strip().endswith("–")
    assert [figures.rounded(one) for one in (0.012345, 1.2345, 12345.6)] == [0.0123, 1.23, 12346.0]


def test_a_profile_counts_by_thread_and_function(tmp_path: Any) -> None:
    samples = tmp_path / "samples"
    samples.write_text("MainThread;a (x.py:1);b (y.py:2) 3\nMainThread;a (x.py:9) 1\nspool;c (z.py:1) 4\n")
    said = profile.report(samples)
    assert "50.0 %  MainThread" in said
    assert "37.5 %  b (y.py)" in said
    assert "50.0 %  a (x.py)" in said
