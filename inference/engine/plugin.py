"""Where capture is joined to vLLM: three places of its front end, found and checked when a process starts.

    InputProcessor.process_inputs   a tagged request asks the engine's core for its top k
    RequestState.from_new_request   its logprobs go to a collector instead of into the answer
    OutputProcessor.propagate_error what had come counts when the engine's core dies

The engine's core and its workers are not touched: to them a tagged request is one that asks for logprobs.
Loaded in every process of vLLM through the entry point group ``vllm.general_plugins``; does something only
where requests come in. A version of vLLM that is not known is left alone, with one line in the log: then the
engine says so to the proxies, and they ask for logprobs over the wire.
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

from inference.engine import VERSION
from inference.engine.collector import Collector
from inference.engine.recorder import Recorder
from inference.engine.tag import KEY, Tag, TagError

log = logging.getLogger("vllm.flywheel")
KNOWN = ("0.26", "0.32")
"""Releases of vLLM that this was tested with, by their first two numbers."""
_OWN = "flywheel_own"
"""What the client asked for itself, on the way from the first place to the second."""
_OTHERS = ("EngineCore", "Worker", "VllmWorker", "DPCoordinator")
"""How the processes are called that no request comes into."""


class Capture:
    """This process's capture, as the endpoint tells it."""

    recorder: Recorder | None = None
    why_not = "the plugin is not loaded"
    vllm = ""
    most_alternatives = 0
    refused_tags = 0


def install() -> None:
    """The entry point. Safe to call twice; raises nothing, since an engine must start without capture too."""
    if Capture.recorder is not None or multiprocessing.current_process().name.startswith(_OTHERS):
        return
    try:
        Capture.vllm = _vllm_version()
        _install()
        Capture.why_not = ""
    except Exception as error:
        Capture.why_not = f"vLLM {Capture.vllm or '?'}: {error}"
        log.error("flywheel capture %s is off: %s", VERSION, Capture.why_not)


def spool_folder() -> Path:
    """FLYWHEEL_ENGINE_SPOOL, or engine-spool/ under FLYWHEEL_HOME."""
    home = Path(os.environ.get("FLYWHEEL_HOME", "var"))
    return Path(os.environ.get("FLYWHEEL_ENGINE_SPOOL") or home / "engine-spool").resolve()


def _vllm_version() -> str:
    from vllm import __version__  # noqa: PLC0415 - only in an engine's environment

    return str(__version__)


def _install() -> None:
    if not Capture.vllm.startswith(tuple(f"{known}." for known in KNOWN)):
        raise RuntimeError(f"this version is not one of those that are known ({', '.join(KNOWN)})")
    from vllm.v1.engine.input_processor import InputProcessor  # noqa: PLC0415
    from vllm.v1.engine.output_processor import OutputProcessor, RequestState  # noqa: PLC0415

    _expect(InputProcessor.process_inputs, "request_id", "prompt", "params")
    _expect(RequestState.from_new_request, "tokenizer", "request", "prompt", "parent_req", "request_index")
    _expect(RequestState._new_completion_output, "token_ids", "finish_reason", "stop_reason")
    _expect(OutputProcessor.propagate_error, "e")
    recorder = Recorder(
        spool_folder(),
        vllm=Capture.vllm,
        limit_bytes=int(os.environ.get("FLYWHEEL_ENGINE_SPOOL_LIMIT", f"{20 << 30}")),
    )
    InputProcessor.process_inputs = _asking(InputProcessor.process_inputs, recorder)
    RequestState.from_new_request = classmethod(_collecting(RequestState.from_new_request, recorder))
    OutputProcessor.propagate_error = _ending(OutputProcessor.propagate_error)
    Capture.recorder = recorder
    atexit.register(recorder.stop)


def _expect(function: Callable[..., Any], *names: str) -> None:
    found = [name for name in signature(function).parameters if name not in ("self", "cls")]
    if tuple(found[: len(names)]) != names:
        raise RuntimeError(f"{function.__qualname__} takes other arguments than expected: {', '.join(found)}")


def _asking(plain: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    """``process_inputs`` that has a tagged request's top k computed."""

    def process_inputs(
        self: Any, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any
    ) -> Any:
        request = plain(self, request_id, prompt, params, *args, **kwargs)
        sampling = request.sampling_params
        if sampling is None or not sampling.extra_args or KEY not in sampling.extra_args:
            return request
        config = self.model_config
        if not recorder.logprobs_mode:
            recorder.logprobs_mode = str(config.logprobs_mode)
        _ask(
            sampling, request_id, config.get_vocab_size() if config.max_logprobs < 0 else config.max_logprobs
        )
        return request

    return process_inputs


def _ask(sampling: Any, request_id: str, most: int) -> None:
    """Note what the client asked for, and ask for as much as it and the tag want together."""
    extra = dict(sampling.extra_args)
    try:
        tag = Tag.parse(extra[KEY])
        if getattr(sampling, "logprob_token_ids", None) or -1 in (
            sampling.logprobs,
            sampling.prompt_logprobs,
        ):
            raise TagError("the request asks for chosen tokens or the whole vocabulary itself")
    except TagError as error:
        Capture.refused_tags += 1
        log.debug("flywheel capture: a request is not captured: %s", error)
        del extra[KEY]
        sampling.extra_args = extra or None
        return
    # In vLLM's own numbering of choices, a prompt among several of a completion comes first.
    extra[_OWN] = [_or_none(sampling.logprobs), _or_none(sampling.prompt_logprobs), _prompt_index(request_id)]
    sampling.extra_args = extra
    if tag.top_k is not None:
        sampling.logprobs = max(min(tag.top_k, most), sampling.logprobs or 0)
    if tag.prompt_top_k is not None:
        sampling.prompt_logprobs = max(min(tag.prompt_top_k, most), sampling.prompt_logprobs or 0)
        # A prompt's cached part would have no logprobs.
        sampling.skip_reading_prefix_cache = True


def _or_none(asked: int | None) -> int:
    return -1 if asked is None else asked


def _prompt_index(request_id: str) -> int:
    """The place of a completion's prompt among several, which vLLM appends to its id."""
    if not request_id.startswith("cmpl-"):
        return 0
    number = request_id.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _collecting(plain: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    """``from_new_request`` that gives a tagged request's logprobs to a collector."""

    def from_new_request(cls: Any, *args: Any, **kwargs: Any) -> Any:
        state = plain(*args, **kwargs)
        given = signature(plain).bind_partial(*args, **kwargs).arguments if args else kwargs
        sampling = given["request"].sampling_params
        if sampling is not None and sampling.extra_args and _OWN in sampling.extra_args:
            try:
                _attach(state, sampling, recorder)
            except Exception:
                log.exception("flywheel capture: a request goes on without")
        return state

    return from_new_request


def _attach(state: Any, sampling: Any, recorder: Recorder) -> None:
    """Join a collector to a request's state; for this one request only."""
    tag = Tag.parse(sampling.extra_args[KEY])
    own, own_prompt, prompt_index = sampling.extra_args[_OWN]
    width = state.parent_req.n if state.parent_req is not None else 1
    choice = tag.choice + prompt_index * width + state.request_index
    first = state.request_index == 0 and tag.top_k is not None
    collector = recorder.collector(tag, choice, list(state.prompt_token_ids or ()) if first else [])
    processor = state.logprobs_processor
    _show_only(processor, own, own_prompt)
    plain_update, plain_output = processor.update_from_output, state._new_completion_output

    def update_from_output(output: Any) -> None:
        if output.new_logprobs is not None:
            collector.take(output.new_logprobs)
        if output.new_prompt_logprobs_tensors is not None and tag.prompt_top_k is not None:
            collector.take_prompt(output.new_prompt_logprobs_tensors, tag.prompt_top_k)
        if own >= 0 or own_prompt >= 0:
            plain_update(_Asked(output, own >= 0, own_prompt >= 0))

    def new_completion_output(token_ids: Any, finish_reason: Any, stop_reason: Any) -> Any:
        made = plain_output(token_ids, finish_reason, stop_reason)
        if finish_reason is not None:
            _end(state, str(finish_reason))
        return made

    processor.update_from_output = update_from_output
    state._new_completion_output = new_completion_output
    state.flywheel_collector = collector


def _show_only(processor: Any, own: int, own_prompt: int) -> None:
    """Leave in vLLM's own processor what the client asked for."""
    if own < 0:
        processor.num_logprobs = processor.logprobs = processor.cumulative_logprob = None
    else:
        processor.num_logprobs = own
    if own_prompt < 0:
        processor.num_prompt_logprobs = processor.prompt_logprobs = None
    else:
        processor.num_prompt_logprobs = own_prompt


class _Asked:
    """An output of the engine's core with only those logprobs that the client asked for."""

    def __init__(self, output: Any, logprobs: bool, prompt: bool) -> None:
        self.new_logprobs = output.new_logprobs if logprobs else None
        self.new_prompt_logprobs_tensors = output.new_prompt_logprobs_tensors if prompt else None
        self.prompt_token_id_logprobs = getattr(output, "prompt_token_id_logprobs", None)


def _end(state: Any, reason: str) -> None:
    """A choice has ended. What was joined to its state refers to it: let go, or only a cycle holds both."""
    collector: Collector | None = state.__dict__.pop("flywheel_collector", None)
    if collector is None:
        return
    state.__dict__.pop("_new_completion_output", None)
    state.logprobs_processor.__dict__.pop("update_from_output", None)
    try:
        collector.end(reason, state.detokenizer.num_output_tokens())
    except Exception:
        log.exception("flywheel capture: a record is lost")


def _ending(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``propagate_error`` that keeps what every request had got so far."""

    def propagate_error(self: Any, e: Exception) -> Any:
        for state in list(self.request_states.values()):
            _end(state, "error")
        return plain(self, e)

    return propagate_error
