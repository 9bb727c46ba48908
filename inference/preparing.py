"""What a drain makes of spooled frames before it stores anything: rows, or why there are none. Pure.

It is the most of a drain's work, and needs nothing but the bytes: so it is done ahead, while the batch before
is being stored, in a thread or in other processes (inference.ahead).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference import late, records
from inference.captured import CapturedTokens
from inference.exchange import Exchange
from inference.masking import Masking
from inference.otlp import SpanBatch
from inference.rows import NO_ROW, Record, Row, rows
from inference.spool.reader import Ended, decode

log = logging.getLogger("inference.drain")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one spooled record came to. All empty: nothing of it is to be stored."""

    rows: Sequence[Row] = ()
    record: Record | None = None
    """It itself, where its rows are not all that is asked of it."""
    problem: str = ""
    """Why it can't be stored, and is kept aside."""
    damage: str = ""
    """Why its frames can't be read."""


def prepare(batch: Sequence[Ended], masking: Masking, *, exports: bool = False) -> list[Prepared]:
    """Each record's rows. What is wrong with one costs the others nothing.

    ``exports``: every exchange is asked for afterwards, too, since its span goes elsewhere.
    """
    parsed = [_parse(ended, masking) for ended in batch]
    made = iter(_rows([one for one in parsed if not isinstance(one, Prepared)], exports))
    return [one if isinstance(one, Prepared) else next(made) for one in parsed]


def _parse(ended: Ended, masking: Masking) -> Record | Prepared:
    try:
        raw = decode(ended)
    except ValueError as error:
        return Prepared(damage=str(error))
    try:
        record = records.parse(raw)
        return Prepared() if record is None else masking.record(raw, record)
    except ValueError as error:
        return Prepared(problem=str(error))
    except Exception as error:  # a parser's mistake costs one exchange its row, not all of them
        log.exception("exchange %s can't be parsed", raw.exchange_id)
        return Prepared(problem=f"{type(error).__name__}: {error}")


def _rows(parsed: Sequence[Record], exports: bool) -> list[Prepared]:
    try:
        return [Prepared(made, _asked(one, exports)) for one, made in zip(parsed, rows(parsed), strict=True)]
    except NO_ROW as error:
        if len(parsed) == 1:
            return [Prepared(problem=f"{type(error).__name__}: {error}")]
        # One of them makes no row. Which one is found by making each one's alone.
        return [made for one in parsed for made in _rows([one], exports)]


def _asked(one: Record, exports: bool) -> Record | None:
    """The record where it is still asked for. It may have to travel: of most the rows are enough."""
    if isinstance(one, SpanBatch | CapturedTokens):
        return one
    if not isinstance(one, Exchange) or not (exports or late.may_be(one)):
        return None
    return replace(one, request=b"", response=b"")
