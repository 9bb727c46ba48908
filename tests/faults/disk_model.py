"""What a disk holds after a power cut, from a log of what was done to it (tests.faults.recorder).

A file's bytes are safe once it was synced, a name once its folder was. Everything else may be there, or not,
or in part. A file whose sync failed is safe to where it was before: no later sync of it counts.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

Step = tuple[int, str, tuple[Any, ...]]
"""Monotonic nanoseconds, what was done, and with what."""
WAYS = ("only what was synced", "everything", "some of it")


def read_log(path: Path) -> list[Step]:
    """The steps of a log, but for one cut off at its end."""
    with path.open("rb") as file:
        return list(_steps(file))


def _steps(file: BinaryIO) -> Iterator[Step]:
    while True:
        try:
            yield pickle.load(file)
        except (EOFError, pickle.UnpicklingError):
            return


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    failed: bool = False


class Disk:
    """A folder's state, step by step."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        """Path to file, as a running process sees it; folders are 0."""
        self._safe_names: dict[str, int] = {}

    def apply(self, step: Step) -> None:
        """Take one step of the log; what is no file's business is passed over."""
        _, name, given = step
        if name == "mkdir":
            self._names[given[0]] = 0
        elif name == "create":
            self._names[given[0]] = given[1]
            self._files[given[1]] = _File()
        elif name == "write":
            self._files[given[0]].content += given[1]
        elif name == "sync":
            self._sync(self._files[given[0]], given[1])
        elif name == "sync failed":
            self._files[self._names[given[0]]].failed = True
        elif name == "sync folder":
            self._sync_folder(given[0])
        elif name == "rename":
            self._names[given[1]] = self._names.pop(given[0])
        elif name == "unlink":
            self._names.pop(given[0], None)

    @staticmethod
    def _sync(file: _File, content: bytes | None) -> None:
        if content is not None:
            file.content = bytearray(content)
        if not file.failed:
            file.safe = bytes(file.content)

    def _sync_folder(self, folder: str) -> None:
        for name in {*self._names, *self._safe_names}:
            if name.rpartition("/")[0] != folder:
                continue
            if name in self._names:
                self._safe_names[name] = self._names[name]
            else:
                self._safe_names.pop(name, None)

    def after_power_cut(self, target: Path, way: str, chance: random.Random) -> None:
        """Write into ``target`` what is there when the power is back."""
        names = self._after(way, chance)
        folders = {name for name, number in names.items() if number == 0}
        kept = {self._folder, *folders}
        for name, number in sorted(names.items()):
            if name.rpartition("/")[0] not in kept and name != self._folder:
                continue
            path = target / name[len(self._folder) :].lstrip("/")
            if number == 0:
                path.mkdir(exist_ok=True, parents=True)
            else:
                path.parent.mkdir(exist_ok=True, parents=True)
                path.write_bytes(self._bytes_after(self._files[number], way, chance))

    def _after(self, way: str, chance: random.Random) -> dict[str, int]:
        if self._folder in self._names and way != "everything" and self._folder not in self._safe_names:
            return {} if way == "only what was synced" or chance.random() < 0.5 else dict(self._names)
        if way == "only what was synced":
            return dict(self._safe_names)
        if way == "everything":
            return dict(self._names)
        found = {}
        for name in {*self._names, *self._safe_names}:
            side = chance.choice((self._names, self._safe_names))
            if name in side:
                found[name] = side[name]
        return found

    @staticmethod
    def _bytes_after(file: _File, way: str, chance: random.Random) -> bytes:
        if way == "only what was synced":
            return file.safe
        if way == "everything" and not file.failed:
            return bytes(file.content)
        more = bytearray(file.content[len(file.safe) :])
        if not more:
            return file.safe
        # Torn: so many bytes came, and a stretch of them never left the cache.
        more = more[: chance.randint(0, len(more))]
        if more and chance.random() < 0.5:
            begin = chance.randrange(len(more))
            end = min(len(more), begin + chance.randint(1, 4096))
            more[begin:end] = bytes(end - begin)
        return file.safe + bytes(more)
