"""The stages of `make check` and `make test`, one after the other, and how long each took.

Standard library only, since the first stage makes the environments that the others run in. A stage that
fails does not keep the later ones from running, unless they stand on it: one call tells everything that is
wrong. Most of a set-up is waiting for downloads, and the rest keeps one core busy: those of the engine and of
Node go on beside the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from flywheel.local.home import ROOT, WEB_PYTHON

_PYTHON = str(WEB_PYTHON)
_INSTALL = (sys.executable, "-m", "flywheel.local.install")
_PYTEST = (_PYTHON, "-m", "pytest", "-q")

_SLOW_FOLDERS = ("browser", "clients", "wheel")
_BY_THREE = ("-n", "3", "--dist", "worksteal")
"""On two cores, since many tests wait. Stealing, or the long ones of one file keep one busy at the end."""
_QUICKLY = (
    *_BY_THREE,
    *("--nomigrations", "--hypothesis-profile=quick"),
    *(f"--ignore=tests/{name}" for name in _SLOW_FOLDERS),
)
"""Tables as the models say; fewer generated examples; and folders left unread in which nothing is fast, since
what they import takes seconds. `test` does it all."""
_HERE = "not browser and not wheel and not compiled"
_COMPILED = (_PYTHON, "-m", "flywheel.local.compiled", *_PYTEST[1:])
_HOT_NAMES = (
    *("ahead", "allowance", "capture", "capture_engine", "compiled", "counters", "cutting", "cycles"),
    *("engine_record", "exchange", "following", "intake", "kept", "layouts", "listing", "policies", "proxy"),
    *("ranking", "spool", "surfaces", "tallies", "upstream"),
    "uuid7",
)
_HOT = (
    "tests/inference/http1",
    "tests/faults/test_endings.py",
    *(f"tests/inference/test_{name}.py" for name in _HOT_NAMES),
)
"""Of every module that is compiled, and of the whole that they make."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A command, and the stages (by name) without which it is not run."""

    name: str
    command: Sequence[str]
    needs: tuple[str, ...] = ("set up",)
    beside: bool = False
    """Begun as soon as what it needs is done, and waited for only by those that need it, and at the end."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a stage ended; ``code`` None: not run, for want of what it needs."""

    name: str
    seconds: float
    code: int | None


_NODE, _ENGINE = "set up Node's packages", "set up the engine"
LINT: list[Stage] = [
    Stage("lint", (_PYTHON, "-m", "ruff", "check", ".")),
    Stage("format", (_PYTHON, "-m", "ruff", "format", "--check", ".")),
    Stage("types", (_PYTHON, "-m", "mypy"), beside=True),
    Stage("imports", (str(WEB_PYTHON.with_name("lint-imports")), "--no-cache"), beside=True),
]
STAGES: dict[str, list[Stage]] = {
    "check": [
        Stage("set up", (*_INSTALL, "web"), needs=()),
        *LINT,
        Stage(
            "fast tests",
            (*_PYTEST, *_QUICKLY, "-m", f"not slow and {_HERE}"),
        ),
    ],
    "test": [
        Stage(_NODE, (*_INSTALL, "node"), needs=(), beside=True),
        Stage(_ENGINE, (*_INSTALL, "engine", "model"), needs=(), beside=True),
        Stage("set up", (*_INSTALL, "web", "browser"), needs=()),
        *LINT,
        Stage(
            "unit and integration tests",
            (
                *_PYTEST,
                *_BY_THREE,
                "-m",
                "not browser and not wheel and not compiled",
                "--ignore=tests/clients",
            ),
        ),
        Stage(
            "the hot path, compiled",
            (
                _PYTHON,
                "-m",
                "flywheel.local.compiled",
                *_PYTEST[1:],
                *_BY_THREE,
                "-m",
                "not interpreted",
                *_HOT,
            ),
        ),
        Stage("clients that people use", (*_PYTEST, "tests/clients"), needs=("set up", _NODE)),
        Stage("browser tests", (*_PYTEST, "-n", "2", "-m", "browser"), needs=("set up", _NODE)),
        Stage(
            "the wheel on a real engine",
            (*_PYTEST, "-s", "-m", "wheel", "tests/wheel", "tests/flywheel/test_trainer.py"),
            needs=("set up", _ENGINE),
        ),
    ],
}


class _Running:
    """A stage under way beside others. Its output is kept, so that two do not talk at once."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._began = time.monotonic()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        self._process = subprocess.Popen(
            stage.command, cwd=ROOT, env=_environment(), stdout=self._said, stderr=subprocess.STDOUT
        )
        self._seconds = 0.0
        # Nobody may wait for it until long after it has ended.
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def wait(self) -> Result:
        """Says what it said, once it has ended."""
        print(f"── {self.stage.name} (begun earlier)", flush=True)
        self._watching.join()
        code = self._process.wait()
        self._said.seek(0)
        print(self._said.read().decode(errors="replace"), end="", flush=True)
        return Result(self.stage.name, self._seconds, code)

    def _watch(self) -> None:
        self._process.wait()
        self._seconds = time.monotonic() - self._began

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._said.close()


def run(stages: Sequence[Stage]) -> list[Result]:
    """Run all that can be; how each ended, in the order in which they did."""
    results: dict[str, Result] = {}
    running: dict[str, _Running] = {}
    try:
        for stage in stages:
            for name in stage.needs:
                if name in running:
                    results[name] = running[name].wait()
                    running.pop(name).stop()
            if any(results[name].code != 0 for name in stage.needs):
                results[stage.name] = Result(stage.name, 0.0, None)
            elif stage.beside:
                running[stage.name] = _Running(stage)
            else:
                results[stage.name] = _run(stage)
        for name, one in running.items():
            results[name] = one.wait()
    finally:
        for one in running.values():
            one.stop()
    return list(results.values())


def _environment() -> dict[str, str]:
    """Tests start hundreds of processes: compiled files are kept, even where a shell says otherwise."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _run(stage: Stage) -> Result:
    print(f"── {stage.name}", flush=True)
    began = time.monotonic()
    code = subprocess.run(stage.command, cwd=ROOT, env=_environment(), check=False).returncode
    return Result(stage.name, time.monotonic() - began, code)


def main(arguments: list[str]) -> int:
    """Command line: `check` or `test`. Exit 0 when every stage passed."""
    began = time.monotonic()
    results = run(STAGES[arguments[0]])
    print()
    words = {None: "not run", 0: "ok"}
    for one in results:
        print(f"{words.get(one.code, 'FAILED'):>7}  {one.seconds:6.1f} s  {one.name}")
    print(f"{'':>7}  {time.monotonic() - began:6.1f} s  in all")
    return int(any(one.code != 0 for one in results))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
