"""What the benchmark needs besides the proxy: nginx, wrk, and the peers at pinned versions.

``.venv-bench/`` holds the peers from PyPI (peers.txt) and py-spy, ``.venv-bench/node/`` the one from npm
(node/package-lock.json). A peer that can't be installed is no reason to measure nothing: the reason is told,
and reported with the figures.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from flywheel.local import installing
from flywheel.local.home import ROOT
from flywheel.local.installing import InstallError

_HERE = Path(__file__).parent
_VENV = ROOT / ".venv-bench"
_NODE = _VENV / "node"
BIN = _VENV / "bin"
PORTKEY = _NODE / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_FROM_PYPI = ("vllm_router", "mlflow", "litellm")


def tools() -> None:
    """nginx and wrk, from the system's packages. Raises InstallError; nothing can be measured without."""
    installing.system_packages({"nginx": "nginx-light", "wrk": "wrk"})


def peers(names: list[str]) -> dict[str, str]:
    """Install those that are named; gives why, by name, for those that could not be."""
    missing: dict[str, str] = {}
    from_pypi = [name for name in names if name in _FROM_PYPI]
    if from_pypi and (why := _try(python_packages)):
        missing |= dict.fromkeys(from_pypi, why)
    if "portkey" in names and (why := _try(_node_packages)):
        missing["portkey"] = why
    return missing


def python_packages() -> None:
    """The environment of the peers from PyPI. Raises InstallError."""
    inputs = installing.hash_of(_HERE / "peers.txt")
    if not installing.is_done(_VENV, inputs):
        installing.need_space(3)
        python = installing.make_venv(_VENV)
        arguments = ["--no-deps", "-r", str(_HERE / "peers.txt")]
        installing.pip(python, "LiteLLM, MLflow and vllm-router", arguments, "install-peers")
        installing.stamp(_VENV, inputs)


def _node_packages() -> None:
    inputs = installing.hash_of(_HERE / "node" / "package-lock.json")
    if not installing.is_done(_NODE, inputs):
        shutil.copytree(_HERE / "node", _NODE, dirs_exist_ok=True)
        installing.npm(_NODE, "the Portkey gateway", "install-portkey")
        installing.stamp(_NODE, inputs)


def _try(step: Callable[[], None]) -> str:
    """Why it can't be done, or nothing."""
    try:
        step()
    except (InstallError, OSError) as error:
        return str(error)
    return ""
