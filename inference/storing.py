"""A batch of exchanges into the trace store, each row once, whatever was interrupted before.

A batch's rows are cut by table and month. Each cut is sent as one block under a token that follows from the
batch, and then read back; what is missing is sent under a new token. (A token alone is not enough: a server
may forget it, or have it logged and lose the part.) Knows nothing of the spool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from inference.clickhouse import Store, Unavailable
from inference.exchange import Exchange
from inference.rows import TABLES, Row, Table, moment

_ROUNDS = 8
_KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class _Cut:
    """One table's rows of one month, and what bounds them."""

    table: Table
    month: str
    rows: dict[Row, Row]
    exchanges: list[Exchange]


def store(trace_store: Store, exchanges: Sequence[Exchange], batch: str, *, again: bool) -> None:
    """Return once every row of the batch has been read back from the store.

    ``batch`` names the batch for good. ``again``: an earlier process may have sent some of it. Raises
    Unavailable (call again with ``again``) and RejectedError (a row does not fit its table).
    """
    for table in TABLES:
        for cut in _cuts(table, exchanges):
            _store_cut(trace_store, cut, f"{batch}:{table.name}:{cut.month}", again)


def _cuts(table: Table, exchanges: Sequence[Exchange]) -> list[_Cut]:
    months: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        months[f"{moment(exchange.started_us):%Y%m}"].append(exchange)
    cuts = []
    for month, within in sorted(months.items()):
        rows = {key: row for exchange in within for key, row in table.rows(exchange)}
        if rows:
            cuts.append(_Cut(table, month, rows, within))
    return cuts


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
            list(missing.values()),
            token if whole else f"{token}:{attempt + 1}:{len(missing)}",
        )
        missing = _missing(trace_store, cut)
    raise Unavailable(f"{len(missing)} rows of {cut.table.name} are acknowledged but can't be read back")


def _missing(trace_store: Store, cut: _Cut) -> dict[Row, Row]:
    """The rows of the cut that are not in the store."""
    present: set[Row] = set()
    for start in range(0, len(cut.exchanges), _KEYS_A_QUERY):
        asked = cut.exchanges[start : start + _KEYS_A_QUERY]
        times = [exchange.started_us for exchange in asked]
        prefixes = (e.trace_id.lower() if cut.table.name == "spans" else e.conversation for e in asked)
        found = trace_store.query(
            cut.table.present,
            {
                "first": min(times),
                "last": max(times),
                "ids": [exchange.exchange_id for exchange in asked],
                "prefix": sorted(set(prefixes)),
            },
        )
        present.update(tuple(row) for row in found.result_rows)
    return {key: row for key, row in cut.rows.items() if key not in present}
