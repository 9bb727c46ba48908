"""One plot: the share of answers that people approve, by model version, over time.

From the trace store alone, where each judgement is an event beside the exchange it is about.
"""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from flywheel import charts
from flywheel.statistics import wilson
from inference import queries
from inference.access import engineer_required
from inference.clickhouse import Unavailable
from inference.models import ModelVersion, Route

DAYS = (14, 90, 365)
MOST_VERSIONS = 3
"""As many as there are kinds of line; the ones with the most judgements."""
_STYLES = ("current", "second", "quiet")


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
    judged, approved = sum(row.judged for row in found), sum(row.approved for row in found)
    context |= {"rate": wilson(approved, judged) if judged else None, "chart": chart(found)}
    return render(request, "flywheel/approval.html", context)


def chart(found: list[queries.Approval]) -> SafeString:
    """A line a version, with Wilson's interval of each day."""
    by_version: dict[str, list[queries.Approval]] = defaultdict(list)
    for row in found:
        by_version[row.weights].append(row)
    most = sorted(by_version.values(), key=lambda rows: -sum(row.judged for row in rows))[:MOST_VERSIONS]
    names = dict(ModelVersion.objects.values_list("weights", "name"))
    series = [
        charts.Series(names.get(rows[0].weights) or rows[0].model, [_point(row) for row in rows], style)
        for rows, style in zip(most, _STYLES, strict=False)
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
