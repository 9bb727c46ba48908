"""Processes are started, waited for, told on when they die, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flywheel.local.supervisor import Process, StoppedError, Supervisor

SLEEPER = "import time; time.sleep(300)"
# A child of its own, as an engine's workers are; both deaf to SIGTERM.
FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pid = os.fork()
if pid:
    open(sys.argv[1], "w").write(str(pid))
time.sleep(300)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path, lambda text: None)
    yield found
    found.stop()


def process(name: str, code: str, *arguments: str, ready: Callable[[], bool] = lambda: True) -> Process:
    return Process(
        name, [sys.executable, "-c", code, *arguments], Path.cwd(), dict(os.environ), ready, patience=5
    )


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def test_who_died_why_and_the_end_of_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(process("steady", SLEEPER))
    supervisor.start(process("frail", "import sys; print('out of paper'); sys.exit(7)"))
    with pytest.raises(StoppedError, match=r"(?s)frail stopped by itself \(exit code 7\).*out of paper"):
        supervisor.watch()


def test_what_never_becomes_ready_is_named(supervisor: Supervisor) -> None:
    never = process("late", SLEEPER, ready=lambda: False)
    supervisor.start(Process(never.name, never.command, never.cwd, never.env, never.ready, patience=0.3))
    with pytest.raises(StoppedError, match="late is not ready"):
        supervisor.wait_ready(["late"])


def test_stopping_ends_the_deaf_and_their_children(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flywheel.local.supervisor._GRACE_SECONDS", 0.2)
    note = tmp_path / "pid"
    supervisor.start(process("family", FAMILY, str(note), ready=note.exists))
    supervisor.wait_ready(["family"])
    eventually(lambda: bool(note.read_text()))
    child = int(note.read_text())
    assert alive(child)
    supervisor.stop()
    eventually(lambda: not alive(child))


def test_a_killed_supervisor_takes_its_processes_along(tmp_path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from flywheel.local.supervisor import Process, Supervisor
found = Supervisor(Path({str(tmp_path)!r}), print)
command = [sys.executable, "-c", {SLEEPER!r}]
found.start(Process("one", command, Path.cwd(), dict(os.environ), lambda: True))
print(found._running["one"][1].pid, flush=True)
found.watch()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not alive(child))


def test_a_failing_command_and_one_whose_neighbour_died(supervisor: Supervisor, tmp_path: Path) -> None:
    env = dict(os.environ)
    failing = [sys.executable, "-c", "import sys; print('no such thing'); sys.exit(3)"]
    with pytest.raises(StoppedError, match=r"(?s)exit code 3.*no such thing"):
        supervisor.run(failing, tmp_path, env, "step")
    supervisor.start(process("frail", "pass"))
    with pytest.raises(StoppedError, match="frail"):
        supervisor.run([sys.executable, "-c", SLEEPER], tmp_path, env)
