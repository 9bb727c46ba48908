"""What a record of the spool is: an exchange, or something else that must be kept as surely as one. Pure.

Every record has an id of its own (a UUIDv7, never another record's) and opens with a header that names its
``kind``; an exchange's names none. One kind is one entry here: a function from what was spooled to a value,
whose rows inference.rows knows. Whoever spools one (the proxy, an engine) waits for the same sync, and the
drain stores it as it stores an exchange: once.
"""

from __future__ import annotations

from collections.abc import Callable

from inference import captured, events, exchange, otlp
from inference.engine.form import DROPPED
from inference.engine.form import KIND as TOKENS
from inference.raw import RawExchange
from inference.rows import Record

_KINDS: dict[str, Callable[[RawExchange], Record]] = {
    "exchange": exchange.parse,
    "event": events.parse,
    "spans": otlp.parse,
    TOKENS: captured.read,
}
_COUNTS_CUT_OFF = {"exchange", TOKENS}
"""Kinds of which a record without its end is one all the same: what it holds was generated."""


def parse(raw: RawExchange) -> Record | None:
    """The record in ``raw``; None for one that no answer ever confirmed, which its sender sends again, and
    for one that its writer gave up. Raises ValueError.
    """
    kind = raw.opened.get("kind", "exchange")
    read = _KINDS.get(kind)
    if read is None:
        raise ValueError(f"record {raw.exchange_id} is of a kind that this drain does not know: {kind!r}")
    reason = raw.closed.get("end_reason")
    if reason == DROPPED or (kind not in _COUNTS_CUT_OFF and reason != "complete"):
        return None
    return read(raw)
