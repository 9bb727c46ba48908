"""Exchanges drawn for queues, each with the probability that it was drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from inference import purposes
from inference.conditions import AT, only_traffic, where, where_readable
from inference.filters import Filter
from inference.queries import policies
from inference.queries.asking import ask
from inference.rows import CUT
from inference.stored import Candidate, Draw, microseconds

_NAMED = 2000
"""Exchanges whose ids travel with one question."""
_DRAWN = "exchange_id, attempt, started_at, route, conversation, `group`, mean_p, least_p"


def sample(
    filter: Filter,  # noqa: A002
    limit: int,
    seed: int = 0,
    order: str = policies.EVEN,
    *,
    calls: bool = False,
) -> list[Candidate]:
    """Exchanges with an answer for a queue, at most ``limit``; with ``calls`` those that call a tool.

    ``order`` names a policy (inference.queries.policies); the same call gives the same, and a larger limit
    only adds. By chance: priority sampling, so that annotations.estimates can say what follows from ``key``
    and ``weight``. ``newest``: the last ones, with probability 1. What Flywheel asked for by itself is drawn
    only where the filter names its tag, suggestions never: a queue would feed on its own. Raises ValueError
    for an unknown order.
    """
    policy = policies.Policy.parse(order)
    sql, values = where_readable(filter)
    chance = "((cityHash64(exchange_id, attempt, {seed:UInt64}) + 1) / 18446744073709551616)"
    wanted = "(end_reason = 'tool_calls' OR NOT answered)" if calls else "answered"
    traffic, of = only_traffic(filter, but=(purposes.EVALUATION, purposes.AGAIN))
    matching = f"{sql} AND {wanted} AND {traffic}"
    values |= of
    # Counted apart: in one query, every row that matches would be held with all its columns.
    whole = ask(
        f"SELECT count() AS total, avg({policies.DOUBT}) AS mean, {policy.means()} AS means "  # noqa: S608
        f"FROM {policy.source(matching)} WHERE {matching}",
        values,
    )[0]
    by = "key, exchange_id" if policy.by_chance else "started_at DESC, exchange_id DESC"
    rows = ask(
        f"SELECT {_DRAWN}, {policy.weight(whole['means'])} AS weight, {chance} / weight AS key "  # noqa: S608
        f"FROM {policy.source(matching)} WHERE {matching} ORDER BY {by} LIMIT {{most:UInt32}}",
        {**values, "seed": seed, "most": limit + 1},
    )
    threshold = rows[limit]["key"] if len(rows) > limit and policy.by_chance else None
    total, mean = (whole["total"], whole["mean"]) if rows else (0, 0.0)
    drawn = Draw(total, mean, threshold, even=policy.even)
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
    sql, values = where_readable(filter)
    rows = ask(
        f"SELECT {_DRAWN} FROM facts FINAL WHERE {sql} AND answered "  # noqa: S608
        "AND question IN {questions:Array(String)} ORDER BY started_at DESC LIMIT 5 BY question",
        {**values, "questions": [question[:CUT] for question in questions]},
    )
    return [one for one, _ in _candidates(rows, False)]


def matching(
    filter: Filter,  # noqa: A002
    named: Sequence[tuple[UUID, int, datetime]],
) -> set[tuple[UUID, int]]:
    """Which of the named exchanges (id, attempt, when it began) match. Reads no more than their time."""
    sql, values = where(filter)
    ordered = sorted(named, key=lambda one: one[2])
    found: set[tuple[UUID, int]] = set()
    for start in range(0, len(ordered), _NAMED):
        part = ordered[start : start + _NAMED]
        rows = ask(
            f"SELECT exchange_id, attempt FROM facts FINAL WHERE {sql} "  # noqa: S608
            f"AND started_at BETWEEN {AT.format('first')} AND {AT.format('last')} "
            "AND exchange_id IN {ids:Array(UUID)}",
            {
                **values,
                "first": microseconds(part[0][2]),
                "last": microseconds(part[-1][2]),
                "ids": [str(one) for one, _, _ in part],
            },
        )
        found |= {(UUID(str(row["exchange_id"])), row["attempt"]) for row in rows}
    return found & {(one, attempt) for one, attempt, _ in ordered}


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
                    cut=_cut(choices[0]),
                    second=choices[1].get("text", "") if len(choices) > 1 else "",
                    second_cut=len(choices) > 1 and _cut(choices[1]),
                    tool_calls=choices[0].get("tool_calls", []),
                    tools=orjson.loads(body["tools"] or "[]") if calls else [],
                ),
                row,
            )
        )
    return drawn


def _cut(choice: dict[str, Any]) -> bool:
    """Whether it ended at its allowed length; every surface has the one word for it."""
    return bool(choice.get("finish_reason") == "length")


def _bodies(rows: Sequence[dict[str, Any]], calls: bool) -> dict[tuple[str, int], dict[str, Any]]:
    """Messages, choices and with ``calls`` the request's tools, all as JSON, by exchange id and attempt."""
    more = ", JSONExtractRaw(request, 'tools') AS tools" if calls else ""
    found = {}
    for start in range(0, len(rows), 500):
        asked = rows[start : start + 500]
        bodies = ask(
            f"SELECT exchange_id, attempt, route, messages, choices{more} FROM exchanges "  # noqa: S608
            "WHERE conversation IN {conversations:Array(String)} AND exchange_id IN {ids:Array(UUID)}",
            {
                "conversations": sorted({row["conversation"] for row in asked}),
                "ids": [row["exchange_id"] for row in asked],
            },
        )
        found.update({(str(body["exchange_id"]), body["attempt"]): body for body in bodies})
    return found
