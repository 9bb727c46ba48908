"""One plot and a table: the share of judgements that approve the answer, by model version, over time.

From the trace store alone, where each judgement is an event beside the exchange it is about.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from flywheel import charts
from flywheel.statistics import Rate, wilson
from inference import queries
from inference.access import engineer_required
from inference.clickhouse import Unavailable
from inference.models import ModelVersion, Route

DAYS = (14, 90, 365)
MOST_VERSIONS = 3
"""As many as there are kinds of line; the ones with the most judgements."""
_STYLES = ("current", "second", "quiet")


@dataclass(frozen=True, slots=True)
class Version:
    """What was said of one version's answers, over all days."""

    name: str
    days: list[queries.Approval]
    rate: Rate
    by_reference: int
    """Of its judgements: those of the reference list, which is not a person."""

    @classmethod
    def of(cls, name: str, days: list[queries.Approval]) -> Self:
        """Add up some days."""
        rate = wilson(sum(day.approved for day in days), sum(day.judged for day in days))
        return cls(name, days, rate, sum(day.by_reference for day in days))


@require_safe
@engineer_required
def approval(request: HttpRequest) -> HttpResponse:
    """``?route=`` and ``?days=`` choose; every route and the last ninety days otherwise."""
    route = request.GET.get("route", "")
    days = int(given) if (given := request.GET.get("days", "")).isdecimal() and int(given) in DAYS else 90
    context = {"route": route, "routes": Route.objects.order_by("name"), "days": days, "spans": DAYS}
    try:
        found = queries.approval(timezone.now() - timedelta(days=days), route)
    except Unavailable:
        return render(request, "inference/unavailable.html", status=503)
    rows = by_version(found)
    whole = Version.of("", found) if found else None
    context |= {"whole": whole, "versions": rows, "chart": chart(rows)}
    return render(request, "flywheel/approval.html", context)


def by_version(found: list[queries.Approval]) -> list[Version]:
    """The one with the most judgements first."""
    grouped: dict[str, list[queries.Approval]] = defaultdict(list)
    for row in found:
        grouped[row.weights].append(row)
    names = dict(ModelVersion.objects.values_list("weights", "name"))
    versions = [Version.of(names.get(weights) or days[0].model, days) for weights, days in grouped.items()]
    return sorted(versions, key=lambda version: -version.rate.n)


def chart(versions: list[Version]) -> SafeString:
    """A line a version, with Wilson's interval of each day."""
    series = [
        charts.Series(version.name, [_point(day) for day in version.days], style)
        for version, style in zip(versions[:MOST_VERSIONS], _STYLES, strict=False)
    ]
    return charts.line(
        series,
        title="Approved",
        x_name="day",
        y_format=lambda share: f"{share * 100:.0f} %",
        x_format=_day,
    )


def _point(row: queries.Approval) -> charts.Point:
    rate = wilson(row.approved, row.judged)
    at = datetime.combine(row.day, datetime.min.time(), UTC).timestamp() / 86400
    return charts.Point(at, row.approved / row.judged, rate.low, rate.high)


def _day(days: float) -> str:
    return f"{date(1970, 1, 1) + timedelta(days=round(days)):%-d %b}"
