"""The real engine for tests: one process a session, a fresh database a module."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest


class ClickHouseProcess:
    """`python -m flywheel.local.clickhouse` on a folder and a free port."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.options = options
        self.address = ""
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        port = self.address.rpartition(":")[2] or "0"
        command = [
            sys.executable,
            "-m",
            "flywheel.local.clickhouse",
            "--path",
            str(self.path),
            "--port",
            port,
        ]
        command += self.options
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"the engine did not start: {line!r}, exit {self.process.poll()}"
        self.address = found.group()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None
        code = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def run(self, sql: str) -> None:
        """Run a statement without the client under test."""
        with build_opener(ProxyHandler({})).open(Request(self.address, sql.encode())) as answer:
            answer.read()


@pytest.fixture(scope="session")
def clickhouse_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    """The engine's process, shared by every module of a test run."""
    engine = ClickHouseProcess(tmp_path_factory.mktemp("clickhouse"))
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def clickhouse(clickhouse_process: ClickHouseProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of the module's own, for FLYWHEEL_CLICKHOUSE_URL; empty, not yet migrated."""
    name = "test_" + re.sub(r"\W", "_", request.node.name.removesuffix(".py"))
    clickhouse_process.run(f"DROP DATABASE IF EXISTS {name} SYNC")
    yield f"{clickhouse_process.address}/{name}"
    clickhouse_process.run(f"DROP DATABASE IF EXISTS {name} SYNC")
