"""Engines as the watch sees them: a row each in the engine room, a page of charts each.

Every number leads to the exchanges of its engine and time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from flywheel import charts, costs
from flywheel.models import Sweep
from flywheel.pages.alerts import exchanges, written
from flywheel.templatetags.flywheel import brief
from inference import vitals
from inference.access import engineer_required
from inference.clickhouse import Unavailable
from inference.filters import Equals, Time
from inference.models import Upstream
from inference.vitals import METRICS, Span

WINDOWS = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}
SPANS = 48
NOW_COLUMNS = (
    ("requests_running", "Running"),
    ("requests_waiting", "Waiting"),
    ("tokens_per_s", "Tokens/s"),
    ("first_token_p95", "First token, p95"),
    ("between_tokens_p95", "Between tokens, p95"),
    ("kv_cache", "KV cache"),
    ("prefix_hits", "Prefix hits"),
    ("preemptions_per_min", "Preempted/min"),
    ("gpu_utilisation", "GPU busy"),
    ("gpu_power_share", "Power of cap"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A number and the exchanges behind it."""

    column: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: metrics on one axis, the first solid, the second dashed."""

    title: str
    metrics: tuple[str, ...]
    names: tuple[str, ...] = ()


CHARTS = (
    Chart("Requests", ("requests_running", "requests_waiting"), ("running", "waiting")),
    Chart("Tokens a second", ("tokens_per_s", "prompt_tokens_per_s"), ("written", "prompt")),
    Chart("Time to first token", ("first_token_p50", "first_token_p95"), ("median", "95th percentile")),
    Chart("Time between tokens", ("between_tokens_p50", "between_tokens_p95"), ("median", "95th percentile")),
    Chart("KV cache in use", ("kv_cache",)),
    Chart("Prompt tokens found in the prefix cache", ("prefix_hits",)),
    Chart("Preemptions a minute", ("preemptions_per_min",)),
    Chart(
        "GPU utilisation and power", ("gpu_utilisation", "gpu_power_share"), ("utilisation", "power of cap")
    ),
    Chart("GPU memory in use", ("gpu_memory",)),
    Chart("GPU temperature", ("gpu_temperature",)),
)


def now_rows() -> list[dict[str, Any]] | None:
    """A row for each enabled engine with its newest values; None when the trace store can't be asked."""
    upstreams = list(Upstream.objects.filter(enabled=True).order_by("name"))
    try:
        found = vitals.latest(timezone.now(), [one.name for one in upstreams]) if upstreams else {}
    except Unavailable:
        return None
    last = Sweep.objects.filter(pk=1).first()
    silent = last.silent if last else {}
    return [
        {
            "upstream": one,
            "silent": silent.get(one.name) or silent.get(f"{one.name}: GPUs", ""),
            "cells": [_cell(one, metric, column, found) for metric, column in NOW_COLUMNS],
        }
        for one in upstreams
    ]


def _cell(upstream: Upstream, metric: str, column: str, found: dict[tuple[str, str, str], float]) -> Cell:
    """The mean over an engine's GPUs; what was not measured is a dash."""
    values = [v for (source, name, _), v in found.items() if source == upstream.name and name == metric]
    if not values:
        return Cell(column, "–", "")
    behind = exchanges(Equals("upstream", (upstream.name,)), Time("since", timedelta(minutes=5)))
    return Cell(column, _bare(metric, sum(values) / len(values)), behind)


def _bare(metric: str, value: float) -> str:
    """A value under a heading that names its unit."""
    return written(metric, value) if METRICS[metric].unit in ("share", "seconds", "°C") else brief(value)


def cost_rows(window: str) -> dict[str, Any]:
    """What a million tokens cost, for the page."""
    try:
        found = costs.costs(timezone.now() - WINDOWS[window])
    except Unavailable:
        return {"costs": None}
    since = Time("since", WINDOWS[window])
    return {
        "costs": [(one, exchanges(Equals("upstream", (one.upstream.name,)), since)) for one in found],
        "cost_window": window,
    }


@require_GET
@engineer_required
def engine(request: HttpRequest, name: str) -> HttpResponse:
    """One engine over a window, drawn when asked for."""
    upstream = get_object_or_404(Upstream, name=name)
    window = request.GET.get("window", "")
    window = window if window in WINDOWS else "6h"
    until = timezone.now().replace(microsecond=0)
    since = until - WINDOWS[window]
    metrics = [metric for chart in CHARTS for metric in chart.metrics]
    context: dict[str, Any] = {
        "upstream": upstream,
        "window": window,
        "windows": list(WINDOWS),
        "drawn": until,
    }
    try:
        found = vitals.series(upstream.name, [*metrics, "up", "gpu_xid"], since, until, SPANS)
        answered = vitals.mean("up", since).get(upstream.name)
    except Unavailable:
        return render(request, "flywheel/engine_vitals.html", context | {"away": True})
    width = WINDOWS[window] / SPANS
    drawn = [(chart, _merged(found, chart.metrics)) for chart in CHARTS]
    xids = {int(span.most) for (metric, _), spans in found.items() if metric == "gpu_xid" for span in spans}
    context |= {
        "charts": [_draw(upstream, chart, series, (since, until)) for chart, series in drawn if series],
        "answered": answered,
        "behind": exchanges(Equals("upstream", (upstream.name,)), Time("since", since)),
        "spans": _spans(upstream, found, width),
        "xids": sorted(xids - {0}),
    }
    return render(request, "flywheel/engine_vitals.html", context)


def _merged(found: dict[tuple[str, str], list[Span]], metrics: Sequence[str]) -> dict[str, list[Span]]:
    """By metric: one series over all GPUs, the mean with the least and the most of any."""
    merged: dict[str, list[Span]] = {}
    for metric in metrics:
        at: dict[datetime, list[Span]] = {}
        for (name, _), spans in found.items():
            if name == metric:
                for span in spans:
                    at.setdefault(span.at, []).append(span)
        if at:
            merged[metric] = [_mean(at[moment]) for moment in sorted(at)]
    return merged


def _mean(spans: Sequence[Span]) -> Span:
    mean = sum(span.mean for span in spans) / len(spans)
    return Span(spans[0].at, mean, min(span.least for span in spans), max(span.most for span in spans))


def _draw(
    upstream: Upstream, chart: Chart, series: dict[str, list[Span]], window: tuple[datetime, datetime]
) -> SafeString:
    """Over the whole window, also where nothing was measured."""
    since, until = window
    width = (until - since) / SPANS
    names = dict(zip(chart.metrics, chart.names or (chart.title,), strict=False))
    metric = chart.metrics[0]
    return charts.line(
        [
            charts.Series(
                names[name],
                [
                    charts.Point(
                        span.at.timestamp(),
                        span.mean,
                        span.least,
                        span.most,
                        _behind(upstream, span.at, width) if name == next(iter(series)) else "",
                    )
                    for span in spans
                ],
                "second" if name != metric else "current",
            )
            for name, spans in series.items()
        ],
        title=chart.title,
        x_name="time",
        height=150,
        y_format=lambda value: _bare(metric, value),
        x_format=_clock(width),
        x_start=since.timestamp(),
        x_end=until.timestamp(),
        gap=2.5 * width.total_seconds(),
    )


def _clock(width: timedelta) -> charts.Format:
    """The reader's time of day; with the day where a window has several."""
    pattern = "%d %b %H:%M" if width >= timedelta(hours=1) else "%H:%M"
    return lambda x: timezone.localtime(
        datetime.fromtimestamp(x, tz=timezone.get_current_timezone())
    ).strftime(pattern)


def _behind(upstream: Upstream, at: datetime, width: timedelta) -> str:
    return exchanges(Equals("upstream", (upstream.name,)), Time("since", at), Time("until", at + width))


def _spans(
    upstream: Upstream, found: dict[tuple[str, str], list[Span]], width: timedelta
) -> list[dict[str, Any]]:
    """Each span with its figures and its exchanges, newest first: the way by keyboard."""
    wanted = ("requests_running", "tokens_per_s", "first_token_p95", "kv_cache")
    by_metric = {
        metric: {span.at: span.mean for span in spans} for metric, spans in _merged(found, wanted).items()
    }
    moments: Iterable[datetime] = sorted({at for values in by_metric.values() for at in values}, reverse=True)
    return [
        {
            "at": at,
            "url": _behind(upstream, at, width),
            "figures": [
                (
                    METRICS[metric].title,
                    written(metric, by_metric[metric][at]) if at in by_metric.get(metric, {}) else "–",
                )
                for metric in wanted
            ],
        }
        for at in moments
    ]
