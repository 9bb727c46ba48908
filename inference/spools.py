"""What web keeps of each spool: what its drain reports, what its proxy says with each question.

Moments come as ages and are kept by web's own clock. How it all reads is in flywheel.losses.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from inference.models import Spool
from inference.report import Report

_MOST_SPOOLS = 10_000
"""More names than that are a mistake of whoever has the token, not machines."""


def heard_from_drain(report: Report) -> None:
    """Keep a drain's report."""
    now = timezone.now()
    found = {
        "heard_at": now,
        "worked_at": _before(now, report.worked_age),
        "stopped": report.stopped,
        "stored_at": _before(now, report.stored_age),
        "newest": _uuid(report.newest),
        "unstored_since": _before(now, report.unstored_age),
        "stored": report.stored,
        "rate": report.rate,
        "kept_aside": report.kept_aside,
        "damaged": report.damaged,
        "disk_bytes": report.disk_bytes,
        "problem": report.problem[:300],
    }
    if not Spool.objects.filter(name=report.name).update(**found) and _room():
        Spool.objects.update_or_create(name=report.name, defaults=found)


def heard_from_proxy(proxy: str, said: Mapping[str, str]) -> None:
    """Keep what a proxy says of its spool: dropped captures count on from one process to the next."""
    name, run, dropped = said.get("spool", "")[:200], said.get("run", "")[:32], said.get("dropped", "")
    if not name or not (dropped.isascii() and dropped.isdecimal()) or len(dropped) > 15 or not _room():
        return
    now, count = timezone.now(), int(dropped)
    row, _ = Spool.objects.get_or_create(name=name)
    before = row.run_dropped if row.proxy_run == run else 0
    lost = max(count - before, 0)
    news = {
        "proxy": proxy,
        "proxy_seen_at": now,
        "proxy_run": run,
        "proxy_problem": said.get("problem", "")[:300],
        "run_dropped": count,
    }
    # Whoever asks twice at once is counted once: the second finds another row than it read.
    same = Spool.objects.filter(pk=row.pk, proxy_run=row.proxy_run, run_dropped=row.run_dropped)
    if lost:
        same.update(**news, dropped=F("dropped") + lost, dropped_at=now)
    else:
        same.update(**news)


def _room() -> bool:
    return Spool.objects.count() < _MOST_SPOOLS


def _before(now: datetime, age: float | None) -> datetime | None:
    return None if age is None else now - timedelta(seconds=min(age, 1e9))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
