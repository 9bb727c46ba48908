"""An exchange as a span, and sending spans to a collector that may be slow, broken or gone."""

import gzip
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from inference.spans import SPAN_COLUMNS, Export, row, span
from tests.inference import spooled

(EXCHANGE,) = spooled.exchanges(
    [4], parent_span_id="00000000000000aa", session="s-1", tags={"group": "R06"}, user="u1"
)


def test_the_span_has_the_proxys_ids_and_the_conventions_names() -> None:
    made = span(EXCHANGE)
    assert made is not None
    assert made.context is not None
    assert made.parent is not None
    assert (made.context.trace_id, made.context.span_id, made.parent.span_id) == (5, 5, 0xAA)
    assert (made.name, made.kind, made.status.status_code) == (
        "chat icd-chapter",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert made.start_time == EXCHANGE.started_us * 1000
    assert made.end_time == EXCHANGE.finished_us * 1000
    assert dict(made.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "icd-chapter",
        "gen_ai.request.temperature": 0,
        "gen_ai.request.max_tokens": 12,
        "gen_ai.response.model": "smollm2-135m",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.conversation.id": "s-1",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "engine",
        "http.response.status_code": 200,
        "user.id": "u1",
        "flywheel.exchange.id": EXCHANGE.exchange_id,
        "flywheel.exchange.attempt": 0,
        "flywheel.route": "icd-chapter",
        "flywheel.weights": spooled.WEIGHTS,
        "flywheel.base_weights": spooled.WEIGHTS,
        "flywheel.key": "coding desk",
        "flywheel.end_reason": "stop",
        "flywheel.streamed": False,
        "flywheel.capture": "wire",
        "flywheel.first_token_seconds": 0.2,
        "flywheel.tag.group": "R06",
    }


def test_a_failed_exchange_is_an_error_with_its_reason() -> None:
    made = span(replace(EXCHANGE, end_reason="engine_died", error="connection reset"))
    assert made is not None
    assert (made.status.status_code, made.status.description) == (StatusCode.ERROR, "connection reset")
    assert (made.attributes or {})["error.type"] == "engine_died"


@pytest.mark.parametrize("changes", [{"trace_id": ""}, {"span_id": "xyz"}, {"trace_id": "0" * 32}])
def test_without_ids_there_is_no_span(changes: dict[str, str]) -> None:
    assert span(replace(EXCHANGE, **changes)) is None  # type: ignore[arg-type]


def test_a_row_holds_attributes_as_text() -> None:
    made = span(EXCHANGE)
    assert made is not None
    found = dict(zip(SPAN_COLUMNS, row(made), strict=True))
    assert (found["TraceId"], found["SpanId"], found["ParentSpanId"]) == (
        "0" * 31 + "5",
        "0" * 15 + "5",
        "0" * 14 + "aa",
    )
    assert (found["SpanKind"], found["StatusCode"], found["Duration"]) == ("Client", "Unset", 1_400_000_000)
    attributes = found["SpanAttributes"]
    assert attributes["gen_ai.response.finish_reasons"] == '["stop"]'
    assert attributes["flywheel.streamed"] == "false"
    assert attributes["gen_ai.usage.input_tokens"] == "20"


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP and keeps the spans' names."""

    names: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.names.extend(f"{self.path} {one.name}" for one in scope.spans)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def collector() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_reach_a_collector(collector: str) -> None:
    made = span(EXCHANGE)
    assert made is not None
    export = Export.to(collector)
    export.offer([made, made])
    export.close()
    assert Collector.names == ["/v1/traces chat icd-chapter"] * 2
    assert (export.sent, export.dropped) == (2, 0)


class Hanging(SpanExporter):
    """A collector that never answers until it is let go, and then fails."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(20)
        raise ConnectionError


def test_a_hanging_collector_costs_spans_never_time() -> None:
    made = span(EXCHANGE)
    assert made is not None
    hanging = Hanging()
    export = Export(hanging, room=500)
    for _ in range(100):
        export.offer([made])
    assert export.dropped >= 98
    hanging.go.set()
    export.close()
    assert (export.sent, export.dropped) == (0, 100)
