"""How a vLLM engine is started on a machine without a GPU: its command line and its environment.

Knows vLLM's flags, its filesystem resolver for adapters and what runs fast on two cores. Does not
start anything (processes.py does) and does not know what the adapters are or which is live.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BASE_MODEL = "smollm2-135m"
"""The base model's folder under `models` and its name over the API."""

MAX_LORA_RANK = 16
MAX_LOADED_ADAPTERS = 4
"""Enough for a live version, a canary and a shadow to run together."""
MAX_MODEL_LEN = 1024
MAX_TOP_LOGPROBS = 20


KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""For glibc: keep what was freed. PyTorch asks for large blocks and gives them back at every operation, and
each time the system fills their pages with zeros anew. An adapter gathers its weights so for every token."""


def has_bfloat16() -> bool:
    """Whether oneDNN, which the engine computes with, multiplies 16-bit floats on this processor. Where it
    does not, they take several times as long as 32-bit ones.
    """
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return True
    return flags >= {"avx512bw", "avx512vl", "avx512dq"} or "bf16" in flags


@dataclass(frozen=True)
class CpuEngine:
    """One vLLM on the CPU.

    python: the engine environment's interpreter. models: the folder that holds `base_model`.
    adapters: the folder whose subfolders are adapters, each served under its folder's name from its
    first use on, also after a restart. Its adapter_config.json must say `base_model` as
    base_model_name_or_path: the resolver compares the two.
    """

    python: Path
    models: Path
    adapters: Path
    port: int
    base_model: str = BASE_MODEL
    host: str = "127.0.0.1"
    kv_cache_gib: int = 2
    max_concurrent: int = 32
    spool: Path | None = None
    """Where its plugin keeps captured tokens; None: it has no plugin."""

    @property
    def address(self) -> str:
        """Base URL without a path."""
        return f"http://{self.host}:{self.port}"

    @property
    def health_url(self) -> str:
        """Answers 200 once the model is loaded."""
        return f"{self.address}/health"

    @property
    def folder(self) -> Path:
        """The working directory: the model is named relative to it, so that what a trainer writes into
        an adapter about its base does not depend on where this machine keeps its files."""
        return self.models

    def command(self) -> list[str]:
        """The argument list to run in `folder`."""
        return [
            str(self.python),
            "-m",
            # The package's `vllm` command looks for a distribution of another name and fails.
            "vllm.entrypoints.openai.api_server",
            *("--model", self.base_model),
            *("--served-model-name", self.base_model),
            *("--host", self.host),
            *("--port", str(self.port)),
            *("--dtype", "auto" if has_bfloat16() else "float32"),
            "--enforce-eager",  # starts in a third of the time; compiled mode gave wrong text
            *("--max-model-len", str(MAX_MODEL_LEN)),
            *("--max-num-seqs", str(self.max_concurrent)),
            *("--max-logprobs", str(MAX_TOP_LOGPROBS)),
            # Without it the model's own sampling defaults apply, and no request shows them.
            *("--generation-config", "vllm"),
            "--enable-lora",
            *("--max-lora-rank", str(MAX_LORA_RANK)),
            *("--max-loras", str(MAX_LOADED_ADAPTERS)),
            "--disable-uvicorn-access-log",
        ]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """`inherited` with what vLLM needs; nothing of the web environment's Python leaks in."""
        env = {name: value for name, value in inherited.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        env.update(
            VLLM_CPU_KVCACHE_SPACE=str(self.kv_cache_gib),
            VLLM_CPU_OMP_THREADS_BIND=_cores(),
            # The sampler compiles a function at the first request for logprobs, which ends the engine where
            # there is no C++ compiler, and gains nothing at this size.
            TORCHDYNAMO_DISABLE="1",
            **KEEP_MEMORY,
            VLLM_PLUGINS=",".join(self._plugins()),
            VLLM_LORA_RESOLVER_CACHE_DIR=str(self.adapters),
            VLLM_ALLOW_RUNTIME_LORA_UPDATING="True",
            VLLM_NO_USAGE_STATS="1",
            DO_NOT_TRACK="1",
            HF_HUB_OFFLINE="1",
        )
        if self.spool is not None:
            env["FLYWHEEL_ENGINE_SPOOL"] = str(self.spool)
        return env

    def _plugins(self) -> list[str]:
        ours = ["flywheel_cpu_adapters", *(["flywheel_capture"] if self.spool else [])]
        return ["lora_filesystem_resolver", *ours]


def _cores() -> str:
    """Every core this process may use, in vLLM's list form. Its own choice ("auto") leaves one core idle:
    on two cores, for 12 tokens, 22 answers/s against 18, and 5.6 against 4.0 through an adapter."""
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
