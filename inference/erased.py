"""What was erased, as the drain honours it: nothing of it that is in a spool gets into the trace store.

The list lies in the trace store (table ``erased``), because every drain can read it there and only there.
Users and sessions are on it as salted hashes. What began before the erasure was asked for is dropped, however
late it comes; what a user does afterwards is new. An exchange that is dropped is put on the list itself, so
that its tokens, events and spans, which come on their own, are dropped wherever they come through. Deleting
what is stored already is in inference.erasing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from inference.clickhouse import Store
from inference.otlp import SpanBatch
from inference.raw import RawExchange
from inference.rows import Record, moment
from inference.spans import SPAN_COLUMNS, USER_ATTRIBUTES
from inference.subjects import Subject, about

COLUMNS = ("kind", "id", "erasure", "salt", "before", "place")
FRESH_SECONDS = 2.0
"""So long a drain goes by what it last read of whether anything was erased at all."""
_TRACE, _ATTRIBUTES = SPAN_COLUMNS.index("TraceId"), SPAN_COLUMNS.index("SpanAttributes")
_AT_ONCE = 2000


def digest(salt: str, value: str) -> str:
    """How a user's or a session's id stands on the list: SHA-256 of salt and id, in hexadecimal digits."""
    return hashlib.sha256((salt + value).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the list that fits a record."""

    erasure: str
    salt: str
    before: datetime


class Erased:
    """The list, as one drain asks it. Raises Unavailable wherever it asks."""

    def __init__(self, connect: Callable[[], Store], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect, self._clock = connect, clock
        self._salts: frozenset[str] = frozenset()
        self._newest: datetime | None = None
        self._erasures: frozenset[str] = frozenset()
        self._read_at: float | None = None

    def erasures(self) -> frozenset[str]:
        """The ids of all erasures, at most ``FRESH_SECONDS`` old."""
        if self._read_at is None or self._clock() - self._read_at > FRESH_SECONDS:
            asked = "SELECT toString(erasure), salt, before FROM erased WHERE kind = 'user'"
            found = self._connect().query(asked).result_rows
            self._erasures = frozenset(row[0] for row in found)
            self._salts = frozenset(row[1] for row in found)
            self._newest = max((row[2] for row in found), default=None)
            self._read_at = self._clock()
        return self._erasures

    def touches(self, began: datetime, others: Sequence[Subject], records: Sequence[Record]) -> bool:
        """Whether any of a batch may have to go. Its exchanges ``began`` then or later, and nothing that
        begins after all erasures were asked for has to; ``others`` are whom its other records are about, and
        ``records`` are those of spans.
        """
        if not self.erasures() or self._newest is None:
            return False
        if began < self._newest:
            return True
        found = self._entries(key for subject in others for key in self._keys(subject))
        if any(self._fits(subject, found) for subject in others):
            return True
        return any(left is not one for left, one in zip(self.spans(records), records, strict=True))

    def without(self, raws: Sequence[RawExchange], place: str = "spool") -> list[RawExchange]:
        """The records that stay. Those that don't are on the list, durably, when this returns."""
        if not raws or not self.erasures():
            return list(raws)
        waiting = [(raw, about(raw)) for raw in raws]
        found = self._entries(key for _, subject in waiting for key in self._keys(subject))
        lines: list[tuple[Any, ...]] = []
        while fits := [(subject, entry) for _, subject in waiting if (entry := self._fits(subject, found))]:
            more = [line for subject, entry in fits for line in _lines(subject, entry, place)]
            # Its companions may stand in the same batch, before it as well as after it.
            found |= {(line[0], line[1]): _Entry(*line[2:5]) for line in more}
            gone = {subject.id for subject, _ in fits}
            waiting = [(raw, subject) for raw, subject in waiting if subject.id not in gone]
            lines += more
        if lines:
            add(self._connect(), lines)
        return [raw for raw, _ in waiting]

    def spans(self, records: Sequence[Record]) -> list[Record]:
        """Records as they are, but for the spans of erased traces and users."""
        if not self.erasures():
            return list(records)
        batches = [one for one in records if isinstance(one, SpanBatch)]
        traces = {row[_TRACE] for one in batches for row in one.rows}
        users = {user for one in batches for row in one.rows for user in _users(row)}
        keys = [("trace", trace) for trace in traces]
        keys += [("user", digest(salt, user)) for salt in self._salts for user in users]
        found = self._entries(keys)
        if not found:
            return list(records)
        gone = {row[_TRACE] for one in batches for row in one.rows if self._is_gone(row, found)}
        return [_without_traces(one, gone) if isinstance(one, SpanBatch) else one for one in records]

    def _is_gone(self, row: tuple[Any, ...], found: dict[tuple[str, str], _Entry]) -> bool:
        if ("trace", row[_TRACE]) in found:
            return True
        entries = (found.get(("user", digest(s, user))) for s in self._salts for user in _users(row))
        return any(entry is not None and moment(row[0] // 1000) < entry.before for entry in entries)

    def _keys(self, subject: Subject) -> list[tuple[str, str]]:
        keys = [("exchange", subject.exchange)] if subject.exchange else []
        if subject.kind == "event" and subject.trace:
            keys.append(("trace", subject.trace))
        for salt in self._salts:
            if subject.user:
                keys.append(("user", digest(salt, subject.user)))
            elif subject.session:  # a turn that names nobody belongs to whom the others of its session name
                keys.append(("session", digest(salt, subject.session)))
        return keys

    def _entries(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], _Entry]:
        asked = sorted({key_id for _, key_id in keys})
        found: dict[tuple[str, str], _Entry] = {}
        for start in range(0, len(asked), _AT_ONCE):
            rows = self._connect().query(
                "SELECT kind, id, toString(erasure), salt, before FROM erased "
                "WHERE kind IN ('exchange', 'trace', 'user', 'session') AND id IN {ids:Array(String)} "
                "ORDER BY before",
                {"ids": asked[start : start + _AT_ONCE]},
            )
            found |= {(row[0], row[1]): _Entry(*row[2:]) for row in rows.result_rows}
        return found

    def _fits(self, subject: Subject, found: dict[tuple[str, str], _Entry]) -> _Entry | None:
        for kind, key_id in self._keys(subject):
            entry = found.get((kind, key_id))
            if entry is None:
                continue
            by_person = kind in ("user", "session")
            if not by_person or subject.at is None or subject.at < entry.before:
                return entry
        return None


def _users(row: tuple[Any, ...]) -> list[str]:
    attributes = row[_ATTRIBUTES]
    return [attributes[name] for name in USER_ATTRIBUTES if attributes.get(name)]


def _without_traces(batch: SpanBatch, gone: set[str]) -> SpanBatch:
    return replace(batch, rows=[row for row in batch.rows if row[_TRACE] not in gone])


def _lines(subject: Subject, entry: _Entry, place: str) -> list[tuple[Any, ...]]:
    """What a dropped record adds to the list: itself, and by what its companions are known."""
    keys = {(subject.kind, subject.id)}
    if subject.kind == "exchange":
        keys |= {("trace", subject.trace)} if subject.trace else set()
        keys |= {("session", digest(entry.salt, subject.session))} if subject.session else set()
    return [(kind, key_id, entry.erasure, entry.salt, entry.before, place) for kind, key_id in sorted(keys)]


def add(store: Store, lines: Sequence[tuple[Any, ...]]) -> None:
    """Put lines (``COLUMNS``) on the list, durably. Doing it again changes nothing."""
    for start in range(0, len(lines), 10_000):
        part = lines[start : start + 10_000]
        store.insert("erased", COLUMNS, part, token=f"{part[0][2]}:{part[0][1]}:{len(part)}:{time.time_ns()}")
