"""Lists of exchanges by a filter: a page of them, how many, over time, and what a name's values are.

Paged by (started_at, exchange id, attempt), never by OFFSET.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any, Literal

from inference import readers
from inference.conditions import AT, COLUMNS, SPELLING, readable, where
from inference.filters import NAMES, WORDS, Filter
from inference.queries.asking import FAILED, ask
from inference.rows import moment
from inference.stored import Bucket, Cursor, ExchangeSummary, Page, microseconds

COUNTED = 10_000
"""So many are counted exactly."""
_SUMMARY = ", ".join(f"`{field.name}`" for field in fields(ExchangeSummary) if field.name != "hidden")


def explore(
    filter: Filter,  # noqa: A002 - the word of the field
    before: Cursor | None = None,
    limit: int = 50,
    *,
    after: Cursor | None = None,
) -> Page:
    """Exchanges that match, newest first: from the newest, those older than ``before``, or the ones just
    newer than ``after``.
    """
    way: Literal["ASC", "DESC"] = "ASC" if after and not before else "DESC"
    rows = _beyond(_SUMMARY, filter, before or after, way, limit + 1)
    more, found = len(rows) > limit, [_summary(row) for row in rows[:limit]]
    if way == "ASC":
        found.reverse()
        return Page(found, found[-1].cursor if found else None, found[0].cursor if more else None)
    older = found[-1].cursor if more else None
    return Page(found, older, found[0].cursor if before and found else None)


def neighbours(filter: Filter, of: Cursor) -> tuple[Cursor | None, Cursor | None]:  # noqa: A002
    """What stands just above and just below an exchange in the list: the next newer one, the next older one.
    The exchange itself need not match.
    """
    key = "started_at, exchange_id, attempt"
    newer, older = _beyond(key, filter, of, "ASC", 1), _beyond(key, filter, of, "DESC", 1)
    return _cursor(newer), _cursor(older)


def _cursor(rows: list[dict[str, Any]]) -> Cursor | None:
    return Cursor(rows[0]["started_at"], str(rows[0]["exchange_id"]), rows[0]["attempt"]) if rows else None


def _beyond(
    columns: str,
    filter: Filter,  # noqa: A002
    edge: Cursor | None,
    way: Literal["ASC", "DESC"],
    most: int,
) -> list[dict[str, Any]]:
    """The first rows that match, from an edge on: newer ones than it with ASC, older ones with DESC."""
    sql, values = where(filter)
    if edge is not None:
        sign = ">" if way == "ASC" else "<"
        at = AT.format("edge")
        sql += f" AND started_at {sign}= {at}"
        sql += (
            f" AND (started_at, exchange_id, attempt) {sign} ({at}, {{edge_id:UUID}}, {{edge_attempt:UInt8}})"
        )
        values |= {
            "edge": microseconds(edge.started_at),
            "edge_id": edge.exchange_id,
            "edge_attempt": edge.attempt,
        }
    return ask(
        f"SELECT {columns} FROM facts FINAL WHERE {sql} "  # noqa: S608 - names from this module, values bound
        f"ORDER BY started_at {way}, exchange_id {way}, attempt {way} LIMIT {{most:UInt32}}",
        {**values, "most": most},
    )


def count(filter: Filter, newer_than: Cursor | None = None) -> int:  # noqa: A002
    """How many match; ``newer_than``: of those after it.

    Beyond COUNTED about: rows that were completed later count twice until they are merged.
    """
    sql, values = where(filter)
    if newer_than is not None:
        at = AT.format("edge")
        sql += f" AND started_at >= {at} AND (started_at, exchange_id) > ({at}, {{edge_id:UUID}})"
        values |= {"edge": microseconds(newer_than.started_at), "edge_id": newer_than.exchange_id}
    first = ask(
        "SELECT count() AS n, uniqExact(exchange_id, attempt) AS exact "  # noqa: S608
        f"FROM (SELECT exchange_id, attempt FROM facts WHERE {sql} LIMIT {COUNTED + 1})",
        values,
    )[0]
    if first["n"] <= COUNTED:
        return int(first["exact"])
    return int(ask(f"SELECT count() AS n FROM facts WHERE {sql}", values)[0]["n"])  # noqa: S608


def histogram(filter: Filter, buckets: int = 60) -> list[Bucket]:  # noqa: A002
    """Counts over time in at most ``buckets`` equal spans of whole seconds, from first match to last."""
    sql, values = where(filter)
    span = ask(
        "SELECT toUnixTimestamp64Micro(min(started_at)) AS first, "  # noqa: S608
        f"toUnixTimestamp64Micro(max(started_at)) AS last, count() AS n FROM facts WHERE {sql}",
        values,
    )[0]
    if not span["n"]:
        return []
    first, last = span["first"] // 1_000_000, span["last"] // 1_000_000
    width = max(1, -(-(last - first + 1) // buckets))
    found = ask(
        "SELECT intDiv(toUnixTimestamp(started_at) - {first:Int64}, {width:Int64}) AS bucket, "  # noqa: S608
        f"count() AS n, {FAILED} AS failed FROM facts WHERE {sql} GROUP BY bucket",
        {**values, "first": first, "width": width},
    )
    by_bucket = {row["bucket"]: row for row in found}
    bars = []
    for bucket in range((last - first) // width + 1):
        row = by_bucket.get(bucket, {"n": 0, "failed": 0})
        start = moment((first + bucket * width) * 1_000_000)
        bars.append(Bucket(start, start + timedelta(seconds=width), row["n"], row["failed"]))
    return bars


def suggest(name: str, beginning: str = "", limit: int = 20) -> list[str]:
    """Values of a name that filters know (route, model, key …), the most frequent of 30 days first."""
    if name in WORDS:
        return [one for one in WORDS[name] if one.startswith(beginning)][:limit]
    if name not in NAMES or name in ("id", "trace"):
        return []
    sql, values = readable() if name in SPELLING else ("1", {})
    rows = ask(
        f"SELECT toString({COLUMNS[name]}) AS value FROM facts "  # noqa: S608
        f"WHERE {sql} AND started_at > now() - INTERVAL 30 DAY "
        "AND value != '' AND startsWith(value, {beginning:String}) "
        "GROUP BY value ORDER BY count() DESC, value LIMIT {most:UInt32}",
        {**values, "beginning": beginning, "most": limit},
    )
    return [row["value"] for row in rows]


def _summary(row: dict[str, Any]) -> ExchangeSummary:
    shown = {"exchange_id": str(row["exchange_id"]), "hidden": readers.hides(row["route"])}
    return ExchangeSummary(**{**row, **shown})
