"""Asking the trace store: rows by name, and what several questions share.

The one place where reading is authorised: every question is asked for the reader of inference.readers. Rows
of routes that the reader may not read don't come, whatever the SQL says. Where they see numbers only, what
is neither a number nor a time nor a name in OPEN comes empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from inference import readers
from inference.clickhouse import connect
from inference.stored import ENDED_WELL

FAILED = f"countIf(end_reason NOT IN {ENDED_WELL})"
OPEN = frozenset(
    (
        *("surface", "route", "model", "weights", "base_weights", "upstream", "key", "user", "session"),
        *("tags", "trace_id", "span_id", "parent_span_id", "end_reason", "capture", "logprobs_mode"),
        *("tokenizer", "cleared", "source", "kind", "thumbs", "event_id", "exchange_id"),
        # What spans are called; names of a list; weights of a draw; where a row lies, which no page is given.
        *("name", "service", "status", "models", "value", "means", "place"),
    )
)
"""Columns that say nothing of what was asked or answered. A hash of either does: it can be tried."""
_NUMBERS = (int, float, Decimal, date, UUID, type(None))


def ask(
    sql: str, values: dict[str, Any], of: tuple[str, str] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Every row of a bounded query. ``of``: id and route of the exchange that rows without an id belong to.

    Raises Unavailable, and readers.NoReaderError.
    """
    reading = readers.current()
    if reading.rights.routes is not None:
        sql += _only(reading.rights.routes)
    rows = connect().query(sql, values, **options).named_results()
    return [_shown(row, reading, of) for row in rows]


def _only(routes: Iterable[str]) -> str:
    """A clause by which the store leaves out rows of other routes, in each table that is read."""
    names = ", ".join(map(_literal, sorted(routes))) or "NULL"
    tables = {
        "facts": f"route IN ({names})",
        "exchanges": f"route IN ({names})",
        # What applications sent names no route.
        "spans": f"SpanAttributes['flywheel.route'] IN ('', {names})",
    }
    pairs = ", ".join(f"{_literal(table)}: {_literal(condition)}" for table, condition in tables.items())
    return f" SETTINGS additional_table_filters = {{{pairs}}}"


def _literal(text: str) -> str:
    """A string of SQL. A setting takes no parameters."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _shown(row: dict[str, Any], reading: readers.Reading, of: tuple[str, str] | None) -> dict[str, Any]:
    """The row, without its texts where they are hidden; what is shown of an exchange is noted."""
    texts = [name for name, value in row.items() if name not in OPEN and _is_text(value)]
    if not texts:
        return row
    exchange_id, route = str(row.get("exchange_id") or ""), row.get("route")
    if of is not None and exchange_id in ("", of[0]):
        exchange_id, route = of
    if reading.rights.hides(route):
        return {**row, **{name: {} if isinstance(row[name], dict) else row[name][:0] for name in texts}}
    if exchange_id:
        reading.looked[exchange_id] = route or ""
    return row


def _is_text(value: Any) -> bool:
    return not isinstance(value, _NUMBERS) and bool(len(value))
