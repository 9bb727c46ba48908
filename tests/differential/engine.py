"""A vLLM on the CPU for the differential test alone: a generated request may kill it, and it starts again.

Without adapters, so that it survives being asked for a prompt's logprobs; with a parser for tool calls.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

from flywheel.local.engine import CpuEngine
from flywheel.local.home import ENGINE_PYTHON, Home
from tests.inference.double import free_port

_ADAPTERS = ("--enable-lora", "--max-lora-rank", "16", "--max-loras", "4")
_TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


class OwnEngine:
    """Started when entered, and gone with its children when left."""

    def __init__(self, log: Path) -> None:
        home = Home.open(os.environ)
        self._engine = CpuEngine(ENGINE_PYTHON, home.models, log.parent, free_port())
        self._log, self.deaths = log, 0
        self.url = self._engine.address

    def __enter__(self) -> "OwnEngine":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def restart(self) -> None:
        """After a death."""
        self.deaths += 1
        self._stop()
        self._start()

    def is_healthy(self) -> bool:
        try:
            with urlopen(self._engine.health_url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _start(self) -> None:
        command = self._engine.command()
        first = command.index(_ADAPTERS[0])
        command[first : first + len(_ADAPTERS)] = _TOOLS
        env = self._engine.environment(os.environ)
        env["VLLM_PLUGINS"] = ""  # no adapters, so nothing that resolves them
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._engine.folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 300
        while not self.is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the engine did not start; its log is {self._log}")
            time.sleep(0.5)

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
