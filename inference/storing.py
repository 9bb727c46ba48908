"""A batch of records into the trace store, each row once, whatever was interrupted before.

A batch's rows are cut by table and month (inference.cuts). Each cut is sent as one block under a token that
follows from the batch, and then read back; what is missing is sent under a new token. (A token alone is not
enough: a server may forget it, or have it logged and lose the part.) Of a batch that comes for the first time
the blocks are ready made, and it is only asked how many of their rows are there; whatever is not as it should
be is done by rows. Knows nothing of the spool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference import cuts
from inference.clickhouse import RejectedError, Store, Unavailable
from inference.cuts import Asked, Block, Cut
from inference.rows import BY_NAME, NO_ROW, Record, Row, Values, rows

_ROUNDS = 8


def store(trace_store: Store, records: Sequence[Record], batch: str, *, again: bool) -> None:
    """As ``store_rows``, of records that have no rows yet."""
    try:
        made = rows(records)
    except NO_ROW as error:
        raise RejectedError(f"{type(error).__name__}: {error}") from error
    store_rows(trace_store, [row for one in made for row in one], batch, again=again)


def store_blocks(trace_store: Store, blocks: Sequence[Block], batch: str) -> bool:
    """Send a batch that nobody sent before, and say whether every row of it has been read back. Where not,
    ``store_rows`` with ``again`` makes it whole. Raises Unavailable and RejectedError as that does.
    """
    return all(_store_block(trace_store, block, cuts.token(batch, block)) for block in blocks)


def _store_block(trace_store: Store, block: Block, token: str) -> bool:
    table = BY_NAME[block.table]
    trace_store.send(table.name, table.columns, block.data, token)
    counts: list[int] = [_ask(trace_store, table.count, asked)[0][0] for asked in block.asked]
    return sum(counts) == block.count


def store_rows(trace_store: Store, given: Sequence[Row], batch: str, *, again: bool) -> None:
    """Return once every row of the batch has been read back from the store.

    ``batch`` names the batch for good. ``again``: an earlier process may have sent some of it. Raises
    Unavailable (call again with ``again``) and RejectedError (a row does not fit its table).
    """
    try:
        made = cuts.cuts(given)
    except (OverflowError, ValueError) as error:
        raise RejectedError(f"a time that is none: {error}") from error
    for cut in made:
        _store_cut(trace_store, cut, cuts.token(batch, cut), again)


def _store_cut(trace_store: Store, cut: Cut, token: str, again: bool) -> None:
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


def _missing(trace_store: Store, cut: Cut) -> dict[Values, Row]:
    """The rows of the cut that are not in the store."""
    rows = list(cut.rows.values())
    try:
        wanted = cuts.asked(cut.table, rows)
    except NO_ROW as error:
        raise RejectedError(f"{type(error).__name__}: {error}") from error
    present = {tuple(row) for asked in wanted for row in _ask(trace_store, cut.table.present, asked)}
    return {key: row for key, row in cut.rows.items() if key not in present}


def _ask(trace_store: Store, question: str, asked: Asked) -> Sequence[Sequence[Any]]:
    times = {"first": asked.first, "last": asked.last}
    return trace_store.ask(question, times, {"keys": asked.keys, "near": asked.near}).result_rows
