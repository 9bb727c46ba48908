"""An exchange as an OpenTelemetry span, by the GenAI semantic conventions.

All names of those conventions that the project uses stand here and nowhere else: they are marked Development
and get renamed. What has no name there is ``flywheel.*``. A span carries no prompts and no answers; those are
in the exchange, under the same trace. Trace and span ids are the ones the proxy made and sent on.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from inference.exchange import Exchange

PROVIDER = "vllm"
_OPERATIONS = {
    "chat": "chat",
    "completions": "text_completion",
    "responses": "chat",
    "messages": "chat",
    "embeddings": "embeddings",
}
_REQUEST_PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}
_ENDED_WELL = frozenset(("stop", "length", "tool_calls", "content_filter"))
_RESOURCE = Resource({SERVICE_NAME: "flywheel-proxy"})
_SCOPE = InstrumentationScope("flywheel", "1")
_HEX = re.compile(r"[0-9a-f]+\Z")


def span(exchange: Exchange) -> ReadableSpan | None:
    """The exchange's span; None when it has no usable trace or span id."""
    context = _context(exchange.trace_id, exchange.span_id)
    if context is None:
        return None
    well = exchange.end_reason in _ENDED_WELL
    return ReadableSpan(
        name=f"{_OPERATIONS.get(exchange.surface, exchange.surface)} {exchange.route}".strip(),
        context=context,
        parent=_context(exchange.trace_id, exchange.parent_span_id),
        resource=_RESOURCE,
        attributes=_attributes(exchange),
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.UNSET)
        if well
        else Status(StatusCode.ERROR, exchange.error or exchange.end_reason),
        start_time=exchange.started_us * 1000,
        end_time=max(exchange.finished_us, exchange.started_us) * 1000,
        instrumentation_scope=_SCOPE,
    )


def _context(trace_id: str, span_id: str) -> SpanContext | None:
    if not (_HEX.match(trace_id) and _HEX.match(span_id)):
        return None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))
    return context if context.is_valid else None


def _attributes(exchange: Exchange) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": _OPERATIONS.get(exchange.surface, exchange.surface),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": exchange.route,
        "gen_ai.response.model": exchange.model,
        "gen_ai.conversation.id": exchange.session,
        "gen_ai.usage.input_tokens": exchange.prompt_tokens,
        "gen_ai.usage.output_tokens": exchange.completion_tokens,
        "gen_ai.response.finish_reasons": [c.finish_reason for c in exchange.choices if c.finish_reason],
        "gen_ai.request.stop_sequences": _stops(exchange.params.get("stop")),
        "server.address": urlsplit(exchange.upstream).hostname or exchange.upstream,
        "http.response.status_code": exchange.status,
        "user.id": exchange.user,
        "flywheel.exchange.id": exchange.exchange_id,
        "flywheel.exchange.attempt": exchange.attempt,
        "flywheel.route": exchange.route,
        "flywheel.weights": exchange.weights,
        "flywheel.base_weights": exchange.base_weights,
        "flywheel.key": exchange.key,
        "flywheel.end_reason": exchange.end_reason,
        "flywheel.streamed": exchange.streamed,
        "flywheel.capture": exchange.capture,
        **{f"flywheel.tag.{name}": value for name, value in exchange.tags.items()},
    }
    for parameter, name in _REQUEST_PARAMETERS.items():
        value = exchange.params.get(parameter)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
    if exchange.first_token_seconds is not None:
        found["flywheel.first_token_seconds"] = exchange.first_token_seconds
    if exchange.end_reason not in _ENDED_WELL:
        found["error.type"] = exchange.end_reason
    return {name: value for name, value in found.items() if value not in ("", [])}


def _stops(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


USER_ATTRIBUTES = ("user.id", "enduser.id")
"""Where a span names the user, by today's conventions and by those before."""
SPAN_COLUMNS = (
    *("Timestamp", "TraceId", "SpanId", "ParentSpanId", "TraceState", "SpanName", "SpanKind", "ServiceName"),
    *("ResourceAttributes", "ScopeName", "ScopeVersion", "SpanAttributes", "Duration", "StatusCode"),
    *("StatusMessage", "Events.Timestamp", "Events.Name", "Events.Attributes"),
    *("Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes"),
)


def row(span: ReadableSpan) -> tuple[Any, ...]:
    """The span in the columns of the collector's otel_traces; attributes become text there. Times in ns."""
    assert span.context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    scope = span.instrumentation_scope
    return (
        span.start_time,
        f"{span.context.trace_id:032x}",
        f"{span.context.span_id:016x}",
        f"{span.parent.span_id:016x}" if span.parent else "",
        "",
        span.name,
        span.kind.name.capitalize(),
        str(span.resource.attributes.get(SERVICE_NAME, "")),
        _RESOURCE_TEXTS if span.resource is _RESOURCE else _texts(span.resource.attributes),
        scope.name if scope else "",
        (scope.version or "") if scope else "",
        _texts(span.attributes or {}),
        span.end_time - span.start_time,
        span.status.status_code.name.capitalize(),
        span.status.description or "",
        *([] for _ in SPAN_COLUMNS[15:]),
    )


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as the collector writes them: lists as JSON-like text, booleans in lower case."""
    return {name: _text(value) for name, value in attributes.items()}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence):
        return "[" + ",".join(f'"{one}"' if isinstance(one, str) else str(one) for one in value) + "]"
    return str(value)


_RESOURCE_TEXTS = _texts(_RESOURCE.attributes)


class Export:
    """Sends spans to a collector as well, if one is wanted. Never waits, never fails: what it can't send is
    counted in ``dropped`` and stays in the trace store, which is the record.
    """

    def __init__(self, exporter: SpanExporter, room: int = 10_000) -> None:
        self.sent = 0
        self.dropped = 0
        self._exporter = exporter
        self._waiting: queue.Queue[list[ReadableSpan] | None] = queue.Queue(maxsize=max(1, room // 500))
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    @classmethod
    def to(cls, endpoint: str) -> Export:
        """Over OTLP/HTTP to a collector's address, such as http://host:4318."""
        address = endpoint.rstrip("/")
        address = address if address.endswith("/v1/traces") else f"{address}/v1/traces"
        return cls(OTLPSpanExporter(endpoint=address, timeout=10))

    def offer(self, spans: Sequence[ReadableSpan]) -> None:
        """Take spans if there is room for them."""
        try:
            self._waiting.put_nowait(list(spans))
        except queue.Full:
            self.dropped += len(spans)

    def close(self, patience_seconds: float = 5.0) -> None:
        """Send what waits, for a while."""
        try:
            self._waiting.put(None, timeout=patience_seconds)
        except queue.Full:
            return
        self._thread.join(patience_seconds)

    def _run(self) -> None:
        while (batch := self._waiting.get()) is not None:
            try:
                sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception:
                sent = False
            if sent:
                self.sent += len(batch)
            else:
                self.dropped += len(batch)
        self._exporter.shutdown()
