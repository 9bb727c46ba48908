"""Rows as one block of ClickHouse's Native format, as the trace store takes it. Pure.

Knows how columns are written: arrays of numbers from numpy's own bytes, all else by clickhouse-connect's
writers. What a row means is in inference.rows, sending a block in inference.clickhouse.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.common import write_leb128
from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.insert import InsertContext

COMPRESSION = "lz4"
_NUMBERS: dict[str, np.dtype[Any]] = {
    "Array(UInt8)": np.dtype("<u1"),
    "Array(UInt32)": np.dtype("<u4"),
    "Array(Int32)": np.dtype("<i4"),
    "Array(Float32)": np.dtype("<f4"),
}


def block(columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """The rows' block. ``types`` are the columns' as their table has them.

    Raises one of many errors when a value does not fit its column: ValueError, TypeError, OverflowError,
    AttributeError and clickhouse-connect's own.
    """
    known = [_type(name) for name in types]
    context = InsertContext("", list(columns), known, [])
    output = bytearray()
    write_leb128(len(columns), output)
    write_leb128(len(rows), output)
    for name, kind, values in zip(columns, known, zip(*rows, strict=True), strict=True):
        for text in (name, kind.insert_name):
            written = text.encode()
            write_leb128(len(written), output)
            output += written
        context.start_column(name)
        numbers = _NUMBERS.get(kind.name)
        if numbers is None:
            kind.write_column(values, output, context)
        else:
            _write_numbers(values, numbers, output)
    return bytes(output)


@lru_cache(maxsize=200)
def _type(name: str) -> ClickHouseType:
    return get_from_name(name)


def _write_numbers(values: Sequence[Any], kind: np.dtype[Any], output: bytearray) -> None:
    """Arrays: where each ends, then all numbers."""
    output += np.cumsum([len(one) for one in values], dtype="<u8").tobytes()
    whole = np.concatenate([np.asarray(one) for one in values if len(one)] or [np.empty(0, kind)])
    if kind.kind != "f" and len(whole):
        limits = np.iinfo(kind)
        if whole.dtype.kind not in "iu":
            raise TypeError(f"{whole.dtype} in an array of {kind}")
        if whole.min() < limits.min or whole.max() > limits.max:
            raise OverflowError(f"a number is out of the range of {kind}")
    output += whole.astype(kind).tobytes()


def compressed(written: bytes) -> bytes:
    """A block as it goes over the wire, under COMPRESSION."""
    return bytes(get_compressor(COMPRESSION).compress_block(written))
