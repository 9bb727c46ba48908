"""Setting up says what is missing in one line, and does nothing twice."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.local import installing, stages
from flywheel.local.home import ROOT


def test_a_taken_port_ends_the_set_up_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        env = {**os.environ, "FLYWHEEL_HOME": str(tmp_path), "FLYWHEEL_WEB_PORT": str(other.getsockname()[1])}
        command = [sys.executable, "-m", "flywheel.local.install", "ports", "web", "engine"]
        failed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "FLYWHEEL_WEB_PORT" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_too_little_disk_is_said_with_both_numbers() -> None:
    with pytest.raises(installing.InstallError, match=r"1000000 GiB .* are free"):
        installing.need_space(1_000_000)


def test_a_failing_tool_is_quoted_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    command = [sys.executable, "-c", "import sys; print('no such version'); sys.exit(1)"]
    with pytest.raises(installing.InstallError, match=r"a thing failed: no such version .*thing\.log"):
        installing.run("a thing", command, "thing")


def test_an_environment_is_done_only_for_the_pins_it_was_made_from(tmp_path: Path) -> None:
    assert not installing.is_done(tmp_path, "pins 1")
    installing.stamp(tmp_path, "pins 1")
    assert installing.is_done(tmp_path, "pins 1")
    assert not installing.is_done(tmp_path, "pins 2")


def test_stages_go_on_after_a_failure_and_stop_without_a_set_up() -> None:
    good, bad = ("true",), ("false",)
    results = stages.run([("set up", good), ("lint", bad), ("types", good)])
    assert [(name, code) for name, _, code in results] == [("set up", 0), ("lint", 1), ("types", 0)]
    assert [name for name, _, _ in stages.run([("set up", bad), ("lint", good)])] == ["set up"]
