"""A copy of this checkout in which the hot path is compiled, as it is in the wheel; and what is run there.

    python -m flywheel.local.compiled -m pytest tests/inference/http1

Standard library only. Where one works nothing is compiled: what is imported is what is read. The copy is made
anew for each run, and compiled (by deploy/compiling.py, through pip) only when a compiled module has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from flywheel.local import installing
from flywheel.local.home import ROOT, WEB_PYTHON, Home
from flywheel.local.installing import InstallError

_COPIED = ("annotations", "bench", "deploy", "docs", "flywheel", "inference", "templates", "tests")
_ENVIRONMENTS = (".venv", ".venv-vllm")
_FILES = ("Makefile", "README.md", "manage.py", "pyproject.toml")


def modules() -> list[Path]:
    """The sources that are compiled, by their path in the checkout."""
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    return [Path(f"{name.replace('.', '/')}.py") for name in hooks["hooks"]["custom"]["modules"]]


def written() -> list[Path]:
    """The sources that are written in Cython, and each compiled to a module of its name."""
    return sorted(path.relative_to(ROOT) for path in ROOT.glob("inference/*.pyx"))


def make(home: Home) -> Path:
    """The copy's folder, compiled. Raises InstallError where this machine can't compile."""
    made = _compile(home)
    folder = home.root / "compiled"
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "*.so")
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in _FILES:
        shutil.copy(ROOT / name, folder / name)
    for name in _ENVIRONMENTS:
        (folder / name).symlink_to(ROOT / name)
    with zipfile.ZipFile(made) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith(".so")])
    for module in (*modules(), *written()):
        if not list((folder / module.parent).glob(f"{module.stem}.*.so")):
            raise InstallError(f"{module} was not compiled")
    return folder


def _compile(home: Home) -> Path:
    """The wheel that holds what was compiled."""
    others = (*written(), Path("deploy/compiling.py"))
    inputs = installing.hash_of(*(ROOT / one for one in (*modules(), *others)))
    folder = home.root / "compiled-wheel"
    if not installing.is_done(folder, inputs):
        installing.system_packages({"gcc": "gcc"})
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        command = [str(WEB_PYTHON), "-m", "pip", "wheel", "--progress-bar", "off", "--no-deps"]
        command += ["--wheel-dir", str(folder), str(ROOT)]
        installing.run("the hot path, compiled", command, "install-compiled", {"FLYWHEEL_COMPILE": "1"})
        installing.stamp(folder, inputs)
    return next(folder.glob("*.whl"))


def main(arguments: list[str]) -> int:
    """Command line: what to give to Python there. Exit as that does; 1 where this machine can't compile."""
    try:
        folder = make(Home.open(os.environ))
    except (InstallError, OSError) as error:
        print(f"compiled: {error}", file=sys.stderr)
        return 1
    if not arguments:
        print(folder)
        return 0
    return subprocess.call([str(WEB_PYTHON), *arguments], cwd=folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
