"""What tokens that come on their own add to the explorer's row: how sure the model was of the answer.

An engine's tokens and their exchange reach the trace store by two drains, in any order and at the same time.
Each drain first stores what it has and then looks for the other part, so that at least one of them sees both;
whoever does appends the exchange's row of facts once more, complete. The table keeps the newest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from inference import packing
from inference.answer import Tokens
from inference.captured import CapturedTokens
from inference.clickhouse import Store
from inference.deciding import undecided
from inference.exchange import Exchange
from inference.ragged import Ragged
from inference.rows import FACT_COLUMNS, IN_TIME, Record, Values, certainty, moment, rows

_Key = tuple[str, int]
_MEAN, _LEAST = FACT_COLUMNS.index("mean_p"), FACT_COLUMNS.index("least_p")
_UNDECIDED = slice(FACT_COLUMNS.index("entropy"), FACT_COLUMNS.index("deciding_margin") + 1)
_COUNT = FACT_COLUMNS.index("completion_tokens")
_ID, _STARTED = FACT_COLUMNS.index("exchange_id"), FACT_COLUMNS.index("started_at")


def may_be(one: Exchange) -> bool:
    """Whether its tokens come, or came, on their own."""
    return one.capture == "engine" and not one.tokens


def join(trace_store: Store, records: Sequence[Record], batch: str) -> int:
    """Complete the facts of a batch that has been stored; returns of how many exchanges.

    Doing it again changes nothing. Raises Unavailable.
    """
    own = [one for one in records if isinstance(one, CapturedTokens) and one.tokens.source == "engine"]
    first = {(one.exchange_id, one.attempt): one for one in own if one.tokens.choice == 0}
    further = {(one.exchange_id, one.attempt): one for one in own if one.tokens.choice > 0}
    waiting = {
        (one.exchange_id, one.attempt): one for one in records if isinstance(one, Exchange) and may_be(one)
    }
    complete = [*_of_tokens(trace_store, first, further), *_of_exchanges(trace_store, waiting)]
    months: dict[str, list[Values]] = defaultdict(list)
    for values in _counted(trace_store, complete, further):
        months[f"{moment(values[_STARTED]):%Y%m}"].append(values)
    for month, some in sorted(months.items()):
        trace_store.insert("facts", FACT_COLUMNS, some, f"{batch}:late:{month}:{len(some)}")
    return len(complete)


def _of_tokens(
    trace_store: Store, first: dict[_Key, CapturedTokens], further: dict[_Key, CapturedTokens]
) -> list[Values]:
    """Facts that are stored without what these tokens say: of first choices, and of others, which count."""
    found = first | further
    if not found:
        return []
    names = ", ".join(f"`{name}`" for name in FACT_COLUMNS)
    stored = trace_store.query(
        f"SELECT {names} FROM facts FINAL WHERE {IN_TIME} "  # noqa: S608 - constants
        "AND (mean_p IS NULL OR exchange_id IN {further:Array(UUID)})",
        {
            **_asked(list(found), [one.started_us for one in found.values()]),
            "further": [exchange_id for exchange_id, _ in further],
        },
    )
    complete = []
    for values in stored.result_rows:
        key = (str(values[0]), values[1])
        one = first.get(key)
        if one is not None and one.tokens.ids and values[_MEAN] is None:
            complete.append(_with(values, one.tokens, one))
        elif key in further:
            complete.append(_as_spooled(values, further[key]))
    return complete


def _of_exchanges(trace_store: Store, found: dict[_Key, Exchange]) -> list[Values]:
    """Facts of these exchanges, whose tokens had come before them."""
    if not found:
        return []
    names = ", ".join(f"`{name}`" for name in packing.COLUMNS)
    stored = trace_store.query(
        f"SELECT toString(exchange_id), attempt, {names} FROM tokens "  # noqa: S608 - constants
        f"WHERE {IN_TIME} AND choice = 0 AND source = 'engine'",
        _asked(list(found), [one.started_us for one in found.values()]),
    )
    complete = []
    for exchange_id, attempt, *columns in stored.result_rows:
        one = found.get((exchange_id, attempt))
        if one is None:
            continue
        tokens = packing.unpack(0, "engine", columns)
        (values,) = (row.values for row in rows([replace(one, tokens=[])])[0] if row.table == "facts")
        if tokens.ids:
            complete.append(_with(values, tokens, one))
    return complete


def _asked(keys: list[_Key], times: list[int]) -> dict[str, Any]:
    return {"first": min(times), "last": max(times), "ids": sorted({exchange_id for exchange_id, _ in keys})}


def _counted(trace_store: Store, complete: list[Values], further: Collection[_Key]) -> list[Values]:
    """With the number of tokens, where the engine did not say it: of a stream that was cut off, or that has
    several choices and was not asked for its usage."""
    lacking = [values for values in complete if not values[_COUNT] or values[:2] in further]
    if not lacking:
        return complete
    counts = trace_store.query(
        "SELECT toString(exchange_id), attempt, sum(count) FROM (SELECT exchange_id, attempt, "  # noqa: S608
        "any(if(unit > 0, length(token.place), length(ids))) AS count FROM tokens "
        f"WHERE {IN_TIME} AND source = 'engine' GROUP BY exchange_id, attempt, choice) "
        "GROUP BY exchange_id, attempt",
        _asked([(values[0], values[1]) for values in lacking], [values[_STARTED] for values in lacking]),
    )
    known = {(exchange_id, attempt): count for exchange_id, attempt, count in counts.result_rows}
    return [
        (*values[:_COUNT], max(values[_COUNT], known.get(values[:2], 0)), *values[_COUNT + 1 :])
        for values in complete
    ]


def _as_spooled(values: Sequence[Any], one: Exchange | CapturedTokens) -> Values:
    """Id and time as they were spooled: columns give them back in forms of their own."""
    whole = list(values)
    whole[_ID], whole[_STARTED] = one.exchange_id, one.started_us
    return tuple(whole)


def _with(values: Sequence[Any], tokens: Tokens, one: Exchange | CapturedTokens) -> Values:
    whole = list(_as_spooled(values, one))
    whole[_MEAN], whole[_LEAST] = certainty(tokens)
    whole[_UNDECIDED] = undecided(Ragged.of([tokens]))[0]
    return tuple(whole)
