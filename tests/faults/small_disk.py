"""Starts a process for which one folder lies on a small disk.

    python -m tests.faults.small_disk FOLDER ROOM_FILE inference.proxy --port 8080

ROOM_FILE holds how many bytes the folder may have; what goes beyond is refused with ENOSPC, in this process,
as a full disk does: a write is cut short, then fails; a new file, a longer one, fails. For machines where no
small file system can be mounted; elsewhere tests.faults.full mounts one.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

from tests.faults import broken

_write, _fallocate, _statvfs = os.write, os.posix_fallocate, os.statvfs


class SmallDisk:
    """The folder's room, as this process sees it."""

    def __init__(self, folder: Path, room: Path) -> None:
        self._folder, self._room = folder, room

    def install(self) -> None:
        """From now on."""
        os.write = self._write
        os.posix_fallocate = self._posix_fallocate
        os.statvfs = self._statvfs

    def _free(self) -> int:
        used = sum(entry.stat().st_size for entry in os.scandir(self._folder) if entry.is_file())
        return max(0, int(self._room.read_text()) - used)

    def _is_here(self, descriptor: int) -> bool:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{self._folder}/")

    def _write(self, descriptor: int, data: Any) -> int:
        if self._is_here(descriptor):
            free = self._free()
            if free == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = memoryview(data)[:free]
        return _write(descriptor, data)

    def _posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        if self._is_here(descriptor) and self._free() < length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _fallocate(descriptor, offset, length)

    def _statvfs(self, path: Any) -> os.statvfs_result:
        found = _statvfs(path)
        if str(path).startswith(str(self._folder)):
            blocks = self._free() // found.f_frsize
            found = os.statvfs_result((*found[:3], blocks, blocks, *found[5:]))
        return found


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    SmallDisk(folder, Path(sys.argv[2])).install()
    broken.run(sys.argv[3], sys.argv[4:])
