"""The stages of `make check` and `make test`, one after the other, and how long each took.

Standard library only, since the first stage makes the environments that the others run in. A stage that
fails does not keep the later ones from running: one call tells everything that is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from flywheel.local.home import ROOT, WEB_PYTHON

_PYTHON = str(WEB_PYTHON)
_INSTALL = (sys.executable, "-m", "flywheel.local.install")
_PYTEST = (_PYTHON, "-m", "pytest", "-q")

_SLOW_FOLDERS = ("browser", "clients", "wheel")
_QUICKLY = (
    *("-n", "3", "--nomigrations", "--hypothesis-profile=quick"),
    *(f"--ignore=tests/{name}" for name in _SLOW_FOLDERS),
)
"""Three, since many tests wait; tables as the models say; fewer generated examples; and folders left unread
in which nothing is fast, since what they import takes seconds. `test` does it all."""

Stage = tuple[str, Sequence[str]]

LINT: list[Stage] = [
    ("lint", (_PYTHON, "-m", "ruff", "check", ".")),
    ("format", (_PYTHON, "-m", "ruff", "format", "--check", ".")),
    ("types", (_PYTHON, "-m", "mypy")),
    ("imports", (str(WEB_PYTHON.with_name("lint-imports")), "--no-cache")),
]
STAGES: dict[str, list[Stage]] = {
    "check": [
        ("set up", (*_INSTALL, "web")),
        *LINT,
        ("fast tests", (*_PYTEST, *_QUICKLY, "-m", "not slow and not browser and not wheel")),
    ],
    "test": [
        ("set up", (*_INSTALL, "web", "engine", "browser", "node")),
        *LINT,
        ("unit and integration tests", (*_PYTEST, "-n", "3", "-m", "not browser and not wheel")),
        ("browser tests", (*_PYTEST, "-n", "2", "-m", "browser")),
        ("the wheel on a real engine", (*_PYTEST, "-s", "-m", "wheel", "tests/wheel")),
    ],
}


def run(stages: Sequence[Stage]) -> list[tuple[str, float, int]]:
    """Run all; (name, seconds, exit code) of each. Nothing can run when the set-up fails."""
    results = []
    for name, command in stages:
        print(f"── {name}", flush=True)
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=False).returncode
        results.append((name, time.monotonic() - began, code))
        if code and name == "set up":
            break
    return results


def main(arguments: list[str]) -> int:
    """Command line: `check` or `test`. Exit 0 when every stage passed."""
    results = run(STAGES[arguments[0]])
    print()
    for name, seconds, code in results:
        print(f"{'ok' if code == 0 else 'FAILED':>6}  {seconds:6.1f} s  {name}")
    print(f"{'':>6}  {sum(seconds for _, seconds, _ in results):6.1f} s  in all")
    return int(any(code for _, _, code in results))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
