"""What people would use instead, each as its own documentation starts it, with its logging off.

Every peer gets the small answers, without logprobs. How they are installed is in install.py.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.proxy import upstream
from bench.proxy.install import BIN, PORTKEY
from bench.proxy.load import CONNECTIONS, Request
from bench.proxy.processes import Process, free_port


@dataclass(frozen=True)
class Engines:
    """Where the canned engines listen: what each kind of request is answered by."""

    json: int
    stream: int
    paced: int


@dataclass(frozen=True)
class Contender:
    """Something that can be measured."""

    name: str
    processes: tuple[Process, ...]
    requests: dict[str, Request]
    """By kind: json, stream, and paced where that is compared."""
    connections: int = CONNECTIONS

    def freeze(self) -> None:
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def stop(self) -> None:
        for process in self.processes:
            process.stop()

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self.processes)


def nginx(engines: Engines, folder: Path, on: set[int]) -> Contender:
    """The plain proxy pass: nothing is read, nothing is kept."""
    targets = asdict(engines)
    ports = {kind: free_port() for kind in targets}
    process = upstream.passing(folder, ports, targets, on)
    return Contender("nginx", (process,), _requests(ports))


def vllm_router(engines: Engines, folder: Path, on: set[int]) -> Contender:
    """The router that vLLM's project gives out. In Rust; one for each engine, as it can't route by name."""
    targets = asdict(engines)
    ports = {kind: free_port() for kind in targets}
    processes = []
    for kind, port in ports.items():
        command = [str(BIN / "vllm-router"), "--worker-urls", f"http://127.0.0.1:{targets[kind]}"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"]
        command += ["--log-level", "error", "--prometheus-port", str(free_port())]
        processes.append(_start("vllm-router", command, log=folder / f"{kind}.log", on=on, port=port))
    return Contender("vllm_router", tuple(processes), _requests(ports))


def mlflow(engines: Engines, folder: Path, on: set[int]) -> Contender:
    """MLflow's gateway with one worker."""
    port, config = free_port(), folder / "mlflow.yaml"
    endpoints = [
        {
            "name": name,
            "endpoint_type": "llm/v1/chat",
            "model": {
                "provider": "openai",
                "name": "m",
                "config": {"openai_api_key": "none", "openai_api_base": f"http://127.0.0.1:{to}/v1"},
            },
        }
        for name, to in (("json", engines.json), ("stream", engines.stream))
    ]
    config.write_text(json.dumps({"endpoints": endpoints}))  # JSON is YAML
    command = [str(BIN / "mlflow"), "gateway", "start", "--config-path", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "UVICORN_LOG_LEVEL": "error"}
    env |= {"PATH": f"{BIN}:{os.environ['PATH']}"}  # it calls uvicorn by name
    process = _start("mlflow", command, log=folder / "said.log", on=on, port=port, env=env)
    return Contender("mlflow", (process,), _requests({"json": port, "stream": port}))


def litellm(engines: Engines, folder: Path, on: set[int]) -> Contender:
    """LiteLLM's proxy, one worker, no database, no callbacks."""
    port, config = free_port(), folder / "litellm.yaml"
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": "openai/m",
                "api_base": f"http://127.0.0.1:{to}/v1",
                "api_key": "none",
            },
        }
        for name, to in (("json", engines.json), ("stream", engines.stream))
    ]
    quiet = {"telemetry": False, "set_verbose": False, "turn_off_message_logging": True}
    config.write_text(json.dumps({"model_list": models, "litellm_settings": quiet}))
    command = [str(BIN / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    # No key of its own: checking one would only slow it.
    env |= {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    process = _start("litellm", command, log=folder / "said.log", on=on, port=port, env=env)
    # Enough to keep it busy: over more, a single answer would take longer than a measurement.
    return Contender("litellm", (process,), _requests({"json": port, "stream": port}), connections=8)


def portkey(engines: Engines, folder: Path, on: set[int]) -> Contender:
    """Portkey's gateway; the engine's address comes with each request."""
    port = free_port()
    command = ["node", str(PORTKEY), f"--port={port}", "--headless"]
    env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    process = _start("portkey", command, log=folder / "said.log", on=on, port=port, env=env)
    requests = {
        kind: Request(
            port,
            "m",
            kind == "stream",
            (("x-portkey-provider", "openai"), ("x-portkey-custom-host", f"http://127.0.0.1:{to}/v1")),
        )
        for kind, to in (("json", engines.json), ("stream", engines.stream))
    }
    return Contender("portkey", (process,), requests)


PEERS: dict[str, Callable[[Engines, Path, set[int]], Contender]] = {
    "nginx": nginx,
    "vllm_router": vllm_router,
    "mlflow": mlflow,
    "portkey": portkey,
    "litellm": litellm,
}


def _requests(ports: dict[str, int]) -> dict[str, Request]:
    return {kind: Request(port, kind, kind != "json") for kind, port in ports.items()}


def _start(
    name: str, command: list[str], *, log: Path, on: set[int], port: int, env: dict[str, str] | None = None
) -> Process:
    process = Process(name, command, log=log, on=on, env=env, folder=log.parent)
    process.wait_for(port)
    return process
