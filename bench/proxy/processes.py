"""Processes on chosen cores: starting, freezing, ending them, and what they used.

A contender that is not being measured is frozen, so that its background work costs nobody anything.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


class DidNotStartError(RuntimeError):
    """A process ended, or did not listen, before it could be measured; says what it last said."""


def cores() -> tuple[set[int], set[int]]:
    """The core of the proxy that is measured, and the others."""
    every = sorted(os.sched_getaffinity(0))
    if len(every) < 2:
        raise DidNotStartError("two cores are needed: one for the proxy, one for the load")
    return {every[-1]}, set(every[:-1])


class Process:
    """One server and its children, started on given cores."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        on: set[int],
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name, self._log = name, log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                list(command),
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=folder,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, on),  # noqa: PLW1509 – single-threaded here
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, port: int, seconds: float = 120.0) -> None:
        """Wait until it listens. Raises DidNotStartError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise DidNotStartError(f"{self.name} did not start: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it and its children."""
        if self._process.poll() is None:
            self.thaw()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def cpu_seconds(self) -> float:
        """CPU that it and its children have used."""
        return sum(map(_cpu_seconds, self._family()))

    def peak_mb(self) -> float:
        """The most memory that it has had resident, with its children's."""
        return sum(map(_peak_mb, self._family()))

    def _family(self) -> list[int]:
        """Every process of its session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.getsid(int(entry.name)) == self.pid:
                        found.append(int(entry.name))
                except ProcessLookupError:
                    continue
        return found


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    return 0.0


def listeners(port: int) -> int:
    """How many sockets listen at a port of this machine: of processes that share it, one each."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(int(one[1].rpartition(":")[2], 16) == port and one[3] == "0A" for one in fields)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
