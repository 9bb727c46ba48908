"""Vitals: what engines, their GPUs and the spools show of themselves, a value each few seconds.

Knows the metrics by our names and the table they are kept in. Where they come from is in
inference.engine_vitals and inference.gpu_vitals, what is made of them in flywheel.alerts and
flywheel.pages.vitals. They are kept for watching, not for ever, and a sweep that the trace store did not
take is gone: nobody is to wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inference.clickhouse import Store, connect
from inference.rows import moment
from inference.stored import microseconds

FRESH_SECONDS = 60
"""A value older than that is no news."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One of our metrics. ``unit``: share (0 to 1), seconds, °C, W, B, or what is counted."""

    name: str
    title: str
    unit: str
    of: str
    """engine, gpu or spool."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("up", "engine answers", "1 or 0", "engine"),
        Metric("requests_running", "requests running", "requests", "engine"),
        Metric("requests_waiting", "requests waiting", "requests", "engine"),
        Metric("requests_per_s", "requests finished a second", "requests/s", "engine"),
        Metric("prompt_tokens_per_s", "prompt tokens a second", "tokens/s", "engine"),
        Metric("tokens_per_s", "tokens written a second", "tokens/s", "engine"),
        Metric("first_token_p50", "time to first token, median", "seconds", "engine"),
        Metric("first_token_p95", "time to first token, 95th percentile", "seconds", "engine"),
        Metric("between_tokens_p50", "time between tokens, median", "seconds", "engine"),
        Metric("between_tokens_p95", "time between tokens, 95th percentile", "seconds", "engine"),
        Metric("kv_cache", "KV cache in use", "share", "engine"),
        Metric("prefix_hits", "prompt tokens found in the prefix cache", "share", "engine"),
        Metric("preemptions_per_min", "preemptions a minute", "preemptions/min", "engine"),
        Metric("gpu_up", "GPU metrics answer", "1 or 0", "engine"),
        Metric("gpu_utilisation", "GPU utilisation", "share", "gpu"),
        Metric("gpu_power", "GPU power", "W", "gpu"),
        Metric("gpu_power_share", "GPU power, of its cap", "share", "gpu"),
        Metric("gpu_temperature", "GPU temperature", "°C", "gpu"),
        Metric("gpu_memory", "GPU memory in use", "share", "gpu"),
        Metric("gpu_xid", "last XID error", "code", "gpu"),
        Metric("unstored_seconds", "age of the oldest unstored record", "seconds", "spool"),
        Metric("drain_silent_seconds", "silence of the drain", "seconds", "spool"),
        Metric("dropped", "captures dropped that nobody knows of", "captures", "spool"),
        Metric("kept_aside", "records kept aside", "records", "spool"),
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of now. ``source``: an upstream or a spool; ``part``: one of its GPUs, empty for the whole."""

    metric: str
    source: str
    part: str
    value: float


@dataclass(frozen=True, slots=True)
class Span:
    """A series' mean, least and most in one span of time that begins at ``at``."""

    at: datetime
    mean: float
    least: float
    most: float


def keep(samples: Iterable[Sample], at: datetime) -> None:
    """Store a sweep. Raises Unavailable and RejectedError; then none of it is kept."""
    rows = [(at, one.metric, one.source, one.part, one.value) for one in samples]
    if rows:
        # One time for all: one partition, so one block. A sweep is never sent again.
        columns = ("at", "metric", "source", "part", "value")
        connect().insert("vitals", columns, rows, token=f"vitals {microseconds(at)}")


def latest(now: datetime, sources: Sequence[str]) -> dict[tuple[str, str, str], float]:
    """Sources' newest fresh values by (source, metric, part)."""
    rows = _rows(
        "SELECT source, metric, part, argMax(value, vitals.at) AS value FROM vitals "
        "WHERE source IN {sources:Array(String)} AND metric IN {metrics:Array(String)} "
        "AND at > toDateTime({since:Int64}, 'UTC') AND at <= toDateTime({now:Int64}, 'UTC') "
        "GROUP BY source, metric, part",
        {
            "sources": list(sources),
            "metrics": list(METRICS),
            "since": int(now.timestamp()) - FRESH_SECONDS,
            "now": int(now.timestamp()),
        },
    )
    return {(row["source"], row["metric"], row["part"]): row["value"] for row in rows}


def series(
    source: str, metrics: Sequence[str], since: datetime, until: datetime, spans: int = 60
) -> dict[tuple[str, str], list[Span]]:
    """By (metric, part): mean, least and most in some ``spans`` equal spans; empty ones are left out.

    Spans lie where they lay a moment ago: the first one may begin before ``since``.
    """
    first, last = int(since.timestamp()), int(until.timestamp())
    width = max(-(-(last - first) // spans), 1)
    first -= first % width
    rows = _rows(
        "SELECT metric, part, intDiv(toUnixTimestamp(at) - {since:Int64}, {width:Int64}) AS span, "
        "avg(value) AS mean, min(value) AS least, max(value) AS most FROM vitals "
        "WHERE source = {source:String} AND metric IN {metrics:Array(String)} "
        "AND at >= toDateTime({since:Int64}, 'UTC') AND at < toDateTime({until:Int64}, 'UTC') "
        "GROUP BY metric, part, span ORDER BY metric, part, span",
        {"source": source, "metrics": list(metrics), "since": first, "until": last, "width": width},
    )
    found: dict[tuple[str, str], list[Span]] = {}
    for row in rows:
        at = moment((first + row["span"] * width) * 1_000_000)
        span = Span(at, row["mean"], row["least"], row["most"])
        found.setdefault((row["metric"], row["part"]), []).append(span)
    return found


def mean(metric: str, since: datetime) -> dict[str, float]:
    """A metric's mean since then, by source; 0 counts, silence does not."""
    rows = _rows(
        "SELECT source, avg(value) AS mean FROM vitals "
        "WHERE metric = {metric:String} AND at >= toDateTime({since:Int64}, 'UTC') GROUP BY source",
        {"metric": metric, "since": int(since.timestamp())},
    )
    return {row["source"]: row["mean"] for row in rows}


def keep_for(days: int, store: Store | None = None) -> bool:
    """Let rows go after so many days. Returns whether that changed anything. Raises Unavailable."""
    store = store or connect()
    asked = store.query(
        "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'vitals'"
    )
    if not asked.result_rows or f"toIntervalDay({int(days)})" in asked.result_rows[0][0]:
        return False
    store.command(f"ALTER TABLE vitals MODIFY TTL at + toIntervalDay({int(days)})")
    return True


def _rows(sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    return list(connect().query(sql, values).named_results())
