"""One exchange and what surrounds it: its tokens, bytes, turns, events and spans; and finding it by an id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

import orjson

from inference import packing, readers
from inference.answer import Choice, Tokens
from inference.conditions import AT, CLOCK_MARGIN, clamp
from inference.events import began_us
from inference.otlp import KEY
from inference.queries.asking import ask
from inference.stored import Span, StoredEvent, StoredExchange

_NOT_COLUMNS = ("tokens", "hidden", "mean_p", "least_p")
_STORED = ", ".join(f"`{one.name}`" for one in fields(StoredExchange) if one.name not in _NOT_COLUMNS)
_PACKED = ", ".join(f"`{name}`" for name in packing.COLUMNS)
_PLAIN_COLUMNS = ("ids", "logprobs", "top_ids", "top_logprobs", "top_offsets")
_PLAIN = ", ".join(_PLAIN_COLUMNS)
_ONE_TIME = f"started_at = {AT.format('at')} AND exchange_id = {{id:UUID}} AND attempt = {{attempt:UInt8}}"
_ONE = f"conversation = {{place:String}} AND {_ONE_TIME}"


def exchange(exchange_id: str | UUID, attempt: int | None = None) -> StoredExchange | None:
    """One exchange with its tokens; its last attempt unless one is named. None: not stored (yet)."""
    key = _locate(exchange_id, attempt)
    if key is None:
        return None
    row = ask(
        f"SELECT {_STORED} FROM exchanges WHERE {_ONE} LIMIT 1",  # noqa: S608
        key,
    )
    if not row:
        return None
    row[0] |= {"mean_p": key["mean_p"], "least_p": key["least_p"]}
    if readers.hides(row[0]["route"]):
        return _stored(row[0], [])
    tokens = ask(
        f"SELECT choice, source, {_PACKED}, {_PLAIN} FROM tokens "  # noqa: S608
        f"WHERE {_ONE_TIME} ORDER BY choice, source, stored_at DESC LIMIT 1 BY choice, source",
        key,
        (key["id"], row[0]["route"]),
    )
    return _stored(row[0], [_tokens(one) for one in tokens])


def raw(exchange_id: str | UUID, attempt: int | None = None) -> tuple[bytes, bytes] | None:
    """The client's body and the answer it got, byte for byte (the engine's own: see inference.kept). None:
    not stored. Raises readers.HiddenError for those who may see numbers only.
    """
    key = _locate(exchange_id, attempt)
    if key is None:
        return None
    if readers.hides(key["route"]):
        raise readers.HiddenError
    found = ask(
        f"SELECT request, response FROM exchanges WHERE {_ONE} LIMIT 1",  # noqa: S608
        key,
        (key["id"], key["route"]),
        query_formats={"String": "bytes"},
    )
    return (found[0]["request"], found[0]["response"]) if found else None


def events(exchange_id: str | UUID, trace_id: str = "", route: str = "") -> list[StoredEvent]:
    """What was said of an exchange (of this route), or of its trace, in order; at most 500.

    Of what was said of others of its trace, only those see it who may read every route.
    """
    alone = "" if readers.rights().routes is None else " AND events.exchange_id IN ({nobody:UUID}, {id:UUID})"
    rows = ask(
        "SELECT toString(event_id) AS event_id, kind, at, source, data, thumbs, score, "  # noqa: S608
        "if(exchange_id = {nobody:UUID}, '', toString(exchange_id)) AS exchange_id FROM events "
        f"WHERE (started_at = {AT.format('began')} AND events.exchange_id = {{id:UUID}}) "
        f"OR (events.trace_id = {{trace:String}} AND {{trace:String}} != ''{alone}) "
        "ORDER BY at, event_id LIMIT 500",
        {
            "began": began_us(str(exchange_id)),
            "id": str(exchange_id),
            "trace": trace_id,
            "nobody": str(UUID(int=0)),
        },
        (str(exchange_id), route),
    )
    return [_event(row, row.pop("thumbs"), row.pop("score")) for row in rows]


def _event(row: dict[str, Any], thumbs: str, score: float | None) -> StoredEvent:
    """With what is left of it where its words are hidden."""
    data = orjson.loads(row["data"]) if row["data"] else {"thumbs": thumbs, "score": score}
    return StoredEvent(**{**row, "data": data})


def spans(trace_id: str) -> list[Span]:
    """The steps of a trace in order of their beginning: the exchange's own and what applications sent.

    What was sent twice counts once, and nobody's span stands for one of ours.
    """
    rows = ask(
        "SELECT SpanId AS span_id, ParentSpanId AS parent_span_id, SpanName AS name, SpanKind AS kind, "
        "ServiceName AS service, Timestamp AS started_at, Duration / 1e9 AS seconds, StatusCode AS status, "
        "StatusMessage AS message, SpanAttributes AS attributes FROM spans "
        "WHERE TraceId = {trace:String} ORDER BY ResourceAttributes[{key:String}] != '', Timestamp, SpanId "
        "LIMIT 1 BY SpanId LIMIT 5000",
        {"trace": trace_id, "key": KEY},
    )
    return sorted((Span(**row) for row in rows), key=lambda span: (span.started_at, span.span_id))


def find(text: str, limit: int = 10) -> list[str]:
    """Exchange ids that a pasted id means: an exchange's or a trace's, whole or its beginning (6 characters
    or more), or an exchange's last 8, which is what pages show; newest first.
    """
    digits = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{6,32}", digits):
        return []
    first, last = (int(digits.ljust(32, filler)[:12], 16) * 1000 for filler in "0f")
    values = {
        "first": clamp(first - CLOCK_MARGIN),
        "last": clamp(last + CLOCK_MARGIN),
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
    rows = ask(
        f"SELECT exchange_id FROM facts WHERE {condition} "  # noqa: S608 - of this module, values bound
        "GROUP BY exchange_id ORDER BY max(started_at) DESC LIMIT {most:UInt32}",
        values,
    )
    return [str(row["exchange_id"]) for row in rows]


def _locate(exchange_id: str | UUID, attempt: int | None) -> dict[str, Any] | None:
    """An exchange's whole sorting key. Its id holds when it was made, so one spot of the facts is read; only
    when it is not there (a clock was set back) all of them.
    """
    wanted = UUID(str(exchange_id))
    around = (wanted.int >> 80) * 1000
    values = {
        "first": clamp(around - CLOCK_MARGIN),
        "last": clamp(around + CLOCK_MARGIN),
        "attempt": attempt or 0,
        "id": str(wanted),
    }
    chosen = "attempt = {attempt:UInt8} AND " if attempt is not None else ""
    near = f"started_at BETWEEN {AT.format('first')} AND {AT.format('last')} AND "
    for place in (near, ""):
        rows = ask(
            "SELECT toUnixTimestamp64Micro(started_at) AS at, conversation AS place, attempt, "  # noqa: S608
            f"route, mean_p, least_p FROM facts WHERE {place}{chosen}exchange_id = {{id:UUID}} "
            "ORDER BY attempt DESC, stored_at DESC LIMIT 1",
            values,
        )
        if rows:
            return {**rows[0], "id": str(wanted)}
    return None


def _tokens(row: dict[str, Any]) -> Tokens:
    """A row's tokens; one from before they were packed has plain arrays."""
    if row["unit"]:
        return packing.unpack(row["choice"], row["source"], [row[name] for name in packing.COLUMNS])
    return Tokens(row["choice"], row["source"], *(row[name] for name in _PLAIN_COLUMNS))


def _stored(row: dict[str, Any], tokens: Sequence[Tokens]) -> StoredExchange:
    came = sum(len(one.ids) for one in tokens if one.source in ("wire", "engine"))
    made = {
        # An engine says how many in its usage, which not every stream has.
        "completion_tokens": row["completion_tokens"] or came,
        "exchange_id": str(row["exchange_id"]),
        "messages": orjson.loads(row["messages"] or "[]"),
        "choices": [Choice(**choice) for choice in orjson.loads(row["choices"] or "[]")],
        "params": orjson.loads(row["params"] or "{}"),
        "hidden": readers.hides(row["route"]),
    }
    return StoredExchange(**{**row, **made, "tokens": list(tokens)})
