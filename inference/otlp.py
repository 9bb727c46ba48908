"""Spans that applications and engines send (OTLP/HTTP), as rows of the collector's table. Pure.

Knows both forms of an ExportTraceServiceRequest, protobuf and JSON, through OpenTelemetry's own definitions.
What is asked of a body before it is taken is in inference.traces; ours are made in inference.spans.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from inference.raw import RawExchange

KEY = "flywheel.key"
"""The resource attribute that says through which API key a span came; ours have none."""
SERVICE = "service.name"
_PAST, _FUTURE = 366 * 86_400 * 10**9, 86_400 * 10**9
"""How far from its arrival a span's beginning may lie, in ns: each month is a part of the store."""
_LONGEST = 1 << 63
_KINDS = {number: name.removeprefix("SPAN_KIND_").capitalize() for name, number in Span.SpanKind.items()}


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """What one request brought: rows as ``inference.spans.SPAN_COLUMNS`` names them, times in ns."""

    id: str
    rows: list[tuple[Any, ...]]


def parse(raw: RawExchange) -> SpanBatch:
    """The spans in ``raw``. Raises ValueError when its body is no request of OTLP."""
    try:
        opened = raw.opened
        received_ns = opened["at_us"] * 1000
        request = _request(raw.request, opened["content_type"])
        found = [
            _row(span, scoped, group.resource, opened["source"], received_ns)
            for group in request.resource_spans
            for scoped in group.scope_spans
            for span in scoped.spans
        ]
    except (
        *(KeyError, TypeError, ValueError, AttributeError, RecursionError),
        *(DecodeError, json_format.ParseError),
    ) as error:
        raise ValueError(f"spans {raw.exchange_id} can't be parsed: {error!r}") from error
    return SpanBatch(raw.exchange_id, found)


def _request(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    if content_type != "application/json":
        return ExportTraceServiceRequest.FromString(body)
    # Numbers, such as times in nanoseconds, keep all their digits: protobuf's own reader takes the text.
    found = json_format.Parse(body, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    for group in found.resource_spans:
        for scoped in group.scope_spans:
            for span in scoped.spans:
                _restore_ids(span)
                for link in span.links:
                    _restore_ids(link)
    return found


def _restore_ids(holder: Any) -> None:
    """OTLP writes ids in JSON as hexadecimal digits, where protobuf's JSON reads base64."""
    for name in ("trace_id", "span_id", "parent_span_id"):
        if given := getattr(holder, name, b""):
            setattr(holder, name, bytes.fromhex(base64.b64encode(given).decode()))


def _row(span: Span, scoped: ScopeSpans, resource: Resource, key: str, received_ns: int) -> tuple[Any, ...]:
    attributes = _texts(resource.attributes) | {KEY: key}
    start, within = _start(span.start_time_unix_nano, received_ns)
    given = _texts(span.attributes)
    if not within:
        given["flywheel.given_start_ns"] = str(span.start_time_unix_nano)
    return (
        start,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.name,
        _KINDS.get(span.kind, ""),
        attributes.get(SERVICE, ""),
        attributes,
        scoped.scope.name,
        scoped.scope.version,
        given,
        min(max(0, span.end_time_unix_nano - span.start_time_unix_nano), _LONGEST),
        _status(span.status),
        span.status.message,
        [_start(event.time_unix_nano, received_ns)[0] for event in span.events],
        [event.name for event in span.events],
        [_texts(event.attributes) for event in span.events],
        [link.trace_id.hex() for link in span.links],
        [link.span_id.hex() for link in span.links],
        [link.trace_state for link in span.links],
        [_texts(link.attributes) for link in span.links],
    )


def _start(given_ns: int, received_ns: int) -> tuple[int, bool]:
    """A time, and whether it was believed: of one that can't be, the arrival is taken."""
    within = received_ns - _PAST <= given_ns <= received_ns + _FUTURE
    return (given_ns if within else received_ns), within


def _status(status: Status) -> str:
    return {Status.STATUS_CODE_OK: "Ok", Status.STATUS_CODE_ERROR: "Error"}.get(status.code, "Unset")


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes as the collector writes them into a map of texts."""
    return {one.key: _text(one.value) for one in attributes}


def _text(value: AnyValue) -> str:
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    return orjson.dumps(plain).decode() if plain is not None else ""


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value) for one in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)
