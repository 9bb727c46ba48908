"""Setting up says what is missing in one line, and does nothing twice."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.local import installing, stages
from flywheel.local.home import ROOT
from flywheel.local.stages import Stage


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
    set_up = Stage("set up", good, needs=())
    results = stages.run([set_up, Stage("lint", bad), Stage("types", good)])
    assert [(one.name, one.code) for one in results] == [("set up", 0), ("lint", 1), ("types", 0)]
    results = stages.run([Stage("set up", bad, needs=()), Stage("lint", good)])
    assert [(one.name, one.code) for one in results] == [("set up", 1), ("lint", None)]


def test_compiled_files_are_kept_whatever_the_shell_says(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    said = ("sh", "-c", "echo ${PYTHONDONTWRITEBYTECODE-kept}")
    stages.run([Stage("lint", said, needs=()), Stage("types", said, needs=(), beside=True)])
    assert capfd.readouterr().out.count("kept") == 2


@pytest.mark.slow
def test_what_is_set_up_beside_is_waited_for_by_what_needs_it(capfd: pytest.CaptureFixture[str]) -> None:
    slow = ("sh", "-c", "sleep 0.5; echo fetched; exit $0")
    for code, wheel in (("0", 0), ("1", None)):
        beside = Stage("engine", (*slow, code), needs=(), beside=True)
        needs = Stage("wheel", ("true",), needs=("engine",))
        results = stages.run([beside, Stage("lint", ("echo", "linted"), needs=()), needs])
        ended = [(one.name, one.code) for one in results]
        assert ended == [("lint", 0), ("engine", int(code)), ("wheel", wheel)]
        said = capfd.readouterr().out
        assert said.index("linted") < said.index("fetched"), "two do not talk at once"


@pytest.mark.slow
def test_a_stage_took_until_its_end_and_not_until_somebody_asked() -> None:
    beside = Stage("quick", ("true",), needs=(), beside=True)
    slow, quick = stages.run([beside, Stage("slow", ("sleep", "1"), needs=())])
    assert quick.seconds < slow.seconds


def test_what_nobody_waits_for_is_waited_for_at_the_end(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    beside = Stage("engine", ("sh", "-c", f"sleep 0.3; touch {mark}"), needs=(), beside=True)
    assert [one.code for one in stages.run([beside])] == [0]
    assert mark.exists()
