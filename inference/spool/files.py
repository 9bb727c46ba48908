"""What both ends of a spool do with files: locks that die with a process, changes that survive a crash."""

import fcntl
import os
from pathlib import Path


class SpoolFailedError(RuntimeError):
    """The disk does not take what must be kept; says why."""


class SpoolBusyError(RuntimeError):
    """Another process owns this end of the spool."""


def lock(path: Path) -> int:
    """Open and lock a file for this process's life. Raises SpoolBusyError. Returns the descriptor to keep."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SpoolBusyError(f"{path} is held by another process") from error
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a living process holds ``path`` locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def write(descriptor: int, content: bytes) -> int:
    """Write all of it, also where the system takes it in pieces. Returns how many bytes."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(content)


def replace(path: Path, content: bytes) -> None:
    """Write a small file so that after any crash it holds the old or the new content, wholly."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(path)
    sync_directory(path.parent)


def make_directory(directory: Path) -> None:
    """Make a private folder, and those above it, so that a crash does not take it away again."""
    made = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in reversed(made):
        sync_directory(one.parent)


def sync(path: Path) -> None:
    """Make a file's content durable, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make names created, renamed or removed in a folder durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
