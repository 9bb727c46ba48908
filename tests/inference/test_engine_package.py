"""The plugin is a package of its own: it holds all that it imports, and nothing that an engine has not."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "inference" / "engine"
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())


def unpack(to: Path) -> None:
    """What the wheel would install."""
    for source, target in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        found, place = FOLDER / source, to / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, place)


def test_the_package_imports_with_nothing_but_itself_and_what_it_names(tmp_path: Path) -> None:
    unpack(tmp_path)
    targets = [target for group in PROJECT["project"]["entry-points"].values() for target in group.values()]
    code = f"""
import sys, importlib
sys.path.insert(0, {str(tmp_path)!r})
for module, name in {[target.split(":") for target in targets]!r}:
    assert callable(getattr(importlib.import_module(module), name))
ours = {{name for name in sys.modules if name.startswith("inference")}}
assert all(sys.modules[name].__file__.startswith({str(tmp_path)!r}) for name in ours), ours
theirs = {{name.partition(".")[0] for name in sys.modules}}
names = "django clickhouse_connect aiohttp opentelemetry vllm torch prometheus_client".split()
print(*sorted(theirs.intersection(names)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_its_requirements_are_pinned_for_the_demonstrations_engine() -> None:
    pins = (ROOT / "deploy" / "engine-cpu.txt").read_text().replace("_", "-").lower()
    for requirement in PROJECT["project"]["dependencies"]:
        name = requirement.partition(">=")[0]
        assert f"\n{name}==" in pins, name
