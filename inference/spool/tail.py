"""The segment that a spool's writer appends to, and the moves from one to the next.

Knows how full the spool's folder is and when a segment is left; not what is in it, nor what has been synced.
"""

import errno
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from inference.spool.files import sync_directory, write
from inference.spool.frames import segment_name

_ROOM_BYTES = 8 << 20
"""So much must be free before a disk that was full is trusted again; or an eighth of the spool's limit."""


class Tail:
    """An epoch's last segment. Only the writer's thread uses it. Everything may raise OSError."""

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int,
        segment_seconds: float,
        limit_bytes: int,
        sync: Callable[[int], None],
    ) -> None:
        self._directory, self._sync = directory, sync
        self.epoch = 0
        # A small spool in small segments: only whole ones are ever freed.
        self._segment_bytes = min(segment_bytes, max(limit_bytes // 8, 1 << 20))
        self._segment_seconds, self._limit_bytes = segment_seconds, limit_bytes
        self._file = -1
        self._number = 0
        self._began = 0.0
        self._others = 0
        self.written = 0
        """Bytes of this segment."""
        self.fresh = True
        """Whether nothing of it was synced yet."""

    def disk_bytes(self) -> int:
        """Size of all segments on disk, this epoch's and those not yet retired."""
        return sum(
            entry.stat().st_size for entry in os.scandir(self._directory) if entry.name.endswith(".segment")
        )

    def old_in(self, now: float) -> float:
        """Seconds until the segment is left for its age; an empty one never is."""
        return self._began + self._segment_seconds - now if self.written else math.inf

    def renew(self) -> None:
        """Go on in a new segment, if the spool's limit allows one."""
        self.close()
        self._others = self.disk_bytes()
        if self._others > self._limit_bytes:
            raise self._at_limit()
        self._open()

    def append(self, data: bytes) -> None:
        """Write behind what is there, in a new segment when this one is full or old."""
        if self.written > self._segment_bytes or self.old_in(time.monotonic()) <= 0:
            # What the old segment holds unsynced must not wait for a sync of the new one.
            self._sync(self._file)
            self.renew()
        if self._others + self.written + len(data) > self._limit_bytes:
            self._others = self.disk_bytes() - self.written  # the drain may have freed some
            if self._others + self.written + len(data) > self._limit_bytes:
                raise self._at_limit()
        self._write(data)

    def append_durably(self, data: bytes) -> None:
        """Write and sync a few bytes in this segment, whatever the limit."""
        self._write(data)
        self.sync()

    def sync(self) -> None:
        """Make what was written durable."""
        self._sync(self._file)
        self.fresh = False

    def check_room(self) -> None:
        """Raise OSError unless a disk that was full has room again."""
        room = min(_ROOM_BYTES, self._limit_bytes // 8)
        free = os.statvfs(self._directory)
        if free.f_bavail * free.f_frsize < room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._others = self.disk_bytes() - self.written
        if self._others > self._limit_bytes - room:
            raise self._at_limit()

    def leave(self) -> None:
        """Stand before an empty segment: then the one before it can be freed, which may be all that helps.

        One that holds nothing but what is lost goes: a disk that stays full must not fill up with such files.
        """
        if self._file >= 0 and self.fresh and self.written == 0:
            return
        if self._file >= 0:
            self.close()
            if self.fresh:
                (self._directory / segment_name(self.epoch, self._number)).unlink(missing_ok=True)
        self._open()

    def open_if_closed(self) -> None:
        """Have a segment, whatever the limit."""
        if self._file < 0:
            self._open()

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        path = self._directory / segment_name(self.epoch, self._number + 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._number += 1
        self.written = 0
        self._began = time.monotonic()
        self.fresh = True
        sync_directory(self._directory)

    def _write(self, data: bytes) -> None:
        self.written += len(data)
        write(self._file, data)

    def _at_limit(self) -> OSError:
        return OSError(f"the spool is at its limit of {self._limit_bytes >> 20} MiB")
