"""A filter as a condition over the table ``facts``. Pure but for what inference.lookups is asked.

Values travel as parameters beside the SQL, never in it; names come from the tables below only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from inference import lookups, purposes, readers
from inference.filters import Compare, Equals, Filter, FilterError, Not, Positive, Tag, Term, Time, Words
from inference.stored import microseconds

COLUMNS = {
    **{
        name: f"`{name}`" for name in ("route", "model", "upstream", "key", "user", "session", "conversation")
    },
    **{
        name: f"`{name}`"
        for name in ("surface", "group", "capture", "seconds", "least_p", "mean_p", "status")
    },
    **{name: f"`{name}`" for name in ("weights", "prompt_tokens", "attempt", "entropy")},
    "trace": "trace_id",
    "end": "end_reason",
    "id": "toString(exchange_id)",
    "first_token": "first_token_seconds",
    "tokens": "completion_tokens",
}
_WHOLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CLOCK_MARGIN = 600_000_000
"""An id is made when the exchange begins; microseconds by which the two may differ."""
TEXT = r"lowerUTF8(concat(question, '\n', answer))"
"""What words are looked for in."""
SPELLING = ("conversation", "group")
"""Names whose values may be hashes of a text: whoever can guess the text can try it."""
NUMBERS_ONLY = "you may see numbers only, so texts can’t be searched; ask an administrator for the right"
_BEGINNINGS = ("weights", "id", "trace")
# Of what one user said on one exchange through one key, the newest counts.
_FEEDBACK = {
    **{one: f"argMaxIf(thumbs, at, thumbs != '') = '{one}'" for one in ("up", "down")},
    **{one: f"countIf(JSONHas(data, '{one}')) > 0" for one in ("comment", "correction", "score")},
    "any": "1",
}
AT = "fromUnixTimestamp64Micro({{{}:Int64}}, 'UTC')"


def where(filter: Filter) -> tuple[str, dict[str, Any]]:  # noqa: A002
    """A condition over ``facts`` and the values it refers to."""
    now = datetime.now(UTC)
    conditions = ["1"]
    values: dict[str, Any] = {}
    for number, term in enumerate(filter.terms):
        condition, found = _part(term, f"v{number}", filter, now)
        if _spells(term):
            if readers.rights().numbers_only:
                raise FilterError(str(term), NUMBERS_ONLY)
            mine, names = readable()
            condition, found = f"{mine} AND ({condition})", found | names
        conditions.append(f"({condition})")
        values |= found
    return " AND ".join(conditions), values


def _part(term: Term, name: str, whole: Filter, now: datetime) -> tuple[str, dict[str, Any]]:
    if isinstance(term, Not):
        condition, found = _part(term.term, name, whole, now)
        return f"NOT ifNull({condition}, 0)", found
    if isinstance(term, Compare) and term.name == "cost":
        return _cost(term, name)
    if isinstance(term, Equals) and term.name == "id" and all(map(_WHOLE.fullmatch, term.values)):
        return _whole_ids(term.values, name)
    if isinstance(term, Equals) and term.name == "label":
        return _label(term, name, whole, now)
    condition, value = _condition(term, name, now)
    return condition, {name: value} | ({f"{name}_name": term.name} if isinstance(term, Tag) else {})


def where_readable(filter: Filter) -> tuple[str, dict[str, Any]]:  # noqa: A002
    """As ``where``, of exchanges whose texts the reader may read. Raises FilterError where there are none."""
    if readers.rights().numbers_only:
        raise FilterError(str(filter)[:60], "you may see numbers only; ask an administrator for the right")
    condition, values = where(filter)
    mine, names = readable()
    return f"{condition} AND {mine}", values | names


def within_rights(filter: Filter, *, texts: bool) -> Filter:  # noqa: A002
    """The filter, narrowed to routes that the reader may read: what may be kept and asked by a job later.

    ``texts``: what comes of it is texts. Raises FilterError where nothing is left.
    """
    rights = readers.rights()
    mine = rights.texts if texts or any(map(_spells, filter.terms)) else rights.routes
    if mine is None:
        return filter
    if not mine:
        raise FilterError(str(filter)[:60], "you may see numbers only; ask an administrator for the right")
    return filter.with_term(Equals("route", tuple(sorted(mine))))


def only_traffic(filter: Filter, but: Sequence[str] = purposes.ALL) -> tuple[str, dict[str, Any]]:  # noqa: A002
    """A condition that leaves out what Flywheel asked for by itself; not what is in ``but``, when the filter
    names its tag.
    """
    named = {term.name for term in filter.terms if isinstance(term, Tag)}
    return "purpose IN {purposes:Array(String)}", {"purposes": ["", *sorted(named & set(but))]}


def readable() -> tuple[str, dict[str, Any]]:
    """A condition over a route's name, and its values: that the reader may read the texts."""
    texts = readers.rights().texts
    if texts is None:
        return "1", {}
    return "`route` IN {readable:Array(String)}", {"readable": sorted(texts)}


def _spells(term: Term) -> bool:
    if isinstance(term, Not):
        return _spells(term.term)
    return isinstance(term, Words) or (isinstance(term, Equals) and term.name in SPELLING)


def _cost(term: Compare, name: str) -> tuple[str, dict[str, Any]]:
    """Dollars at today's prices; what a version without a price answered is free."""
    prices = lookups.prices()
    sides = " + ".join(
        f"{tokens} * transform(`model`, {{{name}_of:Array(String)}}, {{{name}_{side}:Array(Int64)}}, 0)"
        for tokens, side in (("prompt_tokens", "in"), ("completion_tokens", "out"))
    )
    return f"({sides}) / 1e9 {term.operator} {{{name}:Float64}}", {
        name: term.value,
        # A list without any has no type; nothing is called nothing.
        f"{name}_of": [*prices, ""],
        f"{name}_in": [*(price.prompt for price in prices.values()), 0],
        f"{name}_out": [*(price.completion for price in prices.values()), 0],
    }


def _label(term: Equals, name: str, whole: Filter, now: datetime) -> tuple[str, dict[str, Any]]:
    times = [(one.name, one.at(now)) for one in whole.terms if isinstance(one, Time)]
    since = max((at for word, at in times if word == "since"), default=None)
    until = min((at for word, at in times if word == "until"), default=None)
    found = [str(one) for one in lookups.labelled(term.values, since, until)]
    return f"exchange_id IN {{{name}:Array(UUID)}}", {name: found}


def _whole_ids(ids: tuple[str, ...], name: str) -> tuple[str, dict[str, Any]]:
    """An id holds when it was made, so only that stretch of time is read."""
    made = [(UUID(one).int >> 80) * 1000 for one in ids]
    condition = (
        f"exchange_id IN {{{name}:Array(UUID)}} AND "
        f"started_at BETWEEN {AT.format(f'{name}_first')} AND {AT.format(f'{name}_last')}"
    )
    return condition, {
        name: list(ids),
        f"{name}_first": clamp(min(made) - CLOCK_MARGIN),
        f"{name}_last": clamp(max(made) + CLOCK_MARGIN),
    }


def _condition(term: Positive | Time, name: str, now: datetime) -> tuple[str, Any]:
    if isinstance(term, Equals) and term.name == "feedback":
        return _said(" OR ".join(_FEEDBACK[value] for value in term.values)), list(term.values)
    if isinstance(term, Compare) and term.name == "score":
        # Without a score the comparison is NULL, which matches nothing.
        newest = "argMaxIf(score, at, score IS NOT NULL)"
        return _said(f"{newest} {term.operator} {{{name}:Float64}}"), term.value
    if isinstance(term, Equals):
        column = COLUMNS[term.name]
        if term.name in _BEGINNINGS:
            return f"arrayExists(one -> startsWith({column}, one), {{{name}:Array(String)}})", list(
                term.values
            )
        return f"{column} IN {{{name}:Array(String)}}", list(term.values)
    if isinstance(term, Compare):
        return f"{COLUMNS[term.name]} {term.operator} {{{name}:Float64}}", term.value
    if isinstance(term, Tag):
        return f"tags[{{{name}_name:String}}] = {{{name}:String}}", term.value
    if isinstance(term, Time):
        sign = ">=" if term.name == "since" else "<"
        return f"started_at {sign} {AT.format(name)}", clamp(microseconds(term.at(now)))
    # The index is on this expression; a constant is lowered by the store, as the texts were.
    escaped = re.sub(r"([\\%_])", r"\\\1", term.text)
    return f"{TEXT} LIKE concat('%', lowerUTF8({{{name}:String}}), '%')", escaped


def _said(having: str) -> str:
    """What users said about the exchange, or about its trace."""
    said = f"FROM events WHERE kind = 'feedback' GROUP BY exchange_id, trace_id, source, user HAVING {having}"
    return (
        f"exchange_id IN (SELECT exchange_id {said}) "
        f"OR (trace_id != '' AND trace_id IN (SELECT trace_id {said}))"
    )


def clamp(at_microseconds: int) -> int:
    """Into what a DateTime64 holds (1900 to 2299)."""
    return max(0, min(at_microseconds, 10_000_000_000_000_000))
