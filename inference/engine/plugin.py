"""Where capture is joined to vLLM: five places, found and checked when a process starts.

    InputProcessor.process_inputs    a tagged request asks the engine's core for its top k
    Scheduler.update_from_output     the core sends a step's captured rows in one piece
    OutputProcessor.process_outputs  the front end hands them to the requests' collectors
    RequestState.from_new_request    a tagged request gets a collector, and its answer no logprobs
    OutputProcessor.propagate_error  what had come counts when the engine's core dies

The workers are not touched: to them a tagged request is one that asks for logprobs. Loaded in every process
of vLLM through the entry point group ``vllm.general_plugins``. A version of vLLM that is not known is left
alone, with one line in the log: then the engine says so to the proxies, which ask for logprobs over the wire.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from inference.engine import VERSION, core, front
from inference.engine.recorder import Recorder
from inference.spool import Keys

log = logging.getLogger("vllm.flywheel")
KNOWN = ("0.26", "0.32")
"""Releases of vLLM that this was tested with, by their first two numbers."""
_WORKERS = ("Worker", "VllmWorker", "DPCoordinator")
"""How the processes are called that no request comes into or is scheduled in."""


class Capture:
    """This process's capture, as the endpoint tells it."""

    recorder: Recorder | None = None
    why_not = "the plugin is not loaded"
    vllm = ""
    is_installed = False


def install() -> None:
    """The entry point. Safe to call twice; raises nothing, since an engine must start without capture too."""
    if Capture.is_installed or _process().startswith(_WORKERS):
        return
    Capture.is_installed = True
    try:
        Capture.vllm = _vllm_version()
        _install()
        Capture.why_not = ""
    except Exception as error:
        Capture.why_not = f"vLLM {Capture.vllm or '?'}: {error}"
        # Once an engine: its core's process says nothing.
        level = logging.DEBUG if _process().startswith("EngineCore") else logging.ERROR
        log.log(level, "flywheel capture %s is off: %s", VERSION, Capture.why_not)


def spool_folder() -> Path:
    """FLYWHEEL_ENGINE_SPOOL, or engine-spool/ under FLYWHEEL_HOME."""
    home = Path(os.environ.get("FLYWHEEL_HOME", "var"))
    return Path(os.environ.get("FLYWHEEL_ENGINE_SPOOL") or home / "engine-spool").resolve()


def _process() -> str:
    return multiprocessing.current_process().name


def _vllm_version() -> str:
    from vllm import __version__  # noqa: PLC0415 - only in an engine's environment

    return str(__version__)


def _install() -> None:
    if not Capture.vllm.startswith(tuple(f"{known}." for known in KNOWN)):
        raise RuntimeError(f"this version is not one of those that are known ({', '.join(KNOWN)})")
    from vllm.v1.core.sched.scheduler import Scheduler  # noqa: PLC0415
    from vllm.v1.engine import EngineCoreOutput  # noqa: PLC0415
    from vllm.v1.engine.input_processor import InputProcessor  # noqa: PLC0415
    from vllm.v1.engine.output_processor import OutputProcessor, RequestState  # noqa: PLC0415
    from vllm.v1.outputs import LogprobsLists  # noqa: PLC0415

    _expect(Scheduler.update_from_output, "scheduler_output", "model_runner_output")
    _expect(InputProcessor.process_inputs, "request_id", "prompt", "params")
    _expect(RequestState.from_new_request, "tokenizer", "request", "prompt", "parent_req", "request_index")
    _expect(RequestState._new_completion_output, "token_ids", "finish_reason", "stop_reason")
    _expect(OutputProcessor.process_outputs, "engine_core_outputs")
    _expect(OutputProcessor.propagate_error, "e")
    limit = int(os.environ.get("FLYWHEEL_ENGINE_SPOOL_LIMIT", f"{20 << 30}"))
    keys = Keys.from_environment()
    recorder = Recorder(spool_folder(), vllm=Capture.vllm, limit_bytes=limit, keys=keys)
    Scheduler.update_from_output = core.keeping_together(
        Scheduler.update_from_output, EngineCoreOutput, LogprobsLists
    )
    InputProcessor.process_inputs = front.asking(InputProcessor.process_inputs, recorder)
    RequestState.from_new_request = classmethod(front.collecting(RequestState.from_new_request, recorder))
    OutputProcessor.process_outputs = front.handing_out(OutputProcessor.process_outputs)
    OutputProcessor.propagate_error = front.ending(OutputProcessor.propagate_error)
    Capture.recorder = recorder
    atexit.register(recorder.stop)


def _expect(function: Callable[..., Any], *names: str) -> None:
    found = [name for name in signature(function).parameters if name not in ("self", "cls")]
    if tuple(found[: len(names)]) != names:
        raise RuntimeError(f"{function.__qualname__} takes other arguments than expected: {', '.join(found)}")
