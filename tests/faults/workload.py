"""What the power is cut under: a spool's writer and its drain at work in one process, all of it recorded.

    python -m tests.faults.recorded LOG FOLDER tests.faults.workload FOLDER SEED ROUNDS

Small segments, so that they turn over and retire; syncs that fail now and then; writers and drains that end
and start again. The store is a model that remembers tokens as ClickHouse does and notes every insert, and the
caller's acknowledgements are notes in the same log.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import orjson

from inference import clickhouse, native
from inference.drain import Drain
from inference.raw import RawExchange
from inference.rows import BY_NAME, Table
from inference.spool import Keys, Recording, Spool, SpoolFailedError
from tests.faults import recorder
from tests.inference import spooled

_SELECTED = re.compile(r"SELECT (?P<columns>.*?) FROM (?P<table>\w+)", re.DOTALL)


class ModelStore:
    """A trace store in memory, as far as the drain knows one."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.tokens: set[tuple[str, str]] = set()
        self.blocks = 0
        """How many were sent."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], token: str) -> None:
        """As Store.insert."""
        if (table, token) not in self.tokens:
            self.tokens.add((table, token))
            made = [dict(zip(columns, row, strict=True)) for row in rows]
            self.rows.setdefault(table, []).extend(made)
        if recorder.recorder is not None:
            recorder.recorder.note("insert", table, list(columns), [list(row) for row in rows], token)

    def types(self, table: str, columns: Sequence[str]) -> tuple[str, ...]:
        """It has none, and ``plain_blocks`` need none."""
        return ("",) * len(columns)

    def send(self, table: str, columns: Sequence[str], block: bytes, token: str) -> None:
        """As Store.send, of one of ``plain_blocks``."""
        self.blocks += 1
        self.insert(table, columns, pickle.loads(block), token)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Answers what asks which keys are present, and nothing else."""
        found = _SELECTED.search(sql)
        assert found is not None, sql
        columns = [part.strip() for part in found["columns"].split(",")]
        rows = self.rows.get(found["table"], ())
        return SimpleNamespace(result_rows=[tuple(_value(row, column) for column in columns) for row in rows])

    def ask(self, sql: str, parameters: Mapping[str, Any], words: Mapping[str, str]) -> Any:
        """How many of the keys asked for are present, or which are."""
        if "uniqExact" not in sql:
            return self.query(sql, {**parameters, **words})
        table = next(one for one in BY_NAME.values() if one.count == sql)
        present = {_word(table, row) for row in self.rows.get(table.name, ())}
        return SimpleNamespace(result_rows=[(len(present & set(words["keys"].split("~"))),)])

    def connect(self) -> clickhouse.Store:
        """Itself, where a Store is wanted."""
        return cast("clickhouse.Store", self)

    def twice(self) -> list[str]:
        """Keys that have more than one row."""
        keys = {
            "exchanges": ("exchange_id",),
            "facts": ("exchange_id",),
            "tokens": ("exchange_id", "choice", "source"),
            "spans": ("TraceId", "SpanId"),
        }
        counted = {
            table: Counter(tuple(str(row[name]) for name in key) for row in self.rows.get(table, ()))
            for table, key in keys.items()
        }
        return [f"{table} {key}" for table, count in counted.items() for key, n in count.items() if n > 1]


@contextmanager
def plain_blocks() -> Iterator[None]:
    """Blocks are made of rows as they are: the model reads no Native format."""
    with (
        patch.object(native, "block", lambda _columns, _types, rows: pickle.dumps(rows)),
        patch.object(native, "compressed", lambda written: written),
    ):
        yield


def _word(table: Table, row: Mapping[str, Any]) -> str:
    """How the row is asked for, as the store's own expressions would say."""
    said = ((str(_value(row, it)), kind) for it, kind in table.key)
    return ".".join(text.encode().hex().upper() if kind == "String" else text for text, kind in said)


def _value(row: Mapping[str, Any], column: str) -> Any:
    """What a selected expression gives: a column, one as text, or one key of a map."""
    if column.startswith("toString("):
        return str(row[column[len("toString(") : -1]])
    name, _, key = column.partition("[")
    return row[name].get(key.strip("']"), "") if key else row[name]


class Workload:
    """Some rounds of writing and draining."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        self._store = ModelStore()
        self._keys = Keys.from_environment()
        self._long: list[tuple[RawExchange, Recording]] = []
        self._number = 0

    async def run(self, rounds: int) -> None:
        """Write and drain, starting both anew now and then."""
        self._start()
        drain = Drain(self._folder, self._store.connect, batch=7, keys=self._keys)
        for _ in range(rounds):
            calls = (self._exchange() for _ in range(self._chance.randint(1, 6)))
            for ended in await asyncio.gather(*calls, return_exceptions=True):
                # Two syncs may fail in a row; then the caller is told, and owed nothing.
                if isinstance(ended, BaseException) and not isinstance(ended, SpoolFailedError):
                    raise ended
            if self._chance.random() < 0.6:
                await asyncio.to_thread(drain.step)
            if self._chance.random() < 0.1:
                drain.close()
                size = self._chance.randint(2, 9)
                drain = Drain(self._folder, self._store.connect, batch=size, keys=self._keys)
            if self._chance.random() < 0.1:
                await self._spool.stop()
                self._long.clear()
                self._start()
        await self._spool.stop()
        while await asyncio.to_thread(drain.step):
            pass
        drain.close()
        assert self._store.blocks, "nothing went the usual way"

    def _start(self) -> None:
        self._spool = Spool(
            self._folder, segment_bytes=4000, lazy_seconds=0.002, sync=self._sync, keys=self._keys
        )
        self._spool.start()

    def _sync(self, descriptor: int) -> None:
        if self._chance.random() < 0.06:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            assert recorder.recorder is not None
            recorder.recorder.note("sync failed", path)
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)

    async def _exchange(self) -> None:
        self._number += 1
        raw = spooled.raw(self._number, text="word " * self._chance.randint(1, 300))
        recording = self._spool.record(_uuid(raw))
        recording.open(raw.opened, raw.request)
        recording.write(raw.response)
        if self._chance.random() < 0.15:
            self._long.append((raw, recording))
            return
        await self._end(raw, recording)
        if self._long and self._chance.random() < 0.3:
            await self._end(*self._long.pop())

    async def _end(self, raw: RawExchange, recording: Recording) -> None:
        await recording.close(raw.closed)
        assert recorder.recorder is not None
        recorder.recorder.note("ack", raw.exchange_id, _text(raw.response))


def _text(response: bytes) -> str:
    """What the client read in it."""
    text: str = orjson.loads(response)["choices"][0]["message"]["content"]
    return text


def _uuid(raw: RawExchange) -> Any:
    from uuid import UUID  # noqa: PLC0415

    return UUID(raw.exchange_id)


if __name__ == "__main__":
    folder, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with plain_blocks():
        asyncio.run(Workload(folder, random.Random(seed)).run(rounds))
