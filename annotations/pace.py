"""How fast a queue is judged, by whom, and when it will be done at that pace.

Pace is counted over days on which something was judged, so that a weekend is no slowness; the estimated end
supposes that people go on as on those days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

from django.contrib.auth.models import User
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone

from annotations.models import Annotation, Item, Queue

DAYS = 14
"""Days that pace is told from."""
TOO_FAST = 2.0
"""Seconds in which nobody has read an item."""
_LATEST = 500
"""A reviewer's latest judgements, of whose seconds the median and share are told."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One reviewer's seconds an item. ``fast`` is the share under TOO_FAST, of those whose time is known."""

    count: int
    median_seconds: float | None
    fast: float | None
    last_at: datetime | None
    today: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Judgements a day, what is left, and the day it will be done; None where nothing tells."""

    a_day: float | None
    left: int
    days_left: float | None
    end: date | None


def fast(seconds: Sequence[float]) -> float:
    """The share of judgements under TOO_FAST; of at least one."""
    return sum(each < TOO_FAST for each in seconds) / len(seconds)


def speed(queue: Queue, reviewer: User) -> Speed:
    """A person's speed in a queue; the reference reviewer's looking-up is not counted."""
    mine = _given(queue).filter(reviewer=reviewer).order_by("-id")
    latest = list(mine.values_list("seconds", "created_at")[:_LATEST])
    times = [float(seconds) for seconds, _ in latest if seconds is not None]
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return Speed(
        mine.count(),
        median(times) if times else None,
        fast(times) if times else None,
        latest[0][1] if latest else None,
        mine.filter(created_at__gte=today).count(),
    )


def of(queue: Queue) -> Pace:
    """The queue's pace over the latest DAYS days, by people."""
    since = timezone.now() - timedelta(days=DAYS)
    days = (
        _given(queue)
        .filter(created_at__gte=since)
        .order_by()
        .annotate(day=TruncDate("created_at"))
        .values("day")
        .annotate(n=Count("pk"))
    )
    counts = [row["n"] for row in days]
    left = _left(queue)
    if not counts:
        return Pace(None, left, None, None)
    a_day = sum(counts) / len(counts)
    days_left = left / a_day
    return Pace(a_day, left, days_left, timezone.localdate() + timedelta(days=round(days_left)))


def _given(queue: Queue) -> QuerySet[Annotation]:
    return Annotation.objects.standing().filter(item__queue=queue, source=Annotation.Source.PERSON)


def _left(queue: Queue) -> int:
    """Judgements that waiting items still need."""
    waiting = queue.items.filter(state=Item.State.WAITING)
    needed = waiting.count() * queue.judgements_per_item
    if queue.judgements_per_item == 1:
        return needed
    return needed - Annotation.objects.standing().filter(item__in=waiting).count()
