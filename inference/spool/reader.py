"""The drain's side of a spool: closed exchanges in the order of their ends, and a durable checkpoint.

Follows the living epoch and adopts the dead: an epoch whose process is gone ends its open exchanges as
``proxy_died``. What is damaged is stepped over and listed; what is not damaged is given.
"""

import contextlib
import os
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson

from inference.raw import RawExchange
from inference.spool.files import is_locked, lock, make_directory, replace, sync, sync_directory
from inference.spool.frames import (
    Damage,
    Frame,
    Kind,
    Position,
    Segment,
    lock_name,
    plain_size,
    segment_name,
    segments,
    unpack,
    unpack_with_header,
)
from inference.spool.keys import KeyMissingError, Keys

_REMEMBERED_CLOSED = 50_000
_START, _END = Position(0, 0, 0), Position(1 << 64, 0, 0)


@dataclass(slots=True)
class _Started:
    """An exchange whose open frame was read and whose end was not."""

    at: Position
    opened: bytes
    parts: list[bytes] = field(default_factory=list)
    damaged_at: Position | None = None
    """Where something of it could not be read. A second copy may yet make it whole."""
    again: bool = False
    """Whether any of it was written a second time."""

    def __reduce__(self) -> tuple[Any, ...]:
        # For another process: a dataclass with slots is pickled slowly else.
        return _Started, (self.at, self.opened, self.parts, self.damaged_at, self.again)


class Ended(NamedTuple):
    """An exchange ready to be given, as its frames; ``close`` is None when its proxy died."""

    at: Position
    exchange_id: bytes
    started: _Started
    close: bytes | None
    doubtful: bool
    """Whether it may have been given, and stored, before: it was written twice, or a power cut took its end
    away after it had been read.
    """

    @property
    def size(self) -> int:
        """How many bytes it comes to, about."""
        frames = (self.started.opened, *self.started.parts, self.close or b"")
        return sum(map(plain_size, frames))


class SpoolReader:
    """Reads a spool; one a spool (the constructor raises SpoolBusyError when there is another).

    Exchanges come in the order of their ends. ``commit`` says how far they are stored for good: after a
    restart reading goes on from there; what may then come a second time is ``doubtful``. ``damage`` lists
    what could not be read; whoever reports it may clear it. ``keys`` read what is encrypted; what needs
    another is not passed over: reading raises KeyMissingError there, every time.
    """

    def __init__(self, directory: Path, keys: Keys | None = None) -> None:
        self.directory = directory
        self._keys = keys
        self.damage: list[Damage] = []
        make_directory(directory)
        self._lock = lock(directory / "reader.lock")
        self._checkpoint = directory / "checkpoint"
        self._segment: Segment | None = None
        self.rewind()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the spool; another reader may start."""
        self._leave()
        os.close(self._lock)

    def rewind(self) -> None:
        """Forget what was given but not committed: the next read begins after the checkpoint."""
        self._leave()
        self._started: dict[bytes, _Started] = {}
        self._ready: deque[Ended] = deque()
        self._given: deque[Ended] = deque()
        self._begins: deque[Position] = deque()
        """Of what was given, the beginnings before which nothing later begins: the first is the earliest."""
        self._closed: OrderedDict[bytes, None] = OrderedDict()
        self._done, self._from, self._resumed = self._load()
        self._next = self._from

    def read(
        self, limit: int, until: Position | None = None, max_bytes: int = 64 << 20
    ) -> list[tuple[Position, RawExchange]]:
        """What ``take`` gives, decoded; what can't be decoded is damage."""
        given = []
        for ended in self.take(limit, until, max_bytes)[0]:
            try:
                given.append((ended.at, decode(ended)))
            except ValueError as error:
                self.damage.append(damaged(ended, error))
        return given

    def take(
        self, limit: int, until: Position | None = None, max_bytes: int = 64 << 20
    ) -> tuple[list[Ended], bool]:
        """Up to ``limit`` exchanges, or about ``max_bytes`` of them, that were not given before; and whether
        it stopped at one of these bounds, so that there may be more.

        With ``until``, exactly those that end at or before it, however many: so that a recorded batch can be
        read again as it was.
        """
        given: list[Ended] = []
        size = 0
        while until is not None or (len(given) < limit and size < max_bytes):
            if not self._ready and not self._advance():
                return given, False
            if until is not None and self._ready[0].at > until:
                break
            ended = self._ready.popleft()
            self._give(ended.started.at)
            self._given.append(ended)
            given.append(ended)
            size += ended.size
        return given, True

    def commit(self, position: Position) -> None:
        """What ends at or before ``position`` is stored: never give it again, crash or not."""
        while self._given and self._given[0].at <= position:
            if self._given.popleft().started.at == self._begins[0]:
                self._begins.popleft()
        self._done, self._from = position, min([*self._waiting(), position])
        state = {"position": str(position), "from": str(self._from)}
        replace(self._checkpoint, orjson.dumps(state))

    def _give(self, begin: Position) -> None:
        while self._begins and self._begins[-1] > begin:
            self._begins.pop()
        self._begins.append(begin)

    def _waiting(self) -> list[Position]:
        """The beginnings of what was read and is not committed; of what was given the earliest."""
        waiting = [*list(self._begins)[:1], *(ended.started.at for ended in self._ready)]
        return waiting + [started.at for started in self._started.values() if self._may_end(started)]

    def _may_end(self, started: _Started) -> bool:
        """Whether something may yet come of it. Of what is damaged only a second copy, which stands at the
        next segment's beginning; after that it holds nothing back.
        """
        at = started.damaged_at
        if at is None or self._segment is None:
            return True
        return (at.epoch, at.number + 1) >= (self._segment.start.epoch, self._segment.start.number)

    def distrust(self) -> None:
        """Take nothing that is given from now on for new, until a commit or a rewind."""
        self._resumed = _END

    def settle(self, given: Sequence[Ended]) -> None:
        """Make durable what was given: what is stored elsewhere, this spool must not forget. Where the disk
        refuses, so be it: then the writer knows, and writes it again.
        """
        for epoch, number in {ended.at[:2] for ended in given}:
            with contextlib.suppress(OSError):
                sync(self.directory / segment_name(epoch, number))

    def retire(self) -> int:
        """Delete the segments of which nothing is needed any more: all before the one that is being read, but
        for what is not committed. Returns how many.
        """
        here = segments(self.directory)
        reading = self._segment.start if self._segment is not None else self._next
        needed = min([*self._waiting(), reading])
        old = [at for at in here if (at.epoch, at.number) < (needed.epoch, needed.number)]
        for at in old:
            (self.directory / at.segment).unlink()
        for epoch in {at.epoch for at in old} - {at.epoch for at in here if at not in old}:
            (self.directory / lock_name(epoch)).unlink(missing_ok=True)
        if old:
            sync_directory(self.directory)
        return len(old)

    def oldest_unread(self) -> float | None:
        """When the oldest finished, uncommitted exchange began, unix seconds; None: all is stored. Where a
        key is missing, it is the one that can't be read.
        """
        try:
            if not self._given and not self._ready and not self._advance():
                return None
        except KeyMissingError:
            assert self._segment is not None
            return _began(self._segment.id_at(self._segment.offset))
        return _began((self._given or self._ready)[0].exchange_id)

    def _load(self) -> tuple[Position, Position, Position]:
        """How far all is stored, where to read from, and before what place nothing is taken for new."""
        try:
            state = orjson.loads(self._checkpoint.read_bytes())
            done, begin = Position.parse(state["position"]), Position.parse(state["from"])
        except FileNotFoundError:
            return _START, _START, _START
        except (ValueError, KeyError, TypeError) as error:
            self.damage.append(Damage(self._checkpoint.name, 0, f"checkpoint: {error}"))
            return _START, _START, _END
        return done, begin, done

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _advance(self) -> bool:
        """Read on until an exchange is ready. False when nothing more is on disk."""
        while not self._ready:
            if self._segment is None and not self._enter():
                return False
            assert self._segment is not None
            found = self._segment.next()
            if found is None:
                # Whether more can come is asked before looking once more: a write in between counts.
                final = self._is_final(self._segment.start)
                found = self._segment.next()
                if found is None:
                    if not final:
                        return False
                    self._finish()
                    continue
            if isinstance(found, Damage):
                self._note(found)
            else:
                self._take(found, self._segment.position)
        return True

    def _enter(self) -> bool:
        """Go to the segment that ``_next`` lies in, or to the first one after it."""
        for at in segments(self.directory):
            if (at.epoch, at.number) == (self._next.epoch, self._next.number):
                self._segment = Segment(self.directory, self._next, self._keys)
                return True
            if at > self._next:
                self._segment = Segment(self.directory, at, self._keys)
                return True
        return False

    def _is_final(self, start: Position) -> bool:
        """Whether a segment will grow no more: another one follows, or its process is gone."""
        last = segments(self.directory)[-1]
        return (last.epoch, last.number) > (start.epoch, start.number) or not is_locked(
            self.directory / lock_name(start.epoch)
        )

    def _finish(self) -> None:
        """Leave a segment that is final; with its epoch's last one, end what is still open."""
        assert self._segment is not None
        start, size = self._segment.start, self._segment.size
        if self._segment.offset < size:
            self._note(Damage(start.segment, self._segment.offset, "torn"))
        end = Position(start.epoch, start.number, size)
        after = [at for at in segments(self.directory) if at > end]
        if not after or after[0].epoch != start.epoch:
            self._bury(end)
        self._next = after[0] if after else Position(start.epoch, start.number + 1, 0)
        self._leave()

    def _bury(self, end: Position) -> None:
        """End a dead epoch's open exchanges, at positions past its end that are the same at every reading."""
        orphans = sorted(self._started.items(), key=lambda item: item[1].at)
        self._started.clear()
        for exchange_id, started in orphans:
            at = Position(
                end.epoch, end.number, end.offset + 1 + (started.at.number << 36) + started.at.offset
            )
            if at > self._done and started.damaged_at is None:
                self._ready.append(Ended(at, exchange_id, started, None, doubtful=True))

    def _note(self, damage: Damage) -> None:
        if damage.exchange_id is None and damage.reason == "header":
            damage = replace_fields(damage, exchange_id=self._hit(damage.offset))
        if damage.exchange_id is not None:
            if damage.exchange_id in self._closed:
                return
            at = Position.parse(f"{damage.segment.removesuffix('.segment')}:{damage.offset}")
            self._started.setdefault(damage.exchange_id, _Started(at, b"")).damaged_at = at
        self.damage.append(damage)

    def _hit(self, offset: int) -> bytes | None:
        """Whose header is damaged: the open exchange whose id stands there, but for one byte at most."""
        assert self._segment is not None
        found = self._segment.id_at(offset)
        for exchange_id in self._started:
            if sum(a != b for a, b in zip(found, exchange_id, strict=False)) <= 1:
                return exchange_id
        return None

    def _take(self, frame: Frame, end: Position) -> None:
        if frame.exchange_id in self._closed:
            return  # a frame written again after a failed sync
        started = self._started.get(frame.exchange_id)
        if frame.kind is Kind.OPEN:
            begin = Position(end.epoch, end.number, end.offset - frame.size)
            started = self._started.setdefault(frame.exchange_id, _Started(begin, frame.payload))
            started.opened = started.opened or frame.payload
        elif frame.kind is Kind.PART:
            if started is not None:
                self._add(started, frame, end)
        elif frame.kind is Kind.DROP:
            self._shut(frame.exchange_id)
        else:
            self._end(frame, started, end)
        if started is not None and frame.again:
            started.again = True

    @staticmethod
    def _add(started: _Started, frame: Frame, end: Position) -> None:
        if frame.sequence == len(started.parts) + 1:
            started.parts.append(frame.payload)
        elif frame.sequence > len(started.parts) + 1:
            started.damaged_at = started.damaged_at or end

    def _end(self, frame: Frame, started: _Started | None, end: Position) -> None:
        if started is not None and started.opened and len(started.parts) == frame.sequence - 1:
            self._shut(frame.exchange_id)
            if end > self._done:
                doubtful = started.again or frame.again or started.at < self._resumed
                self._ready.append(Ended(end, frame.exchange_id, started, frame.payload, doubtful))
            return
        # Of what was written again, the first copy may have been stored, and its beginning retired.
        known = frame.again if started is None else started.damaged_at is not None
        if not known and end > self._done:
            self.damage.append(Damage(end.segment, end.offset, "missing", frame.exchange_id))
        if started is not None:
            started.damaged_at = started.damaged_at or end

    def _shut(self, exchange_id: bytes) -> None:
        """Nothing counts any more that may still come of it."""
        self._started.pop(exchange_id, None)
        self._closed[exchange_id] = None
        if len(self._closed) > _REMEMBERED_CLOSED:
            self._closed.popitem(last=False)


def _began(exchange_id: bytes) -> float:
    """When an id was made, unix seconds."""
    return int.from_bytes(exchange_id[:6]) / 1000


def decode(ended: Ended) -> RawExchange:
    """The exchange that its frames hold. Raises ValueError when they can't be read."""
    opened, request = unpack_with_header(ended.started.opened)
    parts = [unpack(part) for part in ended.started.parts]
    closed: dict[str, Any] = {"end_reason": "proxy_died"}
    if ended.close is not None:
        closed, tail = unpack_with_header(ended.close)
        parts.append(tail)
    exchange_id = str(UUID(bytes=ended.exchange_id))
    attempt = int(closed.get("attempt", 0))
    response = parts[0] if len(parts) == 1 else b"".join(parts)
    return RawExchange(exchange_id, attempt, opened, request, response, closed)


def damaged(ended: Ended, error: ValueError | str) -> Damage:
    """What is said of an exchange whose frames can't be read."""
    return Damage(ended.at.segment, ended.at.offset, f"payload: {error}", ended.exchange_id)
