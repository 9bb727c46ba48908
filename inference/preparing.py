"""What a drain makes of spooled frames before it stores anything: blocks, rows, or why there are none. Pure.

Where nothing is wrong with a batch, its rows are made into the blocks that are sent, and stay here: a row is
many objects, and costs more to hand on than to make. Where anything is, the rows themselves are handed on.

It is the most of a drain's work, and needs nothing but the bytes: so it is done ahead, while the batch before
is being stored, in a thread or in other processes (inference.ahead).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from clickhouse_connect.driver.exceptions import Error

from inference import late, records
from inference.captured import CapturedTokens
from inference.cuts import Block, Types, cuts
from inference.exchange import Exchange
from inference.masking import Masking
from inference.otlp import SpanBatch
from inference.rows import NO_ROW, Record, Row, rows
from inference.spool.reader import Ended, decode
from inference.subjects import Subject, about

log = logging.getLogger("inference.drain")
_NEVER = datetime.max.replace(tzinfo=UTC)


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


@dataclass(frozen=True, slots=True)
class Ready:
    """A whole batch, of which nothing but its blocks is needed."""

    blocks: Sequence[Block]
    records: Sequence[Record]
    """Those that are asked for beyond their rows."""
    began: datetime
    """When the first of its exchanges did; the end of time where there is none."""
    others: Sequence[Subject]
    """Whom its records are about that are no exchanges."""
    count: int
    """How many there were."""
    newest: str
    """The last exchange's id; empty where there is none."""


def ready(
    batch: Sequence[Ended], masking: Masking, types: Types | None, *, exports: bool = False
) -> Ready | list[Prepared]:
    """Blocks where all can go by them, else what ``prepare`` gives. ``types`` are None when not known."""
    made, subjects = _prepare(batch, masking, exports)
    if types is None or any(one.problem or one.damage for one in made):
        return made
    try:
        rows_of_all = [row for one in made for row in one.rows]
        blocks = [cut.block(types[cut.table.name]) for cut in cuts(rows_of_all)]
    except (*NO_ROW, Error) as error:
        log.debug("rows that make no block are stored as rows: %s", error)
        return made
    exchanges = (row.id for row in reversed(rows_of_all) if row.table == "exchanges")
    asked = [one.record for one in made if one.record is not None]
    others = [one for one in subjects if one.kind != "exchange" or one.at is None]
    began = min((one.at for one in subjects if one.kind == "exchange" and one.at), default=_NEVER)
    return Ready(blocks, asked, began, others, len(made), next(exchanges, ""))


def prepare(batch: Sequence[Ended], masking: Masking, *, exports: bool = False) -> list[Prepared]:
    """Each record's rows. What is wrong with one costs the others nothing.

    ``exports``: every exchange is asked for afterwards, too, since its span goes elsewhere.
    """
    return _prepare(batch, masking, exports)[0]


def _prepare(batch: Sequence[Ended], masking: Masking, exports: bool) -> tuple[list[Prepared], list[Subject]]:
    """And whom the records are about; of damage nobody knows."""
    subjects: list[Subject] = []
    parsed = [_parse(ended, masking, subjects) for ended in batch]
    made = iter(_rows([one for one in parsed if not isinstance(one, Prepared)], exports))
    return [one if isinstance(one, Prepared) else next(made) for one in parsed], subjects


def _parse(ended: Ended, masking: Masking, subjects: list[Subject]) -> Record | Prepared:
    try:
        raw = decode(ended)
    except ValueError as error:
        return Prepared(damage=str(error))
    subjects.append(about(raw))
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
