"""The whole demonstration on real parts: start, turn, stop. Minutes long; a smaller turn than the default."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel.local.home import PORTS, ROOT

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(1500)]
STAGES = ["traffic", "queue", "judgements", "dataset", "training", "evaluation", "rollout", "new traffic"]


class Demo:
    """`make demo` without the installing, in a folder and on ports of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {**os.environ, "FLYWHEEL_HOME": str(root), **free_ports()}
        self.env.pop("UPSTREAM", None)
        self.said: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def install_model(self) -> None:
        command = [sys.executable, "-m", "flywheel.local.install", "model"]
        subprocess.run(command, cwd=ROOT, env=self.env, check=True)

    def start(self) -> None:
        command = [sys.executable, "-m", "flywheel.local.demo", "start"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()
        while not any("Ctrl-C stops everything" in line for line in self.said):
            assert self.process.poll() is None, "the demonstration ended; what it said stands above"
            time.sleep(0.2)

    def _listen(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            print(line, end="", flush=True)
            self.said.append(line)

    def turn(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "flywheel.local.demo", "turn", *arguments]
        said = []
        with subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, text=True) as turn:
            assert turn.stdout is not None
            for line in turn.stdout:
                print(line, end="", flush=True)
                said.append(line)
        assert turn.returncode == 0
        return said

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=90)

    def processes(self) -> list[str]:
        """Command lines of everything that runs with this home."""
        needle = f"FLYWHEEL_HOME={self.root}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return [line for line in found if line]


def free_ports() -> dict[str, str]:
    found = {}
    sockets = []
    for variable, _ in PORTS.values():
        probe = socket.create_server(("127.0.0.1", 0))
        sockets.append(probe)
        found[variable] = str(probe.getsockname()[1])
    for probe in sockets:
        probe.close()
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    found = Demo(tmp_path_factory.mktemp("home"))
    found.install_model()
    found.start()
    yield found
    if found.process and found.process.poll() is None:
        found.stop()


def test_the_first_start_prints_people_with_passwords_links_and_a_key(demo: Demo) -> None:
    said = "".join(demo.said)
    assert said.count("/sign-in/") >= 2
    assert "as admin, password " in said
    assert "as coder, password " in said
    assert "api_key=fw-" in said


def test_the_wheel_turns_to_a_better_model_and_loses_nothing(demo: Demo) -> None:
    said = demo.turn("--train", "128", "--exam", "500")
    result = json.loads(said[-1])
    assert result["n"] == 500
    assert result["decision"] == "ship"
    assert result["p_value"] < 1e-10
    assert result["adapter_accuracy"] > result["majority_accuracy"]
    assert result["p_value_over_majority"] < 0.01
    assert result["exchanges_lost"] == 0
    assert list(result["seconds"]) == STAGES
    assert len(result["weights"]) == 64


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(demo: Demo) -> None:
    assert demo.processes()
    assert demo.stop() == 0
    assert demo.processes() == []
