"""Traffic in numbers: by day, by what answered, by key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from inference.conditions import AT
from inference.queries.asking import FAILED, ask
from inference.stored import Day, Served, microseconds


def daily(days: int = 14, now: datetime | None = None) -> list[Day]:
    """Exchanges a day, today last, in UTC; days without any are there with 0."""
    today = (now or datetime.now(UTC)).date()
    first = today - timedelta(days=days - 1)
    since = datetime.combine(first, datetime.min.time(), UTC)
    rows = ask(
        f"SELECT toDate(started_at) AS day, count() AS n, {FAILED} AS failed FROM facts FINAL "  # noqa: S608
        f"WHERE started_at >= {AT.format('since')} GROUP BY day",
        {"since": microseconds(since)},
    )
    by_day = {row["day"]: row for row in rows}
    found = (by_day.get(first + timedelta(days=n), {"n": 0, "failed": 0}) for n in range(days))
    return [Day(first + timedelta(days=n), row["n"], row["failed"]) for n, row in enumerate(found)]


def by_weights(since: datetime) -> list[Served]:
    """What answered since then, a row for each route and weights, the busiest first."""
    rows = ask(
        "SELECT route, any(model) AS model, weights, count() AS count, "  # noqa: S608
        f"{FAILED} AS failed, min(started_at) AS first_at, max(started_at) AS last_at FROM facts FINAL "
        f"WHERE started_at >= {AT.format('since')} GROUP BY route, weights "
        "ORDER BY count DESC, route, weights",
        {"since": microseconds(since)},
    )
    return [Served(**row) for row in rows]


def tokens_by_key(since: datetime, keys: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """What keys (by name) have used since then: key, model, prompt tokens, completion tokens."""
    rows = ask(
        "SELECT key, model, sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion "  # noqa: S608
        f"FROM facts FINAL WHERE started_at >= {AT.format('since')} AND key IN {{keys:Array(String)}} "
        "GROUP BY key, model",
        {"since": microseconds(since), "keys": list(keys)},
    )
    return [(row["key"], row["model"], row["prompt"], row["completion"]) for row in rows]
