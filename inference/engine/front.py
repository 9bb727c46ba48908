"""The engine's front end: a tagged request asks for its top k, and its rows go to a collector.

Each function here takes one of vLLM's and returns what stands in its place; inference.engine.plugin puts them
there. What goes wrong with capture is logged, and the request goes on without.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from inference.engine.collector import Collector
from inference.engine.core import OWN, REQUESTS, STEP
from inference.engine.form import ID, LOGPROB
from inference.engine.recorder import Recorder
from inference.engine.tag import KEY, Tag, TagError

log = logging.getLogger("vllm.flywheel")


def asking(plain: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
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
        most = config.max_logprobs
        _ask(recorder, sampling, request_id, config.get_vocab_size() if most < 0 else most)
        return request

    return process_inputs


def _ask(recorder: Recorder, sampling: Any, request_id: str, most: int) -> None:
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
        recorder.refused += 1
        log.debug("flywheel capture: a request is not captured: %s", error)
        del extra[KEY]
        sampling.extra_args = extra or None
        return
    # In vLLM's own numbering of choices, a prompt among several of a completion comes first.
    extra[OWN] = [_or_none(sampling.logprobs), _or_none(sampling.prompt_logprobs), _prompt_index(request_id)]
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


def collecting(plain: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    """``from_new_request`` that gives a tagged request's logprobs to a collector."""

    def from_new_request(cls: Any, *args: Any, **kwargs: Any) -> Any:
        state = plain(*args, **kwargs)
        given = signature(plain).bind_partial(*args, **kwargs).arguments if args else kwargs
        sampling = given["request"].sampling_params
        if sampling is not None and sampling.extra_args and OWN in sampling.extra_args:
            try:
                _attach(state, sampling, recorder)
            except Exception:
                log.exception("flywheel capture: a request goes on without")
        return state

    return from_new_request


def _attach(state: Any, sampling: Any, recorder: Recorder) -> None:
    """Join a collector to a request's state; for this one request only."""
    tag = Tag.parse(sampling.extra_args[KEY])
    own, own_prompt, prompt_index = sampling.extra_args[OWN]
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


def ending(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``propagate_error`` that keeps what every request had got so far."""

    def propagate_error(self: Any, e: Exception) -> Any:
        for state in list(self.request_states.values()):
            _end(state, "error")
        return plain(self, e)

    return propagate_error


def handing_out(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``process_outputs`` that first gives the collectors what the core kept together."""

    def process_outputs(self: Any, engine_core_outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if engine_core_outputs and engine_core_outputs[0].request_id == STEP:
            try:
                _hand_out(self.request_states, engine_core_outputs[0])
            except Exception:
                log.exception("flywheel capture: a step's tokens are lost")
        return plain(self, engine_core_outputs, *args, **kwargs)

    return process_outputs


def _hand_out(states: dict[str, Any], step: Any) -> None:
    ids, logprobs, counts, *_ = step.new_logprobs
    width = ids.shape[1]
    all_ids = np.asarray(ids, ID).tobytes()
    all_logprobs = np.asarray(logprobs, LOGPROB).tobytes()
    first = 0
    for request_id, count in zip(step.kv_transfer_params[REQUESTS], counts.tolist(), strict=True):
        state = states.get(request_id)
        collector: Collector | None = state.__dict__.get("flywheel_collector") if state is not None else None
        if collector is not None:
            collector.take_rows(all_ids, all_logprobs, first, count, width)
        first += count
