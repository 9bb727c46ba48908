"""Exchanges in a real trace store with real tokens: what the pages about them are tested with."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from inference import clickhouse, otlp, storing, traces
from inference.answer import Choice
from inference.exchange import Exchange, parse
from inference.raw import RawExchange
from inference.rows import Record
from tests.inference import spooled, tiny

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> **bold**"
TOKENIZER = hashlib.sha256(tiny.tokenizer_json().encode()).hexdigest()


def keep_tokenizer(artefacts: Path) -> None:
    """Where the vocabulary looks for it."""
    (artefacts / "tokenizers").mkdir(parents=True, exist_ok=True)
    (artefacts / "tokenizers" / f"{TOKENIZER}.json").write_text(tiny.tokenizer_json())


def exchange(number: int, text: str = "wheezing", sure: float = 0.95, **changes: object) -> Exchange:
    """One that ended by itself; its third token has a fifth of a chance, every other one ``sure``."""
    plain = parse(spooled.raw(number, text=text, tokenizer=TOKENIZER, **changes))
    ids = [*tiny.tokenizer().encode(text).ids, tiny.special_id("<|im_end|>")]
    chances = [0.15 if place == 2 else sure for place in range(len(ids))]
    other = tiny.tokenizer().encode("x").ids[0]
    tops = [
        sorted([(i, p), (other, 0.8 * (1 - p))], key=lambda pair: -pair[1])
        for i, p in zip(ids, chances, strict=True)
    ]
    tokens = tiny.tokens(ids, chances, tops)
    return replace(
        plain,
        choices=[Choice(0, text, "stop")],
        tokens=[tokens],
        completion_tokens=len(ids),
        tokens_match=True,
    )


def ended(one: Exchange, reason: str, error: str = "") -> Exchange:
    """The same, but nothing came."""
    return replace(
        one,
        end_reason=reason,
        error=error,
        choices=[],
        tokens=[],
        completion_tokens=0,
        first_token_seconds=None,
    )


def store(*made: Record) -> None:
    """Into the store of FLYWHEEL_CLICKHOUSE_URL, whose tables are made if need be."""
    clickhouse.migrate()
    token = hashlib.sha256(repr(made).encode()).hexdigest()
    storing.store(clickhouse.connect(), list(made), token, again=False)


def step(trace_id: str, span_id: str, name: str, error: str = "", parent: str = "") -> tuple[object, ...]:
    """A span of an application, as a row."""
    sent = Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent),
        name=name,
        start_time_unix_nano=time.time_ns() - 10**9,
        end_time_unix_nano=time.time_ns(),
        status=Status(code=Status.STATUS_CODE_ERROR, message=error) if error else None,
    )
    request = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[sent])])]
    )
    opened = traces.header(traces.PROTOBUF, at_us=time.time_ns() // 1000, source="coding desk")
    raw = RawExchange("", 0, opened, request.SerializeToString(), b"", {"end_reason": "complete"})
    return otlp.parse(raw).rows[0]
