"""A demonstration in a folder and on ports of its own, for the tests that start a real one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from flywheel.local.engine import BASE_MODEL
from flywheel.local.home import PORTS, ROOT, Home
from flywheel.local.model import RECIPE


class Demo:
    """`make demo` without the installing, in a folder and on ports of its own."""

    def __init__(self, root: Path, upstream: str = "") -> None:
        self.root = root
        self.env = {**os.environ, "FLYWHEEL_HOME": str(root), **free_ports(), "UPSTREAM": upstream}
        self.said: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def install_model(self) -> None:
        """The one that this checkout's set-up has made, or one made now."""
        made = Home.open({}).models / BASE_MODEL
        if (made / RECIPE).is_file():
            shutil.copytree(made, self.root / "models" / BASE_MODEL)
            return
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
        with self.process.stdout as lines:
            for line in lines:
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
        return list(self._found().values())

    def pid_of(self, part: str) -> int:
        """The process whose command line has `part`."""
        return next(pid for pid, line in self._found().items() if part in line)

    def _found(self) -> dict[int, str]:
        needle = f"FLYWHEEL_HOME={self.root}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return {pid: line for pid, line in found.items() if line}


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
