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
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import orjson

from inference.spool.files import SpoolFailedError, lock, make_directory
from inference.spool.frames import (
    Kind,
    Packer,
    Position,
    encode,
    lay_out,
    lock_name,
    mark_again,
    segments,
)
from inference.spool.keys import Keys
from inference.spool.recording import Entry, Recording
from inference.spool.tail import Tail

log = logging.getLogger(__name__)
_UNSYNCED_BYTES = 8 << 20
_PACKED_BYTES = 1 << 20
_UNSYNCED_SECONDS = 1.0
_PROBE_SECONDS = 0.5
_NOBODY = bytes(16)
_NICE = 10
"""The thread's: where both want one core, whoever serves goes first."""


class Spool:
    """Writes a spool; one process a spool (``start`` raises SpoolBusyError when another one does).

    ``sync`` makes a file's content durable; ``limit_bytes`` is how much may lie on disk before the spool
    counts as full. A segment that is not empty is left after ``segment_seconds``: what was stored long ago,
    or is to be erased, does not stay on disk for want of traffic. With ``keys`` what is written is encrypted.
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
        keys: Keys | None = None,
    ) -> None:
        self.directory = directory
        self.error = ""
        """Why nothing is taken now; empty when all is well."""
        self.commits = 0
        self._queue_bytes = queue_bytes
        self._group_seconds, self._lazy_seconds = group_seconds, lazy_seconds
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._queue: deque[Entry] = deque()
        self._queued = 0
        self._waiting = 0
        self._stopping = False
        self._room: deque[asyncio.Future[None]] = deque()
        # Only the thread touches these once it runs.
        self._tail = Tail(
            directory,
            segment_bytes=segment_bytes,
            segment_seconds=segment_seconds,
            limit_bytes=limit_bytes,
            sync=sync,
        )
        self._dropped: dict[bytes, None] = {}
        self._unsynced: list[tuple[bytes, Recording]] = []
        self._unsynced_bytes = 0
        self._synced_at = 0.0
        self._group = 1
        self._packer = Packer()
        self._keys = keys

    def start(self) -> None:
        """Take the spool, begin an epoch, start the thread. Call in the event loop.

        Raises SpoolBusyError, and OSError when the folder can't be used at all. A disk that is full is no
        such reason: then ``error`` says so until there is room.
        """
        self._loop = asyncio.get_running_loop()
        make_directory(self.directory)
        self._owner = lock(self.directory / "writer.lock")
        self.epoch = self._tail.epoch = self._new_epoch()
        # Locked before the first segment exists, so that no reader takes the epoch for dead.
        self._alive = lock(self.directory / lock_name(self.epoch))
        try:
            self._tail.renew()
        except OSError as error:
            self._give_up([], error)
        self._committing = threading.Thread(target=self._run, name="spool", daemon=True)
        self._committing.start()

    async def stop(self) -> None:
        """Write and sync what was appended, and let go of the spool."""
        await asyncio.to_thread(self.halt)

    def halt(self) -> None:
        """The same, also when the event loop is gone; blocks."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._committing.join()
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
        return self._tail.disk_bytes()

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

    def append(self, entry: Entry) -> None:
        """Queue an entry for the thread."""
        with self._lock:  # less than the condition's own way in
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

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
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
        self._tail.close()

    def _next_batch(self) -> tuple[list[Entry], bool]:
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
        return self._tail.old_in(now) if self._tail.written else None

    def _commit(self, batch: list[Entry], final: bool) -> str:
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

    def _encoded(self, batch: list[Entry]) -> list[tuple[bytes, Recording]]:
        """The frames of what is not lost yet. What can't be laid out is lost, alone."""
        frames: list[tuple[bytes, Recording]] = []
        laid: list[tuple[Entry, bytes]] = []
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

    def _packed(self, laid: list[tuple[Entry, bytes]]) -> list[tuple[bytes, Recording]]:
        """Frames of entries, compressed in one call: one by one the thread would wait for the interpreter
        each time.
        """
        payloads, epoch, keys = self._packer.pack([plain for _, plain in laid]), self.epoch, self._keys
        return [
            (
                encode(one.kind, one.sequence, epoch, one.recording.exchange_id, payload, keys=keys),
                one.recording,
            )
            for (one, _), payload in zip(laid, payloads, strict=True)
        ]

    def _keep(self, frames: list[tuple[bytes, Recording]]) -> None:
        self._unsynced += frames
        self._unsynced_bytes += sum(len(frame) for frame, _ in frames)

    def _write(self, frames: list[tuple[bytes, Recording]]) -> None:
        self._tail.append(b"".join([frame for frame, _ in frames]))

    def _sync_if(self, waited: bool) -> None:
        now = time.monotonic()
        stale = now - self._synced_at > _UNSYNCED_SECONDS or self._unsynced_bytes > _UNSYNCED_BYTES
        if self._unsynced and (waited or stale):
            self._tail.sync()
            self.commits += 1
            self._unsynced.clear()
            self._unsynced_bytes = 0
        if waited or stale:
            self._synced_at = now

    def _start_over(self) -> None:
        """The current file can't be trusted any more: everything not yet synced goes to a new one."""
        self._tail.renew()
        self._unsynced = [(mark_again(frame), recording) for frame, recording in self._unsynced]
        self._write(self._unsynced)
        self._sync_if(waited=True)

    def _resume(self) -> None:
        """After a failure: a segment that takes a write and a sync, with some room behind it. Raises OSError.

        What was lost is written down as soon as a few bytes fit: until then it holds segments back.
        """
        self._tail.open_if_closed()
        if self._dropped:
            self._write_drops()
        self._tail.check_room()
        if self._tail.fresh:
            self._write_drops()
        self.error = ""

    def _write_drops(self) -> None:
        """Write down, durably, which exchanges were lost; for want of one, that there was none."""
        ids = list(self._dropped) or [_NOBODY]
        (payload,) = self._packer.pack([b""])
        frames = [encode(Kind.DROP, 0, self.epoch, one, payload, keys=self._keys) for one in ids]
        data = b"".join(frames)
        self._tail.append_durably(data)
        self._dropped.clear()

    def _lose(self, recording: Recording, why: str) -> None:
        if recording.lost:
            return
        recording.lost = why
        if recording.written:
            self._dropped[recording.exchange_id] = None
        if recording.on_loss is not None:
            recording.on_loss()

    def _give_up(self, batch: list[Entry], error: Exception) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        self.error = why
        for _, recording in self._unsynced:
            self._lose(recording, why)
        for entry in batch:
            self._lose(entry.recording, why)
        self._unsynced.clear()
        self._unsynced_bytes = 0
        try:
            self._tail.leave()
        except OSError:
            log.warning("no new segment can be made: %s", why)

    def _finish(self, batch: list[Entry], error: str) -> None:
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
