"""Feedback and spans at the proxy, on real sockets: taken when they are on disk, refused with clear words."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from inference import queries, traces
from inference.clickhouse import migrate
from inference.events import Event
from inference.otlp import SpanBatch
from inference.spans import SPAN_COLUMNS
from tests.inference.double import SECRET, Engine, Running, call, proxying, serving, snapshot
from tests.inference.test_drain import drain_all
from tests.inference.test_otlp import BODY, SPANS, as_json
from tests.inference.test_proxy import fail


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    made = Engine()
    async with serving(made) as url:
        yield made, url


@pytest.fixture
async def proxy(
    engine: tuple[Engine, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    monkeypatch.setattr("inference.intake.SPANS_BYTES", 200_000)
    async with proxying(tmp_path, engine[1]) as running:
        yield running


async def test_feedback_is_answered_when_it_is_on_disk(proxy: Running) -> None:
    _, headers, _ = await proxy.post(call("hello"))
    exchange = headers["x-flywheel-exchange-id"]
    status, _, body = await proxy.post(
        {"exchange_id": exchange, "thumbs": "down", "correction": "bonjour"},
        "/v1/feedback",
        x_flywheel_user="u7",
    )
    said = orjson.loads(body)
    assert (status, said["object"], said["exchange_id"]) == (200, "feedback", exchange)
    (event,) = [one for one in proxy.records() if isinstance(one, Event)]
    assert (event.event_id, event.kind, event.exchange_id) == (said["id"], "feedback", exchange)
    assert event.source == "clinic"
    assert event.data == {"thumbs": "down", "correction": "bonjour", "user": "u7"}
    assert len(proxy.spooled()) == 1, "it is no exchange"


async def test_the_official_client_can_send_it(proxy: Running) -> None:
    answer = await proxy.openai.chat.completions.with_raw_response.create(**call("hello"))
    about = {"exchange_id": answer.headers["x-flywheel-exchange-id"]}
    sent = await proxy.openai.post("/feedback", body={**about, "score": 0.5}, cast_to=object)
    assert dict(sent)["exchange_id"] == about["exchange_id"]  # type: ignore[call-overload]
    with pytest.raises(openai.BadRequestError) as raised:
        await proxy.openai.post("/feedback", body={**about, "score": 5}, cast_to=object)
    assert raised.value.param == "score"
    assert raised.value.code == "invalid_feedback"


async def test_it_waits_for_the_disk(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    original = proxy.app.spool._tail._sync

    def sync(descriptor: int) -> None:
        synced.wait(20)
        original(descriptor)

    monkeypatch.setattr(proxy.app.spool._tail, "_sync", sync)
    waiting = asyncio.create_task(proxy.post({"trace_id": "a" * 32, "score": 1}, "/v1/feedback"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    synced.set()
    assert (await waiting)[0] == 200


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/traces"])
async def test_strangers_and_other_methods_are_turned_away(proxy: Running, path: str) -> None:
    for secret in ("", "fw-other"):
        assert (await proxy.post({"trace_id": "a" * 32, "score": 1}, path, secret=secret))[0] == 401
    async with proxy.http.get(proxy.url + path, headers={"authorization": f"Bearer {SECRET}"}) as response:
        assert response.status == 405
    assert proxy.records() == []


@pytest.mark.parametrize(
    ("path", "body", "kind", "said"),
    [
        ("/v1/feedback", b"{nonsense", "application/json", (400, "invalid_feedback")),
        ("/v1/feedback", b'{"trace_id":"x"}', "application/json", (400, "invalid_feedback")),
        ("/v1/feedback", b" " * 300_000, "application/json", (413, "request_too_large")),
        ("/v1/traces", BODY, "text/plain", (415, "invalid_spans")),
        ("/v1/traces", BODY[:-3], traces.PROTOBUF, (400, "invalid_spans")),
        ("/v1/traces", bytes(300_000), traces.PROTOBUF, (413, "request_too_large")),
    ],
)
async def test_what_is_wrong_is_said_and_not_kept(
    proxy: Running, path: str, body: bytes, kind: str, said: tuple[int, str]
) -> None:
    status, _, answer = await proxy.post(body, path, content_type=kind)
    assert (status, orjson.loads(answer)["error"]["code"]) == said
    assert proxy.records() == []


async def test_a_keys_limits_hold_for_them_too(engine: tuple[Engine, str], tmp_path: Path) -> None:
    """Without Redis, so that one proxy counts alone."""
    found = snapshot(engine[1])
    for key in found["keys"].values():
        key["limits"] = {"requests": 2, "concurrent": 2}
    said = {"trace_id": "a" * 32, "score": 1}
    spans: dict[str, list[str]] = {"resourceSpans": []}
    async with proxying(tmp_path / "limited", found=found) as proxy:
        status, headers, _ = await proxy.post(said, "/v1/feedback")
        assert (status, headers["x-ratelimit-limit-requests"]) == (200, "2")
        assert (await proxy.post(spans, "/v1/traces", content_type="application/json"))[0] == 200
        for path, body in (("/v1/feedback", said), ("/v1/traces", spans)):
            status, headers, answer = await proxy.post(body, path, content_type="application/json")
            assert (status, orjson.loads(answer)["error"]["code"]) == (429, "rate_limit_exceeded")
            assert int(headers["retry-after"]) > 0
        assert len(proxy.records()) == 2


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/traces"])
async def test_a_full_disk_is_said(proxy: Running, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(proxy.app.spool._tail, "_sync", fail)
    body = (
        b'{"resourceSpans": []}' if path == "/v1/traces" else b'{"trace_id":"' + b"a" * 32 + b'","score":1}'
    )
    for _ in range(2):
        status, _, said = await proxy.post(body, path, content_type="application/json")
        assert (status, orjson.loads(said)["error"]["code"]) == (503, "not_recorded")
    monkeypatch.undo()


async def test_spans_come_in_every_form(proxy: Running) -> None:
    sent = [
        (BODY, traces.PROTOBUF, "identity"),
        (gzip.compress(BODY), traces.PROTOBUF, "gzip"),
        (gzip.compress(as_json(BODY)), "application/json; charset=utf-8", "gzip"),
    ]
    for body, kind, encoding in sent:
        status, headers, said = await proxy.post(
            body, "/v1/traces", content_type=kind, content_encoding=encoding
        )
        assert (status, headers["content-type"]) == (200, kind.partition(";")[0])
        assert said == (b"{}" if "json" in kind else b"")
    found = [one for one in proxy.records() if isinstance(one, SpanBatch)]
    names = [[row[SPAN_COLUMNS.index("SpanName")] for row in one.rows] for one in found]
    assert names == [[span.name for span in SPANS]] * 3


@pytest.mark.slow
async def test_a_bomb_is_not_inflated(proxy: Running) -> None:
    bomb = gzip.compress(bytes(200 << 20))
    status, _, _ = await proxy.post(bomb, "/v1/traces", content_type=traces.PROTOBUF, content_encoding="gzip")
    assert status == 413


async def test_a_client_that_left_before_the_end_is_noted(
    proxy: Running, engine: tuple[Engine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was whole and kept; only its end found nobody."""
    synced = threading.Event()
    original = proxy.app.spool._tail._sync

    def sync(descriptor: int) -> None:
        synced.wait(20)
        original(descriptor)

    monkeypatch.setattr(proxy.app.spool._tail, "_sync", sync)
    async with proxy.http.post(
        proxy.url + "/v1/chat/completions",
        json=call("wait", stream=True),
        headers={"authorization": f"Bearer {SECRET}"},
    ) as response:
        assert b"one" in await response.content.readany()
        engine[0].go_on.set()
        await asyncio.sleep(0.1)  # its end comes and waits for the disk
        response.close()
    await asyncio.sleep(0.1)
    synced.set()
    while len(found := proxy.records()) < 2:  # noqa: ASYNC110 – another thread writes them
        await asyncio.sleep(0.01)
    (exchange,) = proxy.spooled()
    (event,) = [one for one in found if isinstance(one, Event)]
    assert (exchange.end_reason, exchange.choices[0].text) == ("stop", "onetwo")
    assert (event.kind, event.exchange_id) == ("client_left", exchange.exchange_id)


@pytest.fixture
def provider(proxy: Running) -> Iterator[TracerProvider]:
    """The real SDK, set up as the guide says."""
    exporter = OTLPSpanExporter(
        endpoint=f"{proxy.url}/v1/traces",
        headers={"authorization": f"Bearer {SECRET}"},
        compression=Compression.Gzip,
    )
    made = TracerProvider(resource=Resource({"service.name": "desk"}))
    made.add_span_processor(BatchSpanProcessor(exporter))
    instrumentor = OpenAIInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=made)
    yield made
    instrumentor.uninstrument()
    made.shutdown()


async def test_the_real_sdk_and_the_openai_instrumentation_make_one_tree(
    proxy: Running, provider: TracerProvider, clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def carry(request: Any) -> None:
        propagate.inject(request.headers)

    tracer = provider.get_tracer("desk")
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1",
        api_key=SECRET,
        http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [carry]}),
    ) as client:
        with tracer.start_as_current_span("answer a question"):
            with tracer.start_as_current_span("retrieval"):
                pass
            await client.chat.completions.create(**call("hello"))
    assert await asyncio.to_thread(provider.force_flush, 20_000)
    (exchange,) = proxy.spooled()
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)

    def stored() -> list[queries.Span]:
        migrate()
        assert drain_all(proxy.settings.spool).status.quarantined == 0
        return queries.spans(exchange.trace_id)

    found = await asyncio.to_thread(stored)
    below = {span.span_id: span for span in found}
    ours = below[exchange.span_id]
    instrumented = below[ours.parent_span_id]
    root = below[instrumented.parent_span_id]
    assert (root.name, root.parent_span_id, root.service) == ("answer a question", "", "desk")
    assert instrumented.attributes["gen_ai.request.model"] == "desk"
    assert [span.name for span in found if span.parent_span_id == root.span_id] == ["retrieval", "chat desk"]
    assert len(found) == 4


async def test_an_exporter_is_told_when_its_spans_are_refused(proxy: Running) -> None:
    exporter = OTLPSpanExporter(endpoint=f"{proxy.url}/v1/traces", headers={"authorization": "Bearer fw-no"})
    assert await asyncio.to_thread(exporter.export, SPANS) is SpanExportResult.FAILURE
    exporter.shutdown()  # type: ignore[no-untyped-call]
    assert encode_spans(SPANS).SerializeToString() == BODY
