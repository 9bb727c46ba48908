"""An engine under measurement: started with or without the plugin, and what its front end's process used."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

_TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStartError(RuntimeError):
    """The engine did not come up; says what it said last."""


class Server:
    """A running engine."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, spool: Path | None) -> None:
        self._process, self.port, self._log, self.spool = process, port, log, spool
        self.model = ""

    def wait(self, seconds: float) -> None:
        """Until it is healthy. Raises DidNotStartError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, urllib.error.URLError):
                self.model = str(self.get("/v1/models")["data"][0]["id"])
                return
            time.sleep(1)
        raise DidNotStartError(f"the engine did not start:\n{self._log.read_text()[-3000:]}")

    def get(self, path: str) -> Any:
        """JSON of an address."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return orjson.loads(answer.read())

    def cpu_seconds(self) -> float:
        """User and system time of the front end's process, its threads included and its children not."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextlib.contextmanager
def running(
    command: str,
    folder: Path,
    plugins: str,
    environment: Mapping[str, str],
    *,
    capture: bool,
    cwd: Path | None,
) -> Iterator[Server]:
    """An engine that is starting; ``wait`` for it. ``plugins``: those that it has without ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = "with" if capture else "without"
    spool = folder / f"spool-{name}" if capture else None
    env = {**environment, "VLLM_PLUGINS": f"{plugins},flywheel_capture" if capture else plugins}
    if spool is not None:
        env["FLYWHEEL_ENGINE_SPOOL"] = str(spool)
    log = folder / f"engine-{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*shlex.split(command), "--port", str(port)],
            cwd=cwd,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Server(process, port, log, spool)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        print("the engine is killed", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
