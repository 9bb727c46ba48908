"""Spans from outside: what the real SDK sends becomes rows, in both forms; strange bytes break nothing."""

import base64
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.status import Status, StatusCode

from inference import clickhouse, otlp, queries, traces
from inference.raw import RawExchange
from inference.spans import SPAN_COLUMNS
from inference.traces import TracesError
from inference.uuid7 import uuid7
from tests.inference import spooled
from tests.inference.test_drain import drain_all

LIMIT = 1 << 20
NOW_US = 1_790_000_000_000_000


def made() -> tuple[ReadableSpan, ...]:
    """A search with a failing tool under it, as the real SDK makes them."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "desk", "replicas": 2}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("app", "1.2")
    with tracer.start_as_current_span("search", kind=SpanKind.SERVER) as search:
        search.set_attributes({"q": "wheezing", "hits": 3, "cached": True, "scores": [0.5, 1.0]})
        search.add_event("found", {"n": 3})
        with tracer.start_as_current_span(
            "tool", links=[Link(search.get_span_context(), {"why": "x"})]
        ) as tool:
            tool.set_status(Status(StatusCode.ERROR, "no <b>connection</b>"))
    provider.shutdown()
    return kept.get_finished_spans()


SPANS = made()
BODY = encode_spans(SPANS).SerializeToString()


def as_json(body: bytes) -> bytes:
    """The JSON form by OTLP's rules: ids in hexadecimal digits, everything else as protobuf's JSON."""
    found: dict[str, Any] = json_format.MessageToDict(ExportTraceServiceRequest.FromString(body))
    for group in found["resourceSpans"]:
        for scoped in group["scopeSpans"]:
            for span in scoped["spans"]:
                for holder in (span, *span.get("links", ())):
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if name in holder:
                            holder[name] = base64.b64decode(holder[name]).hex()
    return json.dumps(found).encode()


def raw(body: bytes, content_type: str = traces.PROTOBUF, at_us: int | None = None) -> RawExchange:
    at = at_us or SPANS[0].start_time // 1000  # type: ignore[operator]
    opened = traces.header(content_type, at_us=at, source="coding desk")
    return RawExchange(str(uuid7()), 0, opened, body, b"", {"end_reason": "complete"})


def rows(body: bytes, **given: Any) -> list[dict[str, Any]]:
    return [dict(zip(SPAN_COLUMNS, row, strict=True)) for row in otlp.parse(raw(body, **given)).rows]


def test_both_forms_give_the_collectors_rows() -> None:
    found = rows(BODY)
    assert found == rows(as_json(BODY), content_type=traces.JSON)
    tool, search = sorted(found, key=lambda row: row["SpanName"], reverse=True)
    assert tool["SpanName"] == "tool"
    assert (tool["ParentSpanId"], tool["TraceId"]) == (search["SpanId"], search["TraceId"])
    assert (search["ParentSpanId"], search["SpanKind"], search["ServiceName"]) == ("", "Server", "desk")
    assert search["SpanAttributes"] == {"q": "wheezing", "hits": "3", "cached": "true", "scores": "[0.5,1.0]"}
    assert search["ResourceAttributes"]["flywheel.key"] == "coding desk"
    assert search["ResourceAttributes"]["replicas"] == "2"
    assert (tool["StatusCode"], tool["StatusMessage"]) == ("Error", "no <b>connection</b>")
    assert (search["Events.Name"], search["Events.Attributes"]) == (["found"], [{"n": "3"}])
    assert (tool["Links.SpanId"], tool["Links.Attributes"]) == ([search["SpanId"]], [{"why": "x"}])
    assert (search["ScopeName"], search["ScopeVersion"]) == ("app", "1.2")
    assert SPANS[1].start_time is not None
    assert SPANS[1].end_time is not None
    assert (search["Timestamp"], search["Duration"]) == (
        SPANS[1].start_time,
        SPANS[1].end_time - SPANS[1].start_time,
    )


def test_a_clock_that_is_years_off_makes_no_partition_of_its_own() -> None:
    (tool, _) = rows(BODY, at_us=NOW_US - 5 * 366 * 86_400_000_000)
    assert tool["Timestamp"] == (NOW_US - 5 * 366 * 86_400_000_000) * 1000
    assert tool["SpanAttributes"]["flywheel.given_start_ns"] == str(SPANS[0].start_time)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x0a\x05abcde", traces.PROTOBUF),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', traces.JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zzzz"}]}]}]}', traces.JSON),
        (b'{"resourceSpans": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", traces.JSON),
    ],
)
def test_what_cannot_be_read_is_said(body: bytes, content_type: str) -> None:
    with pytest.raises(ValueError, match="spans"):
        otlp.parse(raw(body, content_type))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for content_type in (traces.PROTOBUF, traces.JSON):
        try:
            otlp.parse(raw(body, content_type))
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, ""),
        (BODY, "identity"),
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), " GZIP "),
        (zlib.compress(BODY), "deflate"),
    ],
)
def test_a_body_is_taken_however_it_is_packed(body: bytes, encoding: str) -> None:
    assert traces.read(body, "application/x-protobuf", encoding, LIMIT) == BODY


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "status"),
    [
        (BODY, "text/plain", "", 415),
        (BODY, "", "", 415),
        (BODY, traces.PROTOBUF, "br", 415),
        (BODY, traces.PROTOBUF, "gzip", 400),
        (gzip.compress(BODY)[:-9], traces.PROTOBUF, "gzip", 400),
        (gzip.compress(BODY) * 2, traces.PROTOBUF, "gzip", 400),
        (gzip.compress(bytes(LIMIT + 1)), traces.PROTOBUF, "gzip", 413),
        (bytes(LIMIT + 1), traces.PROTOBUF, "", 413),
        (as_json(BODY), traces.PROTOBUF, "", 400),
        (BODY[:-1], traces.PROTOBUF, "", 400),
        (BODY, traces.JSON, "", 400),
        (b"[]", traces.JSON, "", 400),
        (b'{"resourceSpans": 7}', traces.JSON, "", 400),
    ],
)
def test_what_is_wrong_is_refused_at_the_door(
    body: bytes, content_type: str, encoding: str, status: int
) -> None:
    with pytest.raises(TracesError) as raised:
        traces.read(body, content_type, encoding, LIMIT)
    assert raised.value.status == status


def test_an_empty_request_is_one() -> None:
    assert traces.read(b"", traces.PROTOBUF, "", LIMIT) == b""
    assert rows(b"") == []
    assert traces.read(b"{}", "application/json; charset=utf-8", "", LIMIT) == b"{}"


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    for content_type in (traces.PROTOBUF, traces.JSON):
        for encoding in ("", "gzip"):
            try:
                assert traces.read(body, content_type, encoding, LIMIT) is not None
            except TracesError:
                continue


@pytest.fixture
def store(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    _migrate()


def _migrate() -> None:
    clickhouse.migrate()


def test_spans_from_outside_and_the_exchange_are_one_tree(store: None, tmp_path: Path) -> None:
    found = rows(BODY)
    trace, parent = found[0]["TraceId"], found[0]["SpanId"]
    one = spooled.raw(1, trace_id=trace, parent_span_id=parent)
    forged = (
        encode_spans(SPANS)
        .SerializeToString()
        .replace(bytes.fromhex(parent), bytes.fromhex(one.opened["span_id"]))
    )
    # Sent twice by a sender that did not hear the answer, and once by one that claims our span.
    spooled.spool(tmp_path, [raw(BODY), one, raw(as_json(BODY), traces.JSON), raw(forged)])
    assert drain_all(tmp_path).status.quarantined == 0
    drain_all(tmp_path)
    names = {span.span_id: span.name for span in queries.spans(trace)}
    assert sorted(names.values()) == ["chat icd-chapter", "search", "tool"]
    assert names[one.opened["span_id"]] == "chat icd-chapter"


def test_unreadable_spans_are_kept_aside(store: None, tmp_path: Path) -> None:
    spooled.spool(tmp_path, [raw(b"\x0a\x05abcde"), raw(BODY)])
    drain = drain_all(tmp_path)
    assert (drain.status.quarantined, drain.status.stored) == (1, 2)
