"""What the pages and the queues ask of the trace store, with typed answers.

Values go to ClickHouse as parameters, never into the text of a query. Lists are paged by (started_at,
exchange id, attempt), never by OFFSET. Everything raises inference.clickhouse.Unavailable when the store
can't be asked. Times are aware, in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import orjson

from inference import packing
from inference.answer import Choice, Tokens
from inference.clickhouse import connect
from inference.conditions import AT, COLUMNS, clamp, where
from inference.events import began_us
from inference.filters import FEEDBACK, Filter
from inference.otlp import KEY
from inference.rows import CUT, moment
from inference.stored import (
    ENDED_WELL,
    TOKENS_DEADLINE,
    Bucket,
    Candidate,
    Cursor,
    Day,
    Draw,
    ExchangeSummary,
    Page,
    Served,
    Span,
    StoredEvent,
    StoredExchange,
    microseconds,
)

__all__ = [
    "ENDED_WELL",
    "TOKENS_DEADLINE",
    "Bucket",
    "Candidate",
    "Cursor",
    "Day",
    "ExchangeSummary",
    "Order",
    "Page",
    "Served",
    "Span",
    "StoredEvent",
    "StoredExchange",
    "asked_the_same",
    "by_weights",
    "count",
    "daily",
    "events",
    "exchange",
    "explore",
    "find",
    "histogram",
    "microseconds",
    "raw",
    "sample",
    "session",
    "spans",
    "suggest",
    "tokens_by_key",
]


_MOST_TURNS = 500
# An id is made when the exchange begins; microseconds by which the two may differ.
_CLOCK_MARGIN = 600_000_000
LEAST_WEIGHT, SHARPNESS = 0.04, 2.0
"""Of a draw by doubt: the weight of an answer without any, and how steeply it rises to 1."""
Order = Literal["random", "uncertain", "newest"]


_SUMMARY = ", ".join(f"`{field.name}`" for field in fields(ExchangeSummary))
_STORED = ", ".join(f"`{field.name}`" for field in fields(StoredExchange) if field.name != "tokens")
_PACKED = ", ".join(f"`{name}`" for name in packing.COLUMNS)
_PLAIN_COLUMNS = ("ids", "logprobs", "top_ids", "top_logprobs", "top_offsets")
_PLAIN = ", ".join(_PLAIN_COLUMNS)
_FAILED = f"countIf(end_reason NOT IN {ENDED_WELL})"


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
    sql, values = where(filter)
    edge = before or after
    if edge is not None:
        sign = "<" if before else ">"
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
    way = "ASC" if after and not before else "DESC"
    rows = _rows(
        f"SELECT {_SUMMARY} FROM facts FINAL WHERE {sql} "  # noqa: S608 - names from this module, values bound
        f"ORDER BY started_at {way}, exchange_id {way}, attempt {way} LIMIT {{most:UInt32}}",
        {**values, "most": limit + 1},
    )
    more, found = len(rows) > limit, [_summary(row) for row in rows[:limit]]
    if way == "ASC":
        found.reverse()
        return Page(found, found[-1].cursor if found else None, found[0].cursor if more else None)
    older = found[-1].cursor if more else None
    return Page(found, older, found[0].cursor if before and found else None)


def count(filter: Filter, newer_than: Cursor | None = None) -> int:  # noqa: A002
    """About how many match (rows not yet merged away count twice); ``newer_than``: of those after it."""
    sql, values = where(filter)
    if newer_than is not None:
        at = AT.format("edge")
        sql += f" AND started_at >= {at} AND (started_at, exchange_id) > ({at}, {{edge_id:UUID}})"
        values |= {"edge": microseconds(newer_than.started_at), "edge_id": newer_than.exchange_id}
    return int(_rows(f"SELECT count() AS n FROM facts WHERE {sql}", values)[0]["n"])  # noqa: S608


def histogram(filter: Filter, buckets: int = 60) -> list[Bucket]:  # noqa: A002
    """Counts over time in at most ``buckets`` equal spans of whole seconds, from first match to last."""
    sql, values = where(filter)
    span = _rows(
        "SELECT toUnixTimestamp64Micro(min(started_at)) AS first, "  # noqa: S608
        f"toUnixTimestamp64Micro(max(started_at)) AS last, count() AS n FROM facts WHERE {sql}",
        values,
    )[0]
    if not span["n"]:
        return []
    first, last = span["first"] // 1_000_000, span["last"] // 1_000_000
    width = max(1, -(-(last - first + 1) // buckets))
    found = _rows(
        "SELECT intDiv(toUnixTimestamp(started_at) - {first:Int64}, {width:Int64}) AS bucket, "  # noqa: S608
        f"count() AS n, {_FAILED} AS failed FROM facts WHERE {sql} GROUP BY bucket",
        {**values, "first": first, "width": width},
    )
    by_bucket = {row["bucket"]: row for row in found}
    bars = []
    for bucket in range((last - first) // width + 1):
        row = by_bucket.get(bucket, {"n": 0, "failed": 0})
        start = moment((first + bucket * width) * 1_000_000)
        bars.append(Bucket(start, start + timedelta(seconds=width), row["n"], row["failed"]))
    return bars


def exchange(exchange_id: str | UUID, attempt: int | None = None) -> StoredExchange | None:
    """One exchange with its tokens; its last attempt unless one is named. None: not stored (yet)."""
    key = _locate(exchange_id, attempt)
    if key is None:
        return None
    row = _rows(
        f"SELECT {_STORED} FROM exchanges WHERE {_ONE} LIMIT 1",  # noqa: S608
        key,
    )
    if not row:
        return None
    tokens = _rows(
        f"SELECT choice, source, {_PACKED}, {_PLAIN} FROM tokens "  # noqa: S608
        f"WHERE {_ONE_TIME} ORDER BY choice, source, stored_at DESC LIMIT 1 BY choice, source",
        key,
    )
    return _stored(row[0], [_tokens(one) for one in tokens])


def raw(exchange_id: str | UUID, attempt: int | None = None) -> tuple[bytes, bytes] | None:
    """The client's body and the answer it got, byte for byte (the engine's own: see inference.kept)."""
    key = _locate(exchange_id, attempt)
    if key is None:
        return None
    found = connect().query(
        f"SELECT request, response FROM exchanges WHERE {_ONE} LIMIT 1",  # noqa: S608
        key,
        query_formats={"String": "bytes"},
    )
    return tuple(found.result_rows[0]) if found.result_rows else None


def session(name: str) -> list[StoredExchange]:
    """The turns of a session (or of a conversation without one), oldest first; at most 500."""
    rows = _rows(
        f"SELECT {_STORED} FROM exchanges WHERE conversation = {{name:String}} "  # noqa: S608
        "ORDER BY started_at, exchange_id, attempt LIMIT {most:UInt32}",
        {"name": name, "most": _MOST_TURNS},
    )
    return [_stored(row, []) for row in rows]


def events(exchange_id: str | UUID, trace_id: str = "") -> list[StoredEvent]:
    """What was said of an exchange, or of its trace, in order; at most 500."""
    rows = _rows(
        "SELECT toString(event_id) AS event_id, kind, at, source, data, "  # noqa: S608
        "if(exchange_id = {nobody:UUID}, '', toString(exchange_id)) AS exchange_id FROM events "
        f"WHERE (started_at = {AT.format('began')} AND events.exchange_id = {{id:UUID}}) "
        "OR (events.trace_id = {trace:String} AND {trace:String} != '') ORDER BY at, event_id LIMIT 500",
        {
            "began": began_us(str(exchange_id)),
            "id": str(exchange_id),
            "trace": trace_id,
            "nobody": str(UUID(int=0)),
        },
    )
    return [StoredEvent(**{**row, "data": orjson.loads(row["data"])}) for row in rows]


def spans(trace_id: str) -> list[Span]:
    """The steps of a trace in order of their beginning: the exchange's own and what applications sent.

    What was sent twice counts once, and nobody's span stands for one of ours.
    """
    rows = _rows(
        "SELECT SpanId AS span_id, ParentSpanId AS parent_span_id, SpanName AS name, SpanKind AS kind, "
        "ServiceName AS service, Timestamp AS started_at, Duration / 1e9 AS seconds, StatusCode AS status, "
        "StatusMessage AS message, SpanAttributes AS attributes FROM spans "
        "WHERE TraceId = {trace:String} ORDER BY ResourceAttributes[{key:String}] != '', Timestamp, SpanId "
        "LIMIT 1 BY SpanId LIMIT 5000",
        {"trace": trace_id, "key": KEY},
    )
    return sorted((Span(**row) for row in rows), key=lambda span: (span.started_at, span.span_id))


def sample(
    filter: Filter,  # noqa: A002
    limit: int,
    seed: int = 0,
    order: Order = "random",
    *,
    calls: bool = False,
) -> list[Candidate]:
    """Exchanges with an answer for a queue, at most ``limit``; with ``calls`` those that call a tool.

    ``random``: equally likely, by a hash of id and seed, so that the same call gives the same and a larger
    limit only adds. ``uncertain``: likelier the less likely the least likely token is, by priority sampling
    (annotations.estimates says what follows from ``key`` and ``weight``); an answer without tokens is half
    in doubt. ``newest``: the last ones, with probability 1.
    """
    sql, values = where(filter)
    chance = "((cityHash64(exchange_id, attempt, {seed:UInt64}) + 1) / 18446744073709551616)"
    doubt = "least(1, greatest(0, 1 - ifNull(least_p, 0.5)))"
    weights = {
        "random": "1.0",
        "uncertain": f"({LEAST_WEIGHT} + {1 - LEAST_WEIGHT} * pow({doubt}, {SHARPNESS}))",
    }
    weight = weights.get(order, "1.0")
    by = "started_at DESC, exchange_id DESC" if order == "newest" else "key, exchange_id"
    wanted = "(end_reason = 'tool_calls' OR NOT answered)" if calls else "answered"
    matching = f"facts FINAL WHERE {sql} AND {wanted}"
    rows = _rows(
        f"SELECT {_DRAWN}, {weight} AS weight, {chance} / weight AS key "  # noqa: S608
        f"FROM {matching} ORDER BY {by} LIMIT {{most:UInt32}}",
        {**values, "seed": seed, "most": limit + 1},
    )
    # Counted apart: in one query, every row that matches would be held with all its columns.
    whole = _rows(f"SELECT count() AS total, avg({doubt}) AS mean FROM {matching}", values)[0]  # noqa: S608
    threshold = rows[limit]["key"] if len(rows) > limit and order != "newest" else None
    total, mean = (whole["total"], whole["mean"]) if rows else (0, 0.0)
    drawn = Draw(total, mean, threshold, even=order == "random")
    found = [
        replace(
            one,
            draw=drawn,
            key=row["key"],
            weight=row["weight"],
            probability=drawn.chance(row["weight"], limit),
        )
        for one, row in _candidates(rows[:limit], calls)
    ]
    return [one for one in found if one.tool_calls] if calls else found


def asked_the_same(filter: Filter, questions: Sequence[str]) -> list[Candidate]:  # noqa: A002
    """Exchanges that match and were asked one of the questions, the newest five of each.

    Questions are compared as ``facts`` has them, cut: who needs the whole conversation to be the same
    compares messages.
    """
    sql, values = where(filter)
    rows = _rows(
        f"SELECT {_DRAWN} FROM facts FINAL WHERE {sql} AND answered "  # noqa: S608
        "AND question IN {questions:Array(String)} ORDER BY started_at DESC LIMIT 5 BY question",
        {**values, "questions": [question[:CUT] for question in questions]},
    )
    return [one for one, _ in _candidates(rows, False)]


_DRAWN = "exchange_id, attempt, started_at, conversation, `group`, mean_p, least_p"


def _candidates(rows: Sequence[dict[str, Any]], calls: bool) -> list[tuple[Candidate, dict[str, Any]]]:
    """Each with the row that it was made from."""
    bodies = _bodies(rows, calls)
    drawn = []
    for row in rows:
        body = bodies.get((str(row["exchange_id"]), row["attempt"]))
        if body is None:
            continue
        choices = orjson.loads(body["choices"]) or [{}]
        drawn.append(
            (
                Candidate(
                    exchange_id=str(row["exchange_id"]),
                    attempt=row["attempt"],
                    started_at=row["started_at"],
                    probability=1.0,
                    messages=orjson.loads(body["messages"]),
                    answer=choices[0].get("text", ""),
                    group=row["group"],
                    mean_p=row["mean_p"],
                    least_p=row["least_p"],
                    second=choices[1].get("text", "") if len(choices) > 1 else "",
                    tool_calls=choices[0].get("tool_calls", []),
                    tools=orjson.loads(body["tools"] or "[]") if calls else [],
                ),
                row,
            )
        )
    return drawn


def _bodies(rows: Sequence[dict[str, Any]], calls: bool) -> dict[tuple[str, int], dict[str, Any]]:
    """Messages, choices and with ``calls`` the request's tools, all as JSON, by exchange id and attempt."""
    more = ", JSONExtractRaw(request, 'tools') AS tools" if calls else ""
    found = {}
    for start in range(0, len(rows), 500):
        asked = rows[start : start + 500]
        bodies = _rows(
            f"SELECT exchange_id, attempt, messages, choices{more} FROM exchanges "  # noqa: S608
            "WHERE conversation IN {conversations:Array(String)} AND exchange_id IN {ids:Array(UUID)}",
            {
                "conversations": sorted({row["conversation"] for row in asked}),
                "ids": [row["exchange_id"] for row in asked],
            },
        )
        found.update({(str(body["exchange_id"]), body["attempt"]): body for body in bodies})
    return found


def daily(days: int = 14, now: datetime | None = None) -> list[Day]:
    """Exchanges a day, today last, in UTC; days without any are there with 0."""
    today = (now or datetime.now(UTC)).date()
    first = today - timedelta(days=days - 1)
    since = datetime.combine(first, datetime.min.time(), UTC)
    rows = _rows(
        f"SELECT toDate(started_at) AS day, count() AS n, {_FAILED} AS failed FROM facts FINAL "  # noqa: S608
        f"WHERE started_at >= {AT.format('since')} GROUP BY day",
        {"since": microseconds(since)},
    )
    by_day = {row["day"]: row for row in rows}
    found = (by_day.get(first + timedelta(days=n), {"n": 0, "failed": 0}) for n in range(days))
    return [Day(first + timedelta(days=n), row["n"], row["failed"]) for n, row in enumerate(found)]


def by_weights(since: datetime) -> list[Served]:
    """What answered since then, a row for each route and weights, the busiest first."""
    rows = _rows(
        "SELECT route, any(model) AS model, weights, count() AS count, "  # noqa: S608
        f"{_FAILED} AS failed, min(started_at) AS first_at, max(started_at) AS last_at FROM facts FINAL "
        f"WHERE started_at >= {AT.format('since')} GROUP BY route, weights "
        "ORDER BY count DESC, route, weights",
        {"since": microseconds(since)},
    )
    return [Served(**row) for row in rows]


def tokens_by_key(since: datetime, keys: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """What keys (by name) have used since then: key, model, prompt tokens, completion tokens."""
    rows = _rows(
        "SELECT key, model, sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion "  # noqa: S608
        f"FROM facts FINAL WHERE started_at >= {AT.format('since')} AND key IN {{keys:Array(String)}} "
        "GROUP BY key, model",
        {"since": microseconds(since), "keys": list(keys)},
    )
    return [(row["key"], row["model"], row["prompt"], row["completion"]) for row in rows]


def suggest(name: str, beginning: str = "", limit: int = 20) -> list[str]:
    """Values of a name that filters know (route, model, key …), the most frequent of 30 days first."""
    if name == "feedback":
        return [one for one in FEEDBACK if one.startswith(beginning)][:limit]
    if name not in COLUMNS or name == "id":
        return []
    rows = _rows(
        f"SELECT toString({COLUMNS[name]}) AS value FROM facts "  # noqa: S608
        "WHERE started_at > now() - INTERVAL 30 DAY "
        "AND value != '' AND startsWith(value, {beginning:String}) "
        "GROUP BY value ORDER BY count() DESC, value LIMIT {most:UInt32}",
        {"beginning": beginning, "most": limit},
    )
    return [row["value"] for row in rows]


def find(text: str, limit: int = 10) -> list[str]:
    """Exchange ids that a pasted id means: an exchange's or a trace's, whole or its beginning (6 characters
    or more), or an exchange's last 8, which is what pages show; newest first.
    """
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{6,32}", digits):
        return []
    first, last = (int(digits.ljust(32, filler)[:12], 16) * 1000 for filler in "0f")
    values = {
        "first": clamp(first - _CLOCK_MARGIN),
        "last": clamp(last + _CLOCK_MARGIN),
        "digits": digits,
        "most": limit,
    }
    # An id holds the time it was made at, so a whole one is looked for in one spot before it is a trace's.
    made = (
        f"started_at BETWEEN {AT.format('first')} AND {AT.format('last')} "
        "AND startsWith(replaceAll(toString(exchange_id), '-', ''), {digits:String})"
    )
    if len(digits) == 32:
        return _found(made, values) or _found("trace_id = {digits:String}", values)
    recent = "started_at > now() - INTERVAL 30 DAY AND "
    parts = [made, recent + "startsWith(trace_id, {digits:String})"]
    if len(digits) == 8:
        parts.append(recent + "endsWith(toString(exchange_id), {digits:String})")
    return _found(" OR ".join(f"({part})" for part in parts), values)


def _found(condition: str, values: dict[str, Any]) -> list[str]:
    rows = _rows(
        f"SELECT exchange_id FROM facts WHERE {condition} "  # noqa: S608 - of this module, values bound
        "GROUP BY exchange_id ORDER BY max(started_at) DESC LIMIT {most:UInt32}",
        values,
    )
    return [str(row["exchange_id"]) for row in rows]


_ONE_TIME = f"started_at = {AT.format('at')} AND exchange_id = {{id:UUID}} AND attempt = {{attempt:UInt8}}"
_ONE = f"conversation = {{conversation:String}} AND {_ONE_TIME}"


def _locate(exchange_id: str | UUID, attempt: int | None) -> dict[str, Any] | None:
    """An exchange's whole sorting key. Its id holds when it was made, so one spot of the facts is read; only
    when it is not there (a clock was set back) all of them.
    """
    wanted = UUID(str(exchange_id))
    around = (wanted.int >> 80) * 1000
    values = {
        "first": clamp(around - _CLOCK_MARGIN),
        "last": clamp(around + _CLOCK_MARGIN),
        "attempt": attempt or 0,
        "id": str(wanted),
    }
    chosen = "attempt = {attempt:UInt8} AND " if attempt is not None else ""
    near = f"started_at BETWEEN {AT.format('first')} AND {AT.format('last')} AND "
    for place in (near, ""):
        rows = _rows(
            "SELECT toUnixTimestamp64Micro(started_at) AS at, conversation, attempt FROM facts "  # noqa: S608
            f"WHERE {place}{chosen}exchange_id = {{id:UUID}} ORDER BY attempt DESC LIMIT 1",
            values,
        )
        if rows:
            return {**rows[0], "id": str(wanted)}
    return None


def _rows(sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    return list(connect().query(sql, values).named_results())


def _summary(row: dict[str, Any]) -> ExchangeSummary:
    return ExchangeSummary(**{**row, "exchange_id": str(row["exchange_id"])})


def _tokens(row: dict[str, Any]) -> Tokens:
    """A row's tokens; one from before they were packed has plain arrays."""
    if row["unit"]:
        return packing.unpack(row["choice"], row["source"], [row[name] for name in packing.COLUMNS])
    return Tokens(row["choice"], row["source"], *(row[name] for name in _PLAIN_COLUMNS))


def _stored(row: dict[str, Any], tokens: Iterable[Tokens]) -> StoredExchange:
    made = {
        "exchange_id": str(row["exchange_id"]),
        "messages": orjson.loads(row["messages"]),
        "choices": [Choice(**choice) for choice in orjson.loads(row["choices"])],
        "params": orjson.loads(row["params"]),
    }
    return StoredExchange(**{**row, **made, "tokens": list(tokens)})
