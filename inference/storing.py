"""A batch of records into the trace store, each row once, whatever was interrupted before.

A batch's rows are cut by table and month. Each cut is sent as one block under a token that follows from the
batch, and then read back; what is missing is sent under a new token. (A token alone is not enough: a server
may forget it, or have it logged and lose the part.) Knows nothing of the spool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from inference.clickhouse import RejectedError, Store, Unavailable
from inference.rows import NO_ROW, TABLES, Record, Row, Table, Values, moment, rows

_ROUNDS = 8
_KEYS_A_QUERY = 500
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class _Cut:
    """One table's rows of one month, by their keys."""

    table: Table
    month: str
    rows: dict[Values, Row]


def store(trace_store: Store, records: Sequence[Record], batch: str, *, again: bool) -> None:
    """As ``store_rows``, of records that have no rows yet."""
    try:
        made = rows(records)
    except NO_ROW as error:
        raise RejectedError(f"{type(error).__name__}: {error}") from error
    store_rows(trace_store, [row for one in made for row in one], batch, again=again)


def store_rows(trace_store: Store, given: Sequence[Row], batch: str, *, again: bool) -> None:
    """Return once every row of the batch has been read back from the store.

    ``batch`` names the batch for good. ``again``: an earlier process may have sent some of it. Raises
    Unavailable (call again with ``again``) and RejectedError (a row does not fit its table).
    """
    try:
        cuts = _all_cuts(given)
    except (OverflowError, ValueError) as error:
        raise RejectedError(f"a time that is none: {error}") from error
    for cut in cuts:
        _store_cut(trace_store, cut, f"{batch}:{cut.table.name}:{cut.month}", again)


def _all_cuts(given: Sequence[Row]) -> list[_Cut]:
    by_table: dict[str, list[Row]] = defaultdict(list)
    for row in given:
        by_table[row.table].append(row)
    return [cut for table in TABLES for cut in _cuts(table, by_table[table.name])]


def _cuts(table: Table, given: Sequence[Row]) -> list[_Cut]:
    months: dict[str, dict[Values, Row]] = defaultdict(dict)
    for row in given:
        months[_month(row.at_us // _DAY)][row.key] = row
    return [_Cut(table, month, within) for month, within in sorted(months.items())]


@lru_cache(maxsize=100)
def _month(day: int) -> str:
    """The month of a day since 1970."""
    return f"{moment(day * _DAY):%Y%m}"


def _store_cut(trace_store: Store, cut: _Cut, token: str, again: bool) -> None:
    missing = _missing(trace_store, cut) if again else cut.rows
    for attempt in range(_ROUNDS):
        if not missing:
            return
        # The first token stands for the whole cut; a part of it needs another.
        whole = len(missing) == len(cut.rows) and attempt == 0
        trace_store.insert(
            cut.table.name,
            cut.table.columns,
            [row.values for row in missing.values()],
            token if whole else f"{token}:{attempt + 1}:{len(missing)}",
        )
        missing = _missing(trace_store, cut)
    raise Unavailable(f"{len(missing)} rows of {cut.table.name} are acknowledged but can't be read back")


def _missing(trace_store: Store, cut: _Cut) -> dict[Values, Row]:
    """The rows of the cut that are not in the store."""
    present: set[Values] = set()
    expected = list(cut.rows.values())
    for start in range(0, len(expected), _KEYS_A_QUERY):
        asked = expected[start : start + _KEYS_A_QUERY]
        times = [row.at_us for row in asked]
        found = trace_store.query(
            cut.table.present,
            {
                "first": min(times),
                # A column may be finer than microseconds.
                "last": max(times) + 1,
                "ids": sorted({row.id for row in asked}),
                "prefix": sorted({row.prefix for row in asked}),
            },
        )
        present.update(tuple(row) for row in found.result_rows)
    return {key: row for key, row in cut.rows.items() if key not in present}
