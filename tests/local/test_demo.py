"""The demonstration with an engine that exists already: it starts, fills the queue, and ends whole."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.local.canned_engine import canned_engine
from tests.local.running_demo import Demo

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with canned_engine() as upstream:
        found = Demo(tmp_path / "home", upstream)
        yield found
        if found.process and found.process.poll() is None:
            found.stop()


def asked(root: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(root / "flywheel.sqlite3")) as database:
        return database.execute(sql).fetchall()


def test_it_fills_the_queue_once_ends_whole_and_says_who_died(
    demo: Demo, capfd: pytest.CaptureFixture[str]
) -> None:
    demo.start()
    assert asked(demo.root, "SELECT count(*), min(answer) FROM annotations_item") == [(300, "Eye")]
    assert asked(demo.root, "SELECT base_url FROM inference_upstream") == [(demo.env["UPSTREAM"],)]
    assert not any("vllm" in line for line in demo.processes())
    assert demo.stop() == 0
    assert demo.processes() == []
    demo.said.clear()
    demo.start()
    again = "".join(demo.said)
    assert "Sending" not in again
    assert "password" not in again
    assert again.count("/sign-in/") == 2
    assert demo.process is not None
    os.kill(demo.pid_of("inference.drain"), signal.SIGKILL)
    assert demo.process.wait(timeout=60) == 1
    error = capfd.readouterr().err
    assert "drain stopped by itself (signal SIGKILL)" in error
    assert "drain.log" in error
    assert demo.processes() == []
