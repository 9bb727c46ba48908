"""From one exchange to the next in the list it was opened from, which its address carries as a filter.

What stands above and below is asked of inference.queries.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.http import QueryDict

from inference import explorer, filters, queries
from inference.clickhouse import RejectedError
from inference.stored import Cursor, StoredExchange


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Where to go from an exchange: its list, the one above (newer) and the one below (older), or ""."""

    list_url: str
    newer_url: str
    older_url: str


def of(x: StoredExchange, asked: QueryDict) -> Neighbours | None:
    """None where the address names no list, or one that can't be read. Raises Unavailable."""
    line, view = asked.get(explorer.LIST), asked.get("view", "")
    if line is None:
        return None
    here = Cursor(x.started_at, x.exchange_id, x.attempt)
    try:
        chosen = filters.parse(line)
        found = queries.neighbours(chosen, here)
    except (filters.FilterError, RejectedError):
        return None
    newer, older = (at and explorer.exchange_url(at.exchange_id, at.attempt, chosen, view) for at in found)
    return Neighbours(explorer.url(chosen), newer or "", older or "")
