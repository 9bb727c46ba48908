"""Asking the trace store: rows by name, and what several questions share."""

from __future__ import annotations

from typing import Any

from inference.clickhouse import connect
from inference.stored import ENDED_WELL

FAILED = f"countIf(end_reason NOT IN {ENDED_WELL})"


def ask(sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every row of a bounded query. Raises Unavailable."""
    return list(connect().query(sql, values).named_results())
