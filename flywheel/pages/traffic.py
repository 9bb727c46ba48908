"""What the wheel's pages count in the trace store; None where it can't be read: a page goes on without."""

from datetime import timedelta

from django.utils import timezone

from inference import filters, queries
from inference.clickhouse import Unavailable
from inference.models import Route

DAYS = 14


def exchanges() -> int | None:
    """How many exchanges are stored, about."""
    try:
        return queries.count(filters.Filter())
    except Unavailable:
        return None


def a_day() -> list[int] | None:
    """Exchanges of each of the last fourteen days, oldest first."""
    try:
        return [day.count for day in queries.daily(DAYS)]
    except Unavailable:
        return None


def requests_an_hour(route: Route) -> int | None:
    """How many requests the route had in the last hour."""
    asked = filters.Filter(
        (filters.Equals("route", (route.name,)), filters.Time("since", timedelta(hours=1)))
    )
    try:
        return queries.count(asked)
    except Unavailable:
        return None


def by_weights(route: Route) -> list[queries.Served] | None:
    """What answered the route in the last fourteen days, the busiest first."""
    try:
        found = queries.by_weights(timezone.now() - timedelta(days=DAYS))
    except Unavailable:
        return None
    return [served for served in found if served.route == route.name]
