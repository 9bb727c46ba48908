"""What the pages and the queues ask of the trace store, with typed answers.

Values go to ClickHouse as parameters, never into the text of a query. Lists are paged by (started_at,
exchange id, attempt), never by OFFSET. Everything raises inference.clickhouse.Unavailable when the store
can't be asked. Times are aware, in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import orjson

from inference.answer import Choice, Tokens
from inference.clickhouse import connect
from inference.filters import Compare, Equals, Filter, Tag, Term, Time
from inference.rows import moment

ENDED_WELL = ("stop", "length", "tool_calls", "content_filter")
"""End reasons of an exchange that the engine finished; every other one counts as failed."""
TOKENS_DEADLINE = timedelta(minutes=10)
"""After this, expected tokens that have not come count as missing."""
_COLUMNS = {
    **{
        name: f"`{name}`" for name in ("route", "model", "upstream", "key", "user", "session", "conversation")
    },
    **{
        name: f"`{name}`"
        for name in ("surface", "group", "capture", "seconds", "least_p", "mean_p", "status")
    },
    **{name: f"`{name}`" for name in ("weights", "prompt_tokens", "attempt")},
    "end": "end_reason",
    "id": "toString(exchange_id)",
    "first_token": "first_token_seconds",
    "tokens": "completion_tokens",
}
_BEGINNINGS = ("weights", "id")
_AT = "fromUnixTimestamp64Micro({{{}:Int64}}, 'UTC')"
_MOST_TURNS = 500
# An id is made when the exchange begins; microseconds by which the two may differ.
_CLOCK_MARGIN = 600_000_000
Order = Literal["random", "uncertain", "newest"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between exchanges: this one's. ``str()`` goes into a link and ``parse`` reads it."""

    started_at: datetime
    exchange_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{microseconds(self.started_at)}_{self.exchange_id}_{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises ValueError on what ``str()`` did not make."""
        found = re.fullmatch(r"(\d{1,17})_([0-9a-f-]{36})_(\d{1,3})", text)
        if found is None:
            raise ValueError(f"{text!r} is no place in a list of exchanges")
        return cls(moment(int(found[1])), str(UUID(found[2])), int(found[3]))


@dataclass(frozen=True, slots=True)
class ExchangeSummary:
    """A row of the explorer. ``question`` and ``answer`` are cut at 2,000 characters."""

    exchange_id: str
    attempt: int
    started_at: datetime
    surface: str
    streamed: bool
    route: str
    model: str
    weights: str
    upstream: str
    key: str
    user: str
    session: str
    conversation: str
    group: str
    tags: dict[str, str]
    trace_id: str
    status: int
    end_reason: str
    seconds: float
    first_token_seconds: float | None
    prompt_tokens: int
    completion_tokens: int
    capture: str
    mean_p: float | None
    """Geometric mean of the first choice's token probabilities."""
    least_p: float | None
    question: str
    answer: str

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.started_at, self.exchange_id, self.attempt)

    @property
    def failed(self) -> bool:
        return self.end_reason not in ENDED_WELL


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first. ``older`` and ``newer`` are where to go on; None where there is nothing."""

    rows: list[ExchangeSummary]
    older: Cursor | None
    newer: Cursor | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bar of the histogram: [start, end)."""

    start: datetime
    end: datetime
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """An exchange with everything that is known of it but its raw bytes (see ``raw``)."""

    exchange_id: str
    attempt: int
    started_at: datetime
    finished_at: datetime
    first_token_seconds: float | None
    surface: str
    streamed: bool
    route: str
    model: str
    weights: str
    base_weights: str
    upstream: str
    key: str
    user: str
    session: str
    conversation: str
    tags: dict[str, str]
    trace_id: str
    span_id: str
    parent_span_id: str
    status: int
    end_reason: str
    error: str
    messages: list[dict[str, Any]]
    choices: list[Choice]
    params: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    prompt_token_ids: list[int]
    capture: str
    top_k: int
    tokens_expected: bool
    tokens_match: bool | None
    logprobs_mode: str
    tokenizer: str
    stored_at: datetime
    tokens: list[Tokens]
    """By choice, then source; empty in lists of turns."""

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def failed(self) -> bool:
        return self.end_reason not in ENDED_WELL

    @property
    def answer(self) -> str:
        """The first choice's text."""
        return self.choices[0].text if self.choices else ""

    def tokens_missing(self, now: datetime) -> bool:
        """Whether tokens were expected and have not come in time; a late arrival ends it."""
        return self.tokens_expected and not self.tokens and now - self.stored_at > TOKENS_DEADLINE


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a trace. ``seconds`` long; attributes are text."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    service: str
    started_at: datetime
    seconds: float
    status: str
    message: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An exchange drawn for a queue, with the probability that it was drawn with."""

    exchange_id: str
    attempt: int
    started_at: datetime
    probability: float
    messages: list[dict[str, Any]]
    answer: str
    group: str
    mean_p: float | None
    least_p: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """A day's traffic, in UTC."""

    day: date
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class Served:
    """What one model version answered on one route."""

    route: str
    model: str
    weights: str
    count: int
    failed: int
    first_at: datetime
    last_at: datetime


_SUMMARY = ", ".join(f"`{field.name}`" for field in fields(ExchangeSummary))
_STORED = ", ".join(f"`{field.name}`" for field in fields(StoredExchange) if field.name != "tokens")
_FAILED = f"countIf(end_reason NOT IN {ENDED_WELL})"


def microseconds(at: datetime) -> int:
    """An aware time as microseconds since 1970, exactly."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def explore(
    filter: Filter,  # noqa: A002 - the word of the field
    before: Cursor | None = None,
    limit: int = 50,
    *,
    after: Cursor | None = None,
) -> Page:
    """Exchanges that match, newest first: from the newest, those older than ``before``, or the ones just newer
    than ``after``.
    """
    sql, values = _where(filter)
    edge = before or after
    if edge is not None:
        sign = "<" if before else ">"
        at = _AT.format("edge")
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
    sql, values = _where(filter)
    if newer_than is not None:
        at = _AT.format("edge")
        sql += f" AND started_at >= {at} AND (started_at, exchange_id) > ({at}, {{edge_id:UUID}})"
        values |= {"edge": microseconds(newer_than.started_at), "edge_id": newer_than.exchange_id}
    return int(_rows(f"SELECT count() AS n FROM facts WHERE {sql}", values)[0]["n"])  # noqa: S608


def histogram(filter: Filter, buckets: int = 60) -> list[Bucket]:  # noqa: A002
    """Counts over time in at most ``buckets`` equal spans of whole seconds, from the first match to the last."""
    sql, values = _where(filter)
    span = _rows(
        "SELECT toUnixTimestamp64Micro(min(started_at)) AS first, toUnixTimestamp64Micro(max(started_at)) AS last, "  # noqa: S608
        f"count() AS n FROM facts WHERE {sql}",
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
        "SELECT choice, source, ids, logprobs, top_ids, top_logprobs, top_offsets FROM tokens "  # noqa: S608
        f"WHERE {_ONE_TIME} ORDER BY choice, source, stored_at DESC LIMIT 1 BY choice, source",
        key,
    )
    return _stored(row[0], [Tokens(**one) for one in tokens])


def raw(exchange_id: str | UUID, attempt: int | None = None) -> tuple[bytes, bytes] | None:
    """The client's body and the engine's answer, byte for byte."""
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


def spans(trace_id: str) -> list[Span]:
    """The steps of a trace in order of their beginning: the exchange's own and what applications sent."""
    rows = _rows(
        "SELECT SpanId AS span_id, ParentSpanId AS parent_span_id, SpanName AS name, SpanKind AS kind, "
        "ServiceName AS service, Timestamp AS started_at, Duration / 1e9 AS seconds, StatusCode AS status, "
        "StatusMessage AS message, SpanAttributes AS attributes FROM spans "
        "WHERE TraceId = {trace:String} ORDER BY Timestamp, SpanId LIMIT 5000",
        {"trace": trace_id},
    )
    return [Span(**row) for row in rows]


def sample(
    filter: Filter,  # noqa: A002
    limit: int,
    seed: int = 0,
    order: Order = "random",
) -> list[Candidate]:
    """Exchanges with an answer for a queue, at most ``limit``.

    ``random``: equally likely, by a hash of id and seed, so that the same call gives the same and a larger
    limit only adds. ``uncertain``: those whose least likely token is least likely, then those without
    tokens. ``newest``: the last ones. Only random draws have a probability below 1.
    """
    sql, values = _where(filter)
    orders = {
        "random": "cityHash64(exchange_id, attempt, {seed:UInt64})",
        "uncertain": "least_p ASC NULLS LAST, started_at DESC, exchange_id",
        "newest": "started_at DESC, exchange_id DESC",
    }
    rows = _rows(
        "SELECT exchange_id, attempt, started_at, conversation, `group`, mean_p, least_p, "  # noqa: S608
        f"count() OVER () AS total FROM facts FINAL WHERE {sql} AND answer != '' "
        f"ORDER BY {orders[order]} LIMIT {{most:UInt32}}",
        {**values, "seed": seed, "most": limit},
    )
    bodies = _bodies(rows)
    drawn = []
    for row in rows:
        body = bodies.get((str(row["exchange_id"]), row["attempt"]))
        if body is not None:
            probability = min(1.0, limit / row["total"]) if order == "random" else 1.0
            drawn.append(
                Candidate(
                    exchange_id=str(row["exchange_id"]),
                    attempt=row["attempt"],
                    started_at=row["started_at"],
                    probability=probability,
                    messages=body[0],
                    answer=body[1],
                    group=row["group"],
                    mean_p=row["mean_p"],
                    least_p=row["least_p"],
                )
            )
    return drawn


def _bodies(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], tuple[list[dict[str, Any]], str]]:
    """Messages and first answer of many exchanges, by id and attempt."""
    found = {}
    for start in range(0, len(rows), 500):
        asked = rows[start : start + 500]
        bodies = _rows(
            "SELECT exchange_id, attempt, messages, choices FROM exchanges "
            "WHERE conversation IN {conversations:Array(String)} AND exchange_id IN {ids:Array(UUID)}",
            {
                "conversations": sorted({row["conversation"] for row in asked}),
                "ids": [row["exchange_id"] for row in asked],
            },
        )
        for body in bodies:
            choices = orjson.loads(body["choices"])
            answer = choices[0]["text"] if choices else ""
            found[str(body["exchange_id"]), body["attempt"]] = (orjson.loads(body["messages"]), answer)
    return found


def daily(days: int = 14, now: datetime | None = None) -> list[Day]:
    """Exchanges a day, today last, in UTC; days without any are there with 0."""
    today = (now or datetime.now(UTC)).date()
    first = today - timedelta(days=days - 1)
    since = datetime.combine(first, datetime.min.time(), UTC)
    rows = _rows(
        f"SELECT toDate(started_at) AS day, count() AS n, {_FAILED} AS failed FROM facts "  # noqa: S608
        f"WHERE started_at >= {_AT.format('since')} GROUP BY day",
        {"since": microseconds(since)},
    )
    by_day = {row["day"]: row for row in rows}
    found = (by_day.get(first + timedelta(days=n), {"n": 0, "failed": 0}) for n in range(days))
    return [Day(first + timedelta(days=n), row["n"], row["failed"]) for n, row in enumerate(found)]


def by_weights(since: datetime) -> list[Served]:
    """What answered since then, a row for each route and weights, the busiest first."""
    rows = _rows(
        "SELECT route, any(model) AS model, weights, count() AS count, "  # noqa: S608
        f"{_FAILED} AS failed, min(started_at) AS first_at, max(started_at) AS last_at FROM facts "
        f"WHERE started_at >= {_AT.format('since')} GROUP BY route, weights ORDER BY count DESC, route, weights",
        {"since": microseconds(since)},
    )
    return [Served(**row) for row in rows]


def suggest(name: str, beginning: str = "", limit: int = 20) -> list[str]:
    """Values of a name that filters know (route, model, key …), the most frequent of the last 30 days first."""
    if name not in _COLUMNS or name == "id":
        return []
    rows = _rows(
        f"SELECT toString({_COLUMNS[name]}) AS value FROM facts "  # noqa: S608
        "WHERE started_at > now() - INTERVAL 30 DAY AND value != '' AND startsWith(value, {beginning:String}) "
        "GROUP BY value ORDER BY count() DESC, value LIMIT {most:UInt32}",
        {"beginning": beginning, "most": limit},
    )
    return [row["value"] for row in rows]


def find(text: str, limit: int = 10) -> list[str]:
    """Exchange ids that a pasted id means: an exchange's or a trace's, whole or its beginning (6 characters or
    more), newest first.
    """
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{6,32}", digits):
        return []
    first, last = (int(digits.ljust(32, filler)[:12], 16) * 1000 for filler in "0f")
    rows = _rows(
        "SELECT exchange_id FROM facts WHERE "  # noqa: S608
        f"(started_at BETWEEN {_AT.format('first')} AND {_AT.format('last')} "
        "AND startsWith(replaceAll(toString(exchange_id), '-', ''), {digits:String})) "
        "OR (length({digits:String}) = 32 AND trace_id = {digits:String}) "
        "OR (started_at > now() - INTERVAL 30 DAY AND startsWith(trace_id, {digits:String})) "
        "GROUP BY exchange_id ORDER BY max(started_at) DESC LIMIT {most:UInt32}",
        {
            "first": _clamp(first - _CLOCK_MARGIN),
            "last": _clamp(last + _CLOCK_MARGIN),
            "digits": digits,
            "most": limit,
        },
    )
    return [str(row["exchange_id"]) for row in rows]


_ONE_TIME = f"started_at = {_AT.format('at')} AND exchange_id = {{id:UUID}} AND attempt = {{attempt:UInt8}}"
_ONE = f"conversation = {{conversation:String}} AND {_ONE_TIME}"


def _locate(exchange_id: str | UUID, attempt: int | None) -> dict[str, Any] | None:
    """An exchange's whole sorting key. Its id holds when it was made, so one spot of the facts is read; only
    when it is not there (a clock was set back) all of them.
    """
    wanted = UUID(str(exchange_id))
    around = (wanted.int >> 80) * 1000
    values = {
        "first": _clamp(around - _CLOCK_MARGIN),
        "last": _clamp(around + _CLOCK_MARGIN),
        "attempt": attempt or 0,
        "id": str(wanted),
    }
    chosen = "attempt = {attempt:UInt8} AND " if attempt is not None else ""
    near = f"started_at BETWEEN {_AT.format('first')} AND {_AT.format('last')} AND "
    for where in (near, ""):
        rows = _rows(
            "SELECT toUnixTimestamp64Micro(started_at) AS at, conversation, attempt FROM facts "  # noqa: S608
            f"WHERE {where}{chosen}exchange_id = {{id:UUID}} ORDER BY attempt DESC LIMIT 1",
            values,
        )
        if rows:
            return {**rows[0], "id": str(wanted)}
    return None


def _clamp(at_microseconds: int) -> int:
    """Into what a DateTime64 holds (1900 to 2299)."""
    return max(0, min(at_microseconds, 10_000_000_000_000_000))


def _where(filter: Filter) -> tuple[str, dict[str, Any]]:  # noqa: A002
    """A condition over ``facts`` and the values it refers to."""
    now = datetime.now(UTC)
    conditions, values = ["1"], {}
    for number, term in enumerate(filter.terms):
        condition, value = _condition(term, f"v{number}", now)
        conditions.append(f"({condition})")
        values[f"v{number}"] = value
        if isinstance(term, Tag):
            values[f"v{number}_name"] = term.name
    return " AND ".join(conditions), values


def _condition(term: Term, name: str, now: datetime) -> tuple[str, Any]:
    if isinstance(term, Equals):
        column = _COLUMNS[term.name]
        if term.name in _BEGINNINGS:
            return f"arrayExists(one -> startsWith({column}, one), {{{name}:Array(String)}})", list(
                term.values
            )
        return f"{column} IN {{{name}:Array(String)}}", list(term.values)
    if isinstance(term, Compare):
        return f"{_COLUMNS[term.name]} {term.operator} {{{name}:Float64}}", term.value
    if isinstance(term, Tag):
        return f"tags[{{{name}_name:String}}] = {{{name}:String}}", term.value
    if isinstance(term, Time):
        sign = ">=" if term.name == "since" else "<"
        return f"started_at {sign} {_AT.format(name)}", _clamp(microseconds(term.at(now)))
    found = f"positionCaseInsensitiveUTF8({{}}, {{{name}:String}}) > 0"
    return f"{found.replace('{}', 'question')} OR {found.replace('{}', 'answer')}", term.text


def _rows(sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    return list(connect().query(sql, values).named_results())


def _summary(row: dict[str, Any]) -> ExchangeSummary:
    return ExchangeSummary(**{**row, "exchange_id": str(row["exchange_id"])})


def _stored(row: dict[str, Any], tokens: Iterable[Tokens]) -> StoredExchange:
    made = {
        "exchange_id": str(row["exchange_id"]),
        "messages": orjson.loads(row["messages"]),
        "choices": [Choice(**choice) for choice in orjson.loads(row["choices"])],
        "params": orjson.loads(row["params"]),
    }
    return StoredExchange(**{**row, **made, "tokens": list(tokens)})
