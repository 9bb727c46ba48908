"""Conversations by a filter, the one last spoken in first: a page of them, with what each came to.

A conversation stands where its newest exchange that matches is, so a page reads the facts from there on and
stops when it is full. Paged by that exchange's place, never by OFFSET.
"""

from __future__ import annotations

from typing import Any

from inference.conditions import AT, only_traffic, readable, where
from inference.filters import Filter
from inference.queries.asking import FAILED, ask
from inference.stored import Cursor, SessionPage, SessionSummary, Spent, microseconds

ROUNDS = 5
"""After which a page is given as it is, when most of what was found stood on an earlier one."""
WINDOW = 1000
"""Matches that are looked at in a round."""
SPARE = 10
"""So many more are looked at than a page holds: the one that it begins in mostly stood on the page before."""
_PLACE = "(started_at, exchange_id, attempt)"
_EDGE = f"({AT.format('edge')}, {{edge_id:UUID}}, {{edge_attempt:UInt8}})"
_NUMBER = "cityHash64(conversation)"
"""A conversation's name may be a hash of what was said in it; its number is as good to tell it by."""


def sessions(filter: Filter, before: Cursor | None = None, limit: int = 50) -> SessionPage:  # noqa: A002
    """Conversations in which something matches, at most ``limit``, from the newest or from ``before`` on.

    What Flywheel asked for by itself makes none, and counts in none, unless the filter names its tag.
    A page may be short and still lead on.
    """
    found: list[dict[str, Any]] = []
    edge, more = before, True
    for _ in range(ROUNDS):
        rows, further = _newest(filter, edge, limit + SPARE)
        kept, room = _unlisted(filter, edge, rows), limit - len(found)
        found += kept[:room]
        further = _cursor(found[-1]) if len(kept) > room else further
        more, edge = further is not None, further or edge
        if not more or 2 * len(found) >= limit:
            break
    spent = _spent([_name(row) for row in found], filter) if found else {}
    shown = [_summary(row, spent[row["number"]]) for row in found if row["number"] in spent]
    return SessionPage(shown, edge if more else None)


def _of_people(filter: Filter) -> tuple[str, dict[str, Any]]:  # noqa: A002
    sql, values = where(filter)
    traffic, of = only_traffic(filter)
    return f"{sql} AND {traffic}", values | of


def _summary(row: dict[str, Any], spent: Spent) -> SessionSummary:
    return SessionSummary(_name(row), row["session"], row["route"], row["question"], spent)


def _newest(
    filter: Filter,  # noqa: A002
    before: Cursor | None,
    limit: int,
) -> tuple[list[dict[str, Any]], Cursor | None]:
    """The newest match of each conversation among the next matches behind ``before``, and from where to look
    on; None at the end.
    """
    sql, values = _of_people(filter)
    mine, names = readable()
    # Without a session its name is a hash of what was said, for those who may read that.
    sql, values = f"{sql} AND (session != '' OR {mine})", values | names
    if before is not None:
        sql += f" AND started_at <= {AT.format('edge')} AND {_PLACE} < {_EDGE}"
        values |= _edge(before)
    order = "ORDER BY started_at DESC, exchange_id DESC, attempt DESC"
    # The inner limit is what bounds the reading: LIMIT BY alone lets the store read far ahead.
    window = f"FROM facts WHERE {sql} AND conversation != '' {order} LIMIT {{window:UInt32}}"
    values |= {"window": WINDOW, "most": limit}
    columns = "exchange_id, attempt, started_at, route, conversation, session, question"
    rows = ask(
        f"SELECT {columns}, {_NUMBER} AS number FROM (SELECT {columns} {window}) "  # noqa: S608
        f"{order} LIMIT 1 BY conversation LIMIT {{most:UInt32}}",
        values,
    )
    if len(rows) == limit:
        return rows, _cursor(rows[-1])
    end = ask(f"SELECT count() AS n, min(place) AS place FROM (SELECT {_PLACE} AS place {window})", values)[0]  # noqa: S608
    at, exchange_id, attempt = end["place"]
    return rows, Cursor(at, str(exchange_id), attempt) if end["n"] == WINDOW else None


def _unlisted(filter: Filter, before: Cursor | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: A002
    """Without those that came earlier, because they have a newer match."""
    if before is None or not rows:
        return rows
    sql, values = _of_people(filter)
    earlier = ask(
        f"SELECT DISTINCT {_NUMBER} AS number FROM facts WHERE {sql} "  # noqa: S608
        f"AND conversation IN {{names:Array(String)}} AND started_at >= {AT.format('edge')} "
        f"AND {_PLACE} >= {_EDGE}",
        {**values, **_edge(before), "names": [_name(row) for row in rows]},
    )
    gone = {row["number"] for row in earlier}
    return [row for row in rows if row["number"] not in gone]


def _spent(names: list[str], filter: Filter) -> dict[int, Spent]:  # noqa: A002
    """What whole conversations came to, also what does not match, by number."""
    traffic, of = only_traffic(filter)
    columns = "conversation, started_at, exchange_id, attempt, user, model, end_reason, least_p"
    rows = ask(
        f"SELECT {_NUMBER} AS number, model, max(user) AS user, count() AS exchanges, {FAILED} AS failed, "  # noqa: S608
        "min(started_at) AS first_at, max(started_at) AS last_at, min(least_p) AS least_p, "
        "sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens FROM "
        f"(SELECT {columns}, prompt_tokens, completion_tokens FROM facts "
        f"WHERE conversation IN {{names:Array(String)}} AND {traffic} "
        "ORDER BY stored_at DESC LIMIT 1 BY started_at, exchange_id, attempt) GROUP BY conversation, model",
        {"names": names, **of},
    )
    found: dict[int, Spent] = {}
    for row in rows:
        number = row.pop("number")
        part = Spent.of(**row)
        found[number] = found[number] + part if number in found else part
    return found


def _name(row: dict[str, Any]) -> str:
    name: str = row["session"] or row["conversation"]
    return name


def _cursor(row: dict[str, Any]) -> Cursor:
    return Cursor(row["started_at"], str(row["exchange_id"]), row["attempt"])


def _edge(before: Cursor) -> dict[str, Any]:
    return {
        "edge": microseconds(before.started_at),
        "edge_id": before.exchange_id,
        "edge_attempt": before.attempt,
    }
