"""Writes down everything that a process does to the files of one folder, in order.

The log is a stream of pickled ``(nanoseconds, name, arguments)``; time is this machine's monotonic clock,
taken when the call had ended. What a log means is in tests.faults.disk_model.
"""

from __future__ import annotations

import itertools
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

_SYSTEM = {
    name: getattr(os, name)
    for name in ("open", "close", "write", "fsync", "fdatasync", "rename", "unlink", "mkdir")
}


class Recorder:
    """Stands between this process and the functions of ``os`` that change files."""

    def __init__(self, log: Path, folder: Path) -> None:
        self._log = _SYSTEM["open"](log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._folder = str(folder)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._files: dict[str, int] = {}
        self._opened: dict[int, tuple[str, int]] = {}
        """Descriptor to path and number; folders have number 0."""

    def install(self) -> None:
        """From now on."""
        for name in _SYSTEM:
            setattr(os, name, getattr(self, f"_{name}"))
        os.replace, os.remove = os.rename, os.unlink

    def note(self, name: str, *arguments: Any) -> None:
        """Write one line, with the time."""
        with self._lock:
            line = pickle.dumps((time.monotonic_ns(), name, arguments))
            _SYSTEM["write"](self._log, line)

    def _concerns(self, path: Any) -> str | None:
        text = os.path.abspath(os.fspath(path)) if not isinstance(path, int) else ""
        return text if text == self._folder or text.startswith(self._folder + os.sep) else None

    def _open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        with self._lock:
            descriptor: int = _SYSTEM["open"](path, flags, mode, **more)
            # The folder's own name is durable once the one above it was synced.
            above = os.path.dirname(self._folder)
            name = above if os.path.abspath(os.fspath(path)) == above else self._concerns(path)
            if name is None:
                return descriptor
            if os.path.isdir(name):
                self._opened[descriptor] = (name, 0)
                return descriptor
            if name not in self._files or flags & os.O_TRUNC:
                self._files[name] = next(self._numbers)
                self.note("create", name, self._files[name])
            self._opened[descriptor] = (name, self._files[name])
            return descriptor

    def _mkdir(self, path: Any, mode: int = 0o777, **more: Any) -> None:
        with self._lock:
            _SYSTEM["mkdir"](path, mode, **more)
            if name := self._concerns(path):
                self.note("mkdir", name)

    def _rename(self, source: Any, target: Any, **more: Any) -> None:
        with self._lock:
            _SYSTEM["rename"](source, target, **more)
            one, other = self._concerns(source), self._concerns(target)
            if one and other and one in self._files:
                self._files[other] = self._files.pop(one)
                self.note("rename", one, other)

    def _unlink(self, path: Any, **more: Any) -> None:
        with self._lock:
            _SYSTEM["unlink"](path, **more)
            name = self._concerns(path)
            if name and self._files.pop(name, None):
                self.note("unlink", name)

    def _close(self, descriptor: int) -> None:
        with self._lock:
            self._opened.pop(descriptor, None)
            _SYSTEM["close"](descriptor)

    def _write(self, descriptor: int, data: Any) -> int:
        with self._lock:
            count: int = _SYSTEM["write"](descriptor, data)
            if descriptor in self._opened:
                self.note("write", self._opened[descriptor][1], bytes(data[:count]))
            return count

    def _fsync(self, descriptor: int) -> None:
        self._synced(descriptor, "fsync")

    def _fdatasync(self, descriptor: int) -> None:
        self._synced(descriptor, "fdatasync")

    def _synced(self, descriptor: int, how: str) -> None:
        with self._lock:
            if descriptor not in self._opened:
                _SYSTEM[how](descriptor)
                return
            path, number = self._opened[descriptor]
            # The disk's own sync would only take time: what is durable is decided when the log is read.
            if number == 0:
                self.note("sync folder", path)
            elif path.endswith(".segment"):
                self.note("sync", number, None)
            else:  # it may have been written past os.write
                self.note("sync", number, Path(f"/proc/self/fd/{descriptor}").read_bytes())


recorder: Recorder | None = None
"""This process's, if it has one."""
