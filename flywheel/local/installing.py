"""How something is brought onto this machine: an environment, Python, npm and system packages.

Standard library only. Shows progress, writes what the tools said into a log of the home's folder, and ends in
one clear line when something is missing. What is installed, and why, is in install.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flywheel.local.home import ROOT, Home

GIB = 1 << 30


class InstallError(RuntimeError):
    """Something is missing; the text says what and what to do, in one line."""


def make_venv(venv: Path) -> Path:
    """An environment, unless it is there; gives its interpreter."""
    python = venv / "bin" / "python"
    if (venv / "bin" / "pip").exists():
        return python
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallError(
            f"python3-venv is missing: as root, `apt-get install python3-venv` (Python {version})"
        )
    run(f"environment {venv.name}", [sys.executable, "-m", "venv", str(venv)], f"install{venv.name}")
    return python


def pip(python: Path, what: str, arguments: list[str], log: str) -> None:
    """Python packages into an environment."""
    run(what, [str(python), "-m", "pip", "install", "--progress-bar", "off", *arguments], log)


def npm(folder: Path, what: str, log: str) -> None:
    """The npm packages that a folder's lock names, into its ``node_modules``."""
    missing = [name for name in ("node", "npm") if not shutil.which(name)]
    if missing:
        raise InstallError(
            f"{' and '.join(missing)} missing (Node 20 or newer): as root, `apt-get install nodejs npm`"
        )
    command = ["npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    run(what, command, log)


def system_packages(needed: dict[str, str]) -> None:
    """Debian packages by the program that each brings, where that program is missing."""
    missing = {program: package for program, package in needed.items() if not _which(program)}
    if not missing:
        return
    wanted = " ".join(missing.values())
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        names = " and ".join(missing)
        raise InstallError(
            f"{names} {'is' if len(missing) == 1 else 'are'} missing: as root, `apt-get install {wanted}`"
        )
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run("the list of system packages", ["apt-get", "update"], "install-apt", env)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *wanted.split()]
    run(" and ".join(missing), command, f"install-{next(iter(missing))}", env)


def _which(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def run(what: str, command: Sequence[str], log: str, env: dict[str, str] | None = None) -> None:
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


def need_space(gib: int) -> None:
    """Raises InstallError when less than that is free."""
    free = shutil.disk_usage(ROOT).free
    if free < gib * GIB:
        raise InstallError(f"{gib} GiB of disk are needed in {ROOT}; {free / GIB:.1f} GiB are free")


def hash_of(*paths: Path) -> str:
    """What a step depends on."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def is_done(folder: Path, inputs: str) -> bool:
    """Whether the step that made ``folder`` ended, from the same inputs."""
    stamp = folder / "installed"
    return stamp.is_file() and stamp.read_text() == inputs


def stamp(folder: Path, inputs: str) -> None:
    """Say that it did."""
    (folder / "installed").write_text(inputs)
