"""A batch's rows cut by table and month: an insert is wholly there or not at all only within one partition.

Pure; storing a cut is in inference.storing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from inference import native
from inference.rows import TABLES, Row, Table, Values, moment

_DAY = 86_400_000_000
Types = Mapping[str, Sequence[str]]
"""Each table's columns' types, in the order of its columns."""


_KEYS_A_QUERY = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for when some rows are read back: parameters of ``Table.present`` and ``Table.count``."""

    keys: str
    near: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Block:
    """A cut as it is sent and read back again, without its rows."""

    table: str
    month: str
    count: int
    """How many rows, each with a key of its own."""
    data: bytes
    """Compressed."""
    asked: Sequence[Asked]


@dataclass(frozen=True, slots=True)
class Cut:
    """One table's rows of one month, by their keys."""

    table: Table
    month: str
    rows: dict[Values, Row]

    def block(self, types: Sequence[str]) -> Block:
        """Raises what inference.native does when a row does not fit."""
        rows = list(self.rows.values())
        data = native.block(self.table.columns, types, [row.values for row in rows])
        return Block(self.table.name, self.month, len(rows), native.compressed(data), asked(self.table, rows))


def cuts(given: Sequence[Row]) -> list[Cut]:
    """In the order in which they are written. Raises OverflowError or ValueError at a time that is none."""
    by_table: dict[str, list[Row]] = defaultdict(list)
    for row in given:
        by_table[row.table].append(row)
    return [cut for table in TABLES for cut in _cuts(table, by_table[table.name])]


def token(batch: str, cut: Cut | Block) -> str:
    """What a cut as a whole goes under. It follows from the batch, and from nothing else."""
    name = cut.table if isinstance(cut, Block) else cut.table.name
    return f"{batch}:{name}:{cut.month}"


def asked(table: Table, rows: Sequence[Row]) -> list[Asked]:
    """What finds these rows in the store, some at a time. Raises ValueError at a key that is no text."""
    parts = [rows[start : start + _KEYS_A_QUERY] for start in range(0, len(rows), _KEYS_A_QUERY)]
    return [_asked(table, part) for part in parts]


def _asked(table: Table, rows: Sequence[Row]) -> Asked:
    times = [row.at_us for row in rows]
    return Asked(
        keys="~".join(map(table.word, rows)),
        near="~".join(sorted(set(map(table.near_word, rows)))) if table.near else "",
        first=min(times),
        # A column may be finer than microseconds.
        last=max(times) + 1,
    )


def _cuts(table: Table, given: Sequence[Row]) -> list[Cut]:
    months: dict[str, dict[Values, Row]] = defaultdict(dict)
    for row in given:
        months[_month(row.at_us // _DAY)][row.key] = row
    return [Cut(table, month, within) for month, within in sorted(months.items())]


@lru_cache(maxsize=100)
def _month(day: int) -> str:
    """The month of a day since 1970."""
    return f"{moment(day * _DAY):%Y%m}"
