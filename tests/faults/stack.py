"""Flywheel's processes for a test: each started by its command, known by its address, killed, started again.

Knows how each is started and when it is ready; looks into none of them. A process may be started through a
launcher (tests.faults.broken, .clock, .recorded), which changes something in it before it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from flywheel.local import broker
from inference.drain import Status, read_status
from tests.inference.double import free_port, snapshot

SECRET = "fw-faults-0123456789abcdef"
NAMES = ("proxy", "drain", "clickhouse", "redis", "web")
_PATIENCE = 120.0
# No proxy from the environment may stand between this machine and itself.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FaultError(AssertionError):
    """A process did not do what it must, whatever happened to the others."""


@dataclass
class Process:
    """One process: how it is started, and when it does its work."""

    name: str
    command: Sequence[str]
    env: dict[str, str]
    log: Path
    ready: Callable[[], bool]
    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    exits: list[int] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def start(self) -> None:
        """Start it in a group of its own; returns at once."""
        self.started_at = time.time()
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Until it does its work. Raises FaultError when it ends, or takes two minutes."""
        deadline = time.monotonic() + _PATIENCE
        while not self.ready():
            if not self.running or time.monotonic() > deadline:
                raise FaultError(f"{self.name} is not ready; its log ends:\n{self.tail()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9 of the whole group, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, as a process manager sends it. Returns the exit code. Raises FaultError when it stays."""
        return self._end(signal.SIGTERM, seconds)

    def _end(self, number: signal.Signals, seconds: float = 60.0) -> int:
        assert self.popen is not None
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.popen.pid, number)
            else:
                self.popen.send_signal(number)
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise FaultError(f"{self.name} did not end within {seconds:.0f} s") from error
        self.exits.append(code)
        return code

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-3000:].decode(errors="replace") if self.log.exists() else ""

    def rss_mb(self) -> float:
        """Its resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def peak_mb(self) -> float:
        """The most resident memory that it ever had, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


class Stack:
    """All processes of one home. ``launch`` says through which launcher a process is started, by its name."""

    def __init__(
        self,
        home: Path,
        *,
        launch: Mapping[str, Sequence[str]] | None = None,
        spool: Path | None = None,
        web: bool = False,
        env: dict[str, str] | None = None,
        **route: Any,
    ) -> None:
        self.home, self.spool = home, spool or home / "spool"
        home.mkdir(parents=True, exist_ok=True)
        self.ports = {name: free_port() for name in ("engine", *NAMES)}
        self.engine_url = f"http://127.0.0.1:{self.ports['engine']}"
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"
        self.clickhouse_url = f"http://127.0.0.1:{self.ports['clickhouse']}/flywheel"
        self.env = {
            **os.environ,
            "FLYWHEEL_HOME": str(home),
            "FLYWHEEL_SPOOL": str(self.spool),
            "FLYWHEEL_CLICKHOUSE_URL": self.clickhouse_url,
            "FLYWHEEL_REDIS_URL": f"redis://:faults@127.0.0.1:{self.ports['redis']}/0",
            "FLYWHEEL_WEB_URL": f"http://127.0.0.1:{self.ports['web']}",
            "FLYWHEEL_PROXY_URL": self.url,
            "FLYWHEEL_INTERNAL_TOKEN": "faults",
            "FLYWHEEL_SECRET_KEY": "faults",
            "FLYWHEEL_DATABASE_URL": f"sqlite:///{home / 'flywheel.sqlite3'}",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        self._launch = launch or {}
        self.processes = {process.name: process for process in self._all()}
        if not web:
            kept = home / "proxy" / "snapshot.json"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(orjson.dumps(snapshot(self.engine_url, secret=SECRET, **route)))

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def _all(self) -> Iterator[Process]:
        ports = self.ports
        yield self._python("engine", "tests.faults.engine", "--port", str(ports["engine"]))
        store = ("--path", str(self.home / "clickhouse"), "--port", str(ports["clickhouse"]))
        yield self._python("clickhouse", "flywheel.local.clickhouse", *store, path="/ping")
        yield self._process(
            "redis",
            broker.command(self.home / "redis", ports["redis"], "faults"),
            partial(broker.answers, ports["redis"]),
        )
        worker = ("--worker-class", "gthread", "--threads", "8", "--no-control-socket")
        yield self._python(
            "web",
            "gunicorn",
            "flywheel.wsgi",
            *worker,
            "--bind",
            f"127.0.0.1:{ports['web']}",
            path="/healthz",
        )
        named = ("--port", str(ports["proxy"]), "--name", "faults")
        yield self._python("proxy", "inference.proxy", *named, path="/ready")
        drain = self._python("drain", "inference.drain", "--interval", "0.1", "--batch", "200")
        drain.ready = lambda: (status := self.status()) is not None and status.updated_at > drain.started_at
        yield drain

    def _python(self, name: str, module: str, *arguments: str, path: str = "/health") -> Process:
        command = [sys.executable, "-m", *self._launch.get(name, ()), module, *arguments]
        return self._process(name, command, partial(answers, f"http://127.0.0.1:{self.ports[name]}{path}"))

    def _process(self, name: str, command: Sequence[str], ready: Callable[[], bool]) -> Process:
        logs = self.home / "logs"
        logs.mkdir(exist_ok=True)
        return Process(name, command, self.env, logs / f"{name}.log", ready)

    def start(self, *names: str) -> None:
        """Start these and wait until all are ready; ClickHouse's tables are then there."""
        for name in names:
            self[name].start()
        for name in names:
            self[name].wait_ready()
            if name == "clickhouse":
                self.run("inference.clickhouse", "migrate")

    def run(self, module: str, *arguments: str) -> None:
        """Run a module to its end. Raises FaultError when it fails."""
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, check=False)
        if done.returncode:
            raise FaultError(f"{module} failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def status(self) -> Status | None:
        """What the drain last said."""
        return read_status(self.spool)

    def drained(self) -> bool:
        """Whether the drain has looked at everything since it was last written to, and nothing is left."""
        status = self.status()
        if status is None or status.problem or status.oldest_unstored_at is not None:
            return False
        written = [path.stat().st_mtime for path in self.spool.glob("*.segment")]
        return (
            status.updated_at > max(written, default=0.0) + 0.05 and not (self.spool / "batch.json").exists()
        )

    def settle(self, seconds: float = 300.0) -> None:
        """Wait until all of the spool is stored. Raises FaultError when it takes longer."""
        deadline = time.monotonic() + seconds
        while not self.drained():
            drain = self["drain"]
            if not drain.running or time.monotonic() > deadline:
                raise FaultError(f"not drained: {self.status()}; the drain's log ends:\n{drain.tail()}")
            time.sleep(0.05)

    def spool_bytes(self) -> int:
        """Size of the spool's segments."""
        return sum(path.stat().st_size for path in self.spool.glob("*.segment"))

    def metric(self, name: str) -> float:
        """One of the proxy's metrics, without labels."""
        with _OPENER.open(self.url + "/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise KeyError(name)

    def seen(self) -> dict[str, int]:
        """What the engine saw."""
        with _OPENER.open(self.engine_url + "/seen", timeout=10) as answer:
            found: dict[str, int] = orjson.loads(answer.read())
            return found

    def close(self) -> None:
        """End everything that runs."""
        for process in self.processes.values():
            if process.running:
                process.kill()


@contextlib.contextmanager
def running(stack: Stack, *names: str) -> Iterator[Stack]:
    """A stack with these started; in the end nothing of it runs."""
    try:
        stack.start(*names)
        yield stack
    finally:
        stack.close()


async def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something to become true. Raises FaultError."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(true):
        if time.monotonic() > deadline:
            raise FaultError(f"it did not come to that in {seconds:.0f} s")
        await asyncio.sleep(0.05)


def answers(url: str) -> bool:
    """Whether something answers 200 there."""
    try:
        with _OPENER.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
