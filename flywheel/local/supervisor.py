"""Start processes, wait until they are ready, say when one dies, and leave none behind.

Knows processes and signals, nothing of what they do (processes.py knows that). Each writes to a log of
its own; the console gets what a person needs. Linux only: a killed supervisor takes its children along.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_GRACE_SECONDS = 12.0
_TOLD_EVERY_SECONDS = 10.0
_LOG_LIMIT = 20 << 20
"""Above this a log is set aside at the next start, as NAME.log.1."""


@dataclass(frozen=True)
class Process:
    """One process to run.

    ready: whether it does its work now; asked until it says yes. patience: seconds to wait for that.
    tier: processes of a higher tier are stopped before those of a lower one.
    """

    name: str
    command: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    ready: Callable[[], bool]
    patience: float = 180.0
    tier: int = 0


class StoppedError(RuntimeError):
    """A process ended, or did not become ready; the text says which, why, and the end of its log."""


class Supervisor:
    """The processes of one home. Use from one thread: children die with the thread that started them."""

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self._logs = logs
        self._say = say
        self._running: dict[str, tuple[Process, subprocess.Popen[bytes], float]] = {}

    def start(self, process: Process) -> None:
        """Start it in a process group of its own, so that Ctrl-C reaches the supervisor alone."""
        with self._log(process.name) as log:
            popen = subprocess.Popen(
                process.command,
                cwd=process.cwd,
                env=dict(process.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  (no threads here; the only way to say it)
            )
        self._running[process.name] = (process, popen, time.monotonic())

    def wait_ready(self, names: Sequence[str]) -> None:
        """Wait for all of them, saying each. Raises StoppedError."""
        waiting = list(names)
        told = time.monotonic()
        while waiting:
            self.check()
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                self._say(f"waiting for {', '.join(waiting)}")
            for name in list(waiting):
                process, _, began = self._running[name]
                seconds = time.monotonic() - began
                if process.ready():
                    waiting.remove(name)
                    self._say(f"{name} is ready after {seconds:.0f} s")
                elif seconds > process.patience:
                    raise StoppedError(self._story(name, f"is not ready after {process.patience:.0f} s"))
            time.sleep(0.2)

    def check(self) -> None:
        """Raises StoppedError when a process ended by itself."""
        for name, (_, popen, _) in self._running.items():
            code = popen.poll()
            if code is not None:
                raise StoppedError(self._story(name, f"stopped by itself ({_ending(code)})"))

    def watch(self) -> None:
        """Until a process ends by itself, which raises StoppedError."""
        while True:
            self.check()
            time.sleep(0.5)

    def run(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], log: str = "") -> None:
        """Run a command to its end while the others are watched. Its output goes to the console, or to the
        log of that name. Raises StoppedError when it fails, or when one of the others ends meanwhile."""
        with self._log(log) if log else contextlib.nullcontext() as file:
            popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT if file else None,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )
        try:
            while popen.poll() is None:
                self.check()
                time.sleep(0.05)
        finally:
            _end([popen])
        if popen.returncode:
            what = " ".join(str(part) for part in command[1:4])
            reason = f"`{what}` failed ({_ending(popen.returncode)})"
            raise StoppedError(self._tail(log, reason) if log else reason)

    def stop(self) -> None:
        """End everything, the highest tier first; what does not listen is killed."""
        for tier in sorted({process.tier for process, _, _ in self._running.values()}, reverse=True):
            _end([popen for process, popen, _ in self._running.values() if process.tier == tier])
        self._running.clear()

    def _log(self, name: str) -> IO[bytes]:
        path = self._logs / f"{name}.log"
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def _story(self, name: str, what: str) -> str:
        return self._tail(name, f"{name} {what}")

    def _tail(self, name: str, what: str) -> str:
        path = self._logs / f"{name}.log"
        lines = path.read_bytes()[-6000:].decode(errors="replace").splitlines()[-15:]
        return "\n".join([f"{what}. The end of {path}:", *(f"    {line}" for line in lines)])


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end(popens: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all of them to end, then kill what is left of their groups."""
    for popen in popens:
        if popen.poll() is None:
            _signal(popen, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for popen in popens:
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(max(0.0, deadline - time.monotonic()))
        # Also when the leader is gone: its children may not be.
        _signal(popen, signal.SIGKILL)
        popen.wait()


def _signal(popen: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, number)
