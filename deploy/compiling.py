"""Compiles the hot path into the wheel: mypyc makes C of the modules that pyproject.toml
names, Cython of what goes over bytes one by one.

The sources stay what they are, and run without this where no C compiler is: the same, slower. So nothing is
compiled where one works on them, only into the wheel that `pip install .` makes. FLYWHEEL_COMPILE=0 leaves
it out, 1 insists on it. As a script it compiles the modules that it is given, in the current folder.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REQUIRES = ["cython==3.3.1", "mypy==2.4.1", "setuptools==80.9.0"]
_MYPY = "[mypy]\nignore_missing_imports = True\nfollow_imports = silent\n"


def missing() -> str:
    """What keeps this machine from compiling; nothing when it can."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        return f"no C compiler ({compiler})"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return "" if headers.exists() else f"no headers of Python ({headers})"


def compile_in(root: Path, modules: list[str]) -> list[Path]:
    """Compile modules of a tree beside their sources; what was made, by its path in the tree."""
    (root / "mypy.ini").write_text(_MYPY)
    subprocess.run([sys.executable, str(Path(__file__).resolve()), *modules], cwd=root, check=True)
    shutil.rmtree(root / "build")
    return sorted(path.relative_to(root) for path in root.rglob("*.so"))


def _build(modules: list[str]) -> None:
    """In the current folder."""
    from Cython.Build import cythonize
    from mypyc.build import mypycify
    from setuptools import Distribution, Extension

    paths = [f"{name.replace('.', '/')}.py" for name in modules]
    compiled = mypycify(paths, opt_level="3", debug_level="0")
    gnu = [("_GNU_SOURCE", "1")]
    written = [
        Extension(f"inference.{path.stem}", [str(path)], define_macros=gnu, extra_compile_args=["-O3"])
        for path in sorted(Path("inference").glob("*.pyx"))
    ]
    made = Distribution({"name": "flywheel", "packages": [], "ext_modules": [*compiled, *cythonize(written)]})
    command: Any = made.get_command_obj("build_ext")
    command.inplace, command.parallel = True, os.cpu_count()
    command.ensure_finalized()
    command.run()


class Compiling(BuildHookInterface[Any]):
    """Hatch's hook."""

    PLUGIN_NAME = "custom"
    _folder: str | None = None

    def dependencies(self) -> list[str]:
        """What building needs besides hatchling."""
        return REQUIRES if self._is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is made: compile a copy, and have what came of it packed."""
        if version == "editable" or not self._is_wanted():
            return
        self._folder = tempfile.mkdtemp(prefix="flywheel-compiling-")
        root = Path(self._folder)
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "migrations")
        shutil.copytree(Path(self.root, "inference"), root / "inference", ignore=ignored)
        try:
            made = compile_in(root, self.config["modules"])
        except subprocess.CalledProcessError as error:
            if _wish() == "1":
                raise
            self.app.display_warning(f"the hot path is not compiled: {error}")
            return
        build_data["pure_python"], build_data["infer_tag"] = False, True
        build_data["force_include"] |= {str(root / path): str(path) for path in made}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After it."""
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def _is_wanted(self) -> bool:
        if self.target_name != "wheel" or _wish() == "0":
            return False
        why = missing()
        if why and _wish() == "1":
            raise RuntimeError(f"the hot path can't be compiled: {why}")
        if why:
            self.app.display_warning(f"the hot path is not compiled: {why}")
        return not why


def _wish() -> str:
    return os.environ.get("FLYWHEEL_COMPILE", "")


if __name__ == "__main__":
    _build(sys.argv[1:])
