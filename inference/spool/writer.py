"""The proxy's side of a spool: append from the event loop, commit in groups from a thread.

An append is a put into a bounded queue. The thread compresses, writes, and syncs when somebody waits for it:
at once when the last group was a single one, else once a group interval, so that load shares syncs. A failed
write or sync is never retried on the same file: what was not yet synced is written again to a new segment,
marked as written again, and the reader drops what it then sees twice. When that fails too the spool says so
(``error``) until a new segment takes a write and a sync; then it writes down which exchanges were lost in
between, so that nobody waits for their ends.
"""

import asyncio
import contextlib
import errno
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from inference.spool.files import lock, make_directory, sync_directory, write
from inference.spool.frames import (
    Kind,
    Packer,
    Position,
    encode,
    lay_out,
    lock_name,
    mark_again,
    segment_name,
    segments,
)

log = logging.getLogger(__name__)
PART_BYTES = 64 << 10
_UNSYNCED_BYTES = 8 << 20
_PACKED_BYTES = 1 << 20
_UNSYNCED_SECONDS = 1.0
_PROBE_SECONDS = 0.5
_ROOM_BYTES = 8 << 20
"""So much must be free before a disk that was full is trusted again; or an eighth of the spool's limit."""
_NOBODY = bytes(16)


class SpoolFailedError(RuntimeError):
    """The disk does not take what must be kept; says why."""


@dataclass(slots=True)
class _Entry:
    recording: "Recording"
    kind: Kind
    sequence: int
    header: dict[str, Any] | None
    body: bytes
    waiter: asyncio.Future[None] | None
    """Set when somebody waits until this and all before it is durable."""
    on_loss: Callable[[], None] | None = None
    """Called in the spool's thread when the exchange is lost although nobody waits to be told."""

    @property
    def size(self) -> int:
        return len(self.body) + 512


class Recording:
    """One exchange on its way to disk. Used from the event loop only."""

    __slots__ = ("_buffer", "_buffered", "_sequence", "_spool", "exchange_id", "lost", "on_loss", "written")

    def __init__(self, spool: "Spool", exchange_id: UUID) -> None:
        self._spool = spool
        self.exchange_id = exchange_id.bytes
        self._sequence = 0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self.lost = ""
        """Why frames of this exchange did not reach the disk; set by the spool's thread."""
        self.written = False
        """Whether any of it may be on disk; set by the spool's thread."""
        self.on_loss: Callable[[], None] | None = None
        """Its last entry's; for the spool's thread."""

    def open(self, header: dict[str, Any], request: bytes) -> None:
        """Begin. Raises SpoolFailedError when the spool is not taking anything."""
        if self._spool.error:
            raise SpoolFailedError(self._spool.error)
        self._append(Kind.OPEN, header, request, None)

    def write(self, data: bytes) -> None:
        """Add bytes of the answer. Whoever writes much waits for ``Spool.room`` while the spool is full."""
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered >= PART_BYTES:
            self._append(Kind.PART, None, self._take(), None)

    async def close(
        self,
        header: dict[str, Any],
        *,
        durable: bool = True,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        """End. With ``durable``, returns once all of it is synced to disk, or raises SpoolFailedError.

        Without, it returns at once; should it be lost after that, ``on_loss`` is called, in another thread.
        """
        if not durable:
            self.end(header, on_loss)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._append(Kind.CLOSE, header, self._take(), waiter)
        try:
            await waiter
        finally:
            del waiter  # its error would hold this frame, which holds it, and the call's bytes

    def end(self, header: dict[str, Any], on_loss: Callable[[], None] | None = None) -> None:
        """End for who waits for nothing: as ``close`` that is not durable, outside a coroutine."""
        self._append(Kind.CLOSE, header, self._take(), None, on_loss)

    def _take(self) -> bytes:
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer, self._buffered = [], 0
        return data

    def _append(
        self,
        kind: Kind,
        header: dict[str, Any] | None,
        body: bytes,
        waiter: asyncio.Future[None] | None,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        sequence, self._sequence = self._sequence, self._sequence + 1
        self._spool.append(_Entry(self, kind, sequence, header, body, waiter, on_loss))


class Spool:
    """Writes a spool; one process a spool (``start`` raises SpoolBusyError when another one does).

    ``sync`` makes a file's content durable; ``limit_bytes`` is how much may lie on disk before the spool
    counts as full. A segment that is not empty is left after ``segment_seconds``: what was stored long ago,
    or is to be erased, does not stay on disk for want of traffic.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 64 << 20,
        queue_bytes: int = 8 << 20,
        segment_seconds: float = 600.0,
        limit_bytes: int = 20 << 30,
        group_seconds: float = 0.005,
        lazy_seconds: float = 0.05,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.directory = directory
        self.error = ""
        """Why nothing is taken now; empty when all is well."""
        self.commits = 0
        # A small spool in small segments: only whole ones are ever freed.
        self._segment_bytes = min(segment_bytes, max(limit_bytes // 8, 1 << 20))
        self._segment_seconds, self._segment_began = segment_seconds, 0.0
        self._queue_bytes, self._limit_bytes = queue_bytes, limit_bytes
        self._group_seconds, self._lazy_seconds, self._sync = group_seconds, lazy_seconds, sync
        self._wake = threading.Condition()
        self._queue: deque[_Entry] = deque()
        self._queued = 0
        self._waiting = 0
        self._stopping = False
        self._room: deque[asyncio.Future[None]] = deque()
        # Only the thread touches these once it runs.
        self._file = -1
        self._number = 0
        self._written = 0
        self._others = 0
        self._fresh = True
        self._dropped: dict[bytes, None] = {}
        self._unsynced: list[tuple[bytes, Recording]] = []
        self._unsynced_bytes = 0
        self._synced_at = 0.0
        self._group = 1
        self._packer = Packer()

    def start(self) -> None:
        """Take the spool, begin an epoch, start the thread. Call in the event loop.

        Raises SpoolBusyError, and OSError when the folder can't be used at all. A disk that is full is no
        such reason: then ``error`` says so until there is room.
        """
        self._loop = asyncio.get_running_loop()
        make_directory(self.directory)
        self._owner = lock(self.directory / "writer.lock")
        self.epoch = self._new_epoch()
        # Locked before the first segment exists, so that no reader takes the epoch for dead.
        self._alive = lock(self.directory / lock_name(self.epoch))
        try:
            self._new_segment()
        except OSError as error:
            self._give_up([], error)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write and sync what was appended, and let go of the spool."""
        await asyncio.to_thread(self.halt)

    def halt(self) -> None:
        """The same, also when the event loop is gone; blocks."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        for descriptor in (self._alive, self._owner):
            os.close(descriptor)

    def record(self, exchange_id: UUID) -> Recording:
        """A recording for one exchange; nothing is written before its ``open``."""
        return Recording(self, exchange_id)

    @property
    def queued_bytes(self) -> int:
        """What waits in memory to be written."""
        return self._queued

    def disk_bytes(self) -> int:
        """Size of all segments on disk, this epoch's and those not yet retired."""
        return sum(
            entry.stat().st_size for entry in os.scandir(self.directory) if entry.name.endswith(".segment")
        )

    @property
    def is_full(self) -> bool:
        """Whether more waits to be written than should: a slow disk slows engines down, not memory up."""
        return self._queued > self._queue_bytes

    async def room(self) -> None:
        """Wait until the queue is below its limit."""
        while self.is_full:
            waiter = self._loop.create_future()
            self._room.append(waiter)
            await waiter

    def append(self, entry: _Entry) -> None:
        """Queue an entry for the thread."""
        with self._wake:
            self._queue.append(entry)
            self._queued += entry.size
            if entry.waiter is not None:
                self._waiting += 1
            if self._waiting == 1 or len(self._queue) == 1:
                self._wake.notify()

    # The rest runs in the thread.

    def _new_epoch(self) -> int:
        """Milliseconds and noise, above every epoch before, whatever the clock says."""
        known = [at.epoch for at in segments(self.directory)]
        checkpoint = self.directory / "checkpoint"
        if checkpoint.exists():
            with contextlib.suppress(
                ValueError, KeyError, TypeError
            ):  # the reader says what is wrong with it
                known.append(Position.parse(orjson.loads(checkpoint.read_bytes())["position"]).epoch)
        milliseconds = max(time.time_ns() // 1_000_000, (max(known, default=0) >> 20) + 1)
        return milliseconds << 20 | int.from_bytes(os.urandom(3)) >> 4

    def _new_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._others = self.disk_bytes()
        if self._others > self._limit_bytes:
            raise self._at_limit()
        self._open_segment()

    def _open_segment(self) -> None:
        path = self.directory / segment_name(self.epoch, self._number + 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._written = 0
        self._segment_began = time.monotonic()
        self._fresh = True
        sync_directory(self.directory)

    def _at_limit(self) -> OSError:
        return OSError(f"the spool is at its limit of {self._limit_bytes >> 20} MiB")

    def _run(self) -> None:
        while True:
            batch, stopping = self._next_batch()
            error = self._commit(batch, stopping)
            if batch:
                # The loop is gone when the process ends: then nobody waits.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._finish, batch, error)
            del batch  # not until the next one comes
            if stopping and not self._queue:
                break
        if self._file >= 0:
            os.close(self._file)

    def _next_batch(self) -> tuple[list[_Entry], bool]:
        """Wait for what is worth a commit and take all of it."""
        with self._wake:
            began = time.monotonic()
            while not self._stopping:
                patience = self._patience(time.monotonic() - began)
                if patience is not None and patience <= 0:
                    break
                idle = not self._queue
                self._wake.wait(patience)
                if idle and self._queue:
                    began = time.monotonic()
            if self._waiting:
                self._group = self._waiting
            batch = list(self._queue)
            self._queue.clear()
            self._waiting = 0
            return batch, self._stopping

    def _patience(self, waited: float) -> float | None:
        """Seconds to wait for more before committing; None: nothing to do until something comes."""
        now = time.monotonic()
        if self._waiting:
            return self._synced_at + self._group_seconds - now if self._group > 1 else 0.0
        if self._queue:
            return 0.0 if self._queued > self._queue_bytes // 2 else self._lazy_seconds - waited
        if self.error:
            return _PROBE_SECONDS - waited
        if self._unsynced:
            return self._synced_at + _UNSYNCED_SECONDS - now
        return self._old_in(now) if self._written else None

    def _old_in(self, now: float) -> float:
        """Seconds until the segment is left for its age; an empty one never is."""
        return self._segment_began + self._segment_seconds - now if self._written else math.inf

    def _commit(self, batch: list[_Entry], final: bool) -> str:
        """Write a batch, and sync it if somebody waits. Returns the error that kept it from the disk."""
        waited = final or any(entry.waiter is not None for entry in batch)
        for entry in batch:
            if entry.on_loss is not None:
                entry.recording.on_loss = entry.on_loss
                if entry.recording.lost:
                    entry.on_loss()
        try:
            if self.error:
                self._resume()
            frames = self._encoded(batch)
            self._keep(frames)
            try:
                if self._dropped:
                    self._write_drops()
                self._write(frames)
                self._sync_if(waited)
            except OSError:
                self._start_over()
        except Exception as error:
            # Whatever it is, the thread goes on: every call waits for it.
            if not isinstance(error, OSError):
                log.exception("the spool's thread failed")
            self._give_up(batch, error)
            return self.error
        return ""

    def _encoded(self, batch: list[_Entry]) -> list[tuple[bytes, Recording]]:
        """The frames of what is not lost yet. What can't be laid out is lost, alone."""
        frames: list[tuple[bytes, Recording]] = []
        laid: list[tuple[_Entry, bytes]] = []
        size = 0
        for entry in batch:
            if entry.recording.lost:
                continue
            try:
                plain = lay_out(entry.header, entry.body)
            except Exception as error:
                log.exception("an exchange can't be encoded")
                self._lose(entry.recording, f"{type(error).__name__}: {error}")
                continue
            entry.recording.written = True
            laid.append((entry, plain))
            size += len(plain)
            if size >= _PACKED_BYTES:
                frames += self._packed(laid)
                laid, size = [], 0
        return frames + self._packed(laid)

    def _packed(self, laid: list[tuple[_Entry, bytes]]) -> list[tuple[bytes, Recording]]:
        """Frames of entries, compressed in one call: one by one the thread would wait for the interpreter
        each time.
        """
        payloads = self._packer.pack([plain for _, plain in laid])
        return [
            (encode(one.kind, one.sequence, self.epoch, one.recording.exchange_id, payload), one.recording)
            for (one, _), payload in zip(laid, payloads, strict=True)
        ]

    def _keep(self, frames: list[tuple[bytes, Recording]]) -> None:
        self._unsynced += frames
        self._unsynced_bytes += sum(len(frame) for frame, _ in frames)

    def _write(self, frames: list[tuple[bytes, Recording]]) -> None:
        if self._written > self._segment_bytes or self._old_in(time.monotonic()) <= 0:
            # What the old segment holds unsynced must not wait for a sync of the new one.
            self._sync(self._file)
            self._new_segment()
        data = b"".join([frame for frame, _ in frames])
        if self._others + self._written + len(data) > self._limit_bytes:
            self._others = self.disk_bytes() - self._written  # the drain may have freed some
            if self._others + self._written + len(data) > self._limit_bytes:
                raise self._at_limit()
        self._written += len(data)
        write(self._file, data)

    def _sync_if(self, waited: bool) -> None:
        now = time.monotonic()
        stale = now - self._synced_at > _UNSYNCED_SECONDS or self._unsynced_bytes > _UNSYNCED_BYTES
        if self._unsynced and (waited or stale):
            self._sync(self._file)
            self._fresh = False
            self.commits += 1
            self._unsynced.clear()
            self._unsynced_bytes = 0
        if waited or stale:
            self._synced_at = now

    def _start_over(self) -> None:
        """The current file can't be trusted any more: everything not yet synced goes to a new one."""
        self._new_segment()
        self._unsynced = [(mark_again(frame), recording) for frame, recording in self._unsynced]
        self._write(self._unsynced)
        self._sync_if(waited=True)

    def _resume(self) -> None:
        """After a failure: a segment that takes a write and a sync, with some room behind it. Raises OSError.

        What was lost is written down as soon as a few bytes fit: until then it holds segments back.
        """
        if self._file < 0:
            self._open_segment()
        if self._dropped:
            self._write_drops()
        room = min(_ROOM_BYTES, self._limit_bytes // 8)
        free = os.statvfs(self.directory)
        if free.f_bavail * free.f_frsize < room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._others = self.disk_bytes() - self._written
        if self._others > self._limit_bytes - room:
            raise self._at_limit()
        if self._fresh:
            self._write_drops()
        self.error = ""

    def _write_drops(self) -> None:
        """Write down, durably, which exchanges were lost; for want of one, that there was none."""
        ids = list(self._dropped) or [_NOBODY]
        (payload,) = self._packer.pack([b""])
        data = b"".join([encode(Kind.DROP, 0, self.epoch, exchange_id, payload) for exchange_id in ids])
        self._written += len(data)
        write(self._file, data)
        self._sync(self._file)
        self._fresh = False
        self._dropped.clear()

    def _lose(self, recording: Recording, why: str) -> None:
        if recording.lost:
            return
        recording.lost = why
        if recording.written:
            self._dropped[recording.exchange_id] = None
        if recording.on_loss is not None:
            recording.on_loss()

    def _give_up(self, batch: list[_Entry], error: Exception) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        self.error = why
        for _, recording in self._unsynced:
            self._lose(recording, why)
        for entry in batch:
            self._lose(entry.recording, why)
        self._unsynced.clear()
        self._unsynced_bytes = 0
        self._leave_segment()

    def _leave_segment(self) -> None:
        """Stand before an empty segment: then the one before it can be freed, which may be all that helps.
        One that holds nothing but what is lost goes: a disk that stays full must not fill up with such files.
        """
        try:
            if self._file >= 0 and self._fresh and self._written == 0:
                return
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                if self._fresh:
                    (self.directory / segment_name(self.epoch, self._number)).unlink(missing_ok=True)
            self._open_segment()
        except OSError:
            log.warning("no new segment can be made: %s", self.error)

    def _finish(self, batch: list[_Entry], error: str) -> None:
        """In the event loop: tell those who wait."""
        self._queued -= sum(entry.size for entry in batch)
        for entry in batch:
            if entry.waiter is None or entry.waiter.done():
                continue
            if error or entry.recording.lost:
                entry.waiter.set_exception(SpoolFailedError(error or entry.recording.lost))
            else:
                entry.waiter.set_result(None)
        while self._room and self._queued <= self._queue_bytes:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
