"""As much of vLLM's front end as the plugin touches, with its names and the order in which it does things."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest


@dataclass
class Sampling:
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    extra_args: dict[str, Any] | None = None
    skip_reading_prefix_cache: bool = False


@dataclass
class Output:
    """What the engine's core sends of a request after a step."""

    ids: list[int]
    new_logprobs: Any = None
    new_prompt_logprobs_tensors: Any = None
    finish: str | None = None


@dataclass
class Processor:
    """vLLM's own: what the client sees."""

    num_logprobs: int | None
    num_prompt_logprobs: int | None
    logprobs: list[Any] | None = None
    prompt_logprobs: list[Any] | None = None
    cumulative_logprob: float | None = 0.0

    def update_from_output(self, output: Any) -> None:
        if output.new_logprobs is not None:
            assert self.logprobs is not None
            self.logprobs.append(output.new_logprobs)
        if output.new_prompt_logprobs_tensors is not None:
            assert self.prompt_logprobs is not None
            self.prompt_logprobs.append(output.new_prompt_logprobs_tensors)


@dataclass
class Detokenizer:
    ids: list[int] = field(default_factory=list)

    def num_output_tokens(self) -> int:
        return len(self.ids)


class Lists(NamedTuple):
    """A step's logprobs."""

    logprob_token_ids: Any
    logprobs: Any
    sampled_token_ranks: Any
    cu_num_generated_tokens: list[int] | None = None

    def slice_request(self, index: int, count: int) -> Lists:
        first = self.cu_num_generated_tokens[index] if self.cu_num_generated_tokens else index
        return Lists(*(one[first : first + count] for one in self[:3]))


@dataclass
class CoreOutput:
    request_id: str
    new_token_ids: list[int]
    new_logprobs: Any = None
    kv_transfer_params: dict[str, Any] | None = None


class Scheduler:
    """Makes a step's outputs from what the model gave; one front end."""

    def __init__(self, requests: dict[str, Any]) -> None:
        self.requests = requests

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        made = []
        for index, (name, ids) in enumerate(scheduler_output.items()):
            request, lists = self.requests[name], model_runner_output.logprobs
            asked = request.sampling_params.logprobs is not None and lists
            made.append(CoreOutput(name, ids, lists.slice_request(index, len(ids)) if asked else None))
        return {0: SimpleNamespace(outputs=made)}


def classes() -> tuple[type, type, type, type]:
    """Fresh ones, so that a test's patches end with it."""

    class InputProcessor:
        model_config = SimpleNamespace(
            max_logprobs=20, logprobs_mode="raw_logprobs", get_vocab_size=lambda: 1000
        )

        def process_inputs(self, request_id: str, prompt: Any, params: Any, supported_tasks: Any) -> Any:
            return SimpleNamespace(request_id=request_id, sampling_params=params, prompt_token_ids=prompt)

    class RequestState:
        def __init__(self, request: Any, parent_req: Any, request_index: int) -> None:
            sampling = request.sampling_params
            self.request_index, self.parent_req = request_index, parent_req
            self.prompt_token_ids = request.prompt_token_ids
            self.detokenizer = Detokenizer()
            self.logprobs_processor = Processor(
                sampling.logprobs,
                sampling.prompt_logprobs,
                None if sampling.logprobs is None else [],
                None if sampling.prompt_logprobs is None else [],
            )

        @classmethod
        def from_new_request(
            cls, tokenizer: Any, request: Any, prompt: Any, parent_req: Any, request_index: int
        ) -> Any:
            return cls(request, parent_req, request_index)

        def _new_completion_output(self, token_ids: Any, finish_reason: Any, stop_reason: Any) -> Any:
            return SimpleNamespace(ids=token_ids, logprobs=self.logprobs_processor.logprobs)

    class OutputProcessor:
        def __init__(self) -> None:
            self.request_states: dict[str, Any] = {}

        def process_outputs(self, engine_core_outputs: list[CoreOutput]) -> None:
            for output in engine_core_outputs:
                if (state := self.request_states.get(output.request_id)) is not None:
                    step(state, Output(output.new_token_ids, output.new_logprobs))

        def propagate_error(self, e: Exception) -> None:
            self.request_states.clear()

    return (
        InputProcessor,
        RequestState,
        OutputProcessor,
        type("Scheduler", (Scheduler,), dict(vars(Scheduler))),
    )


def step(state: Any, output: Output, kept: int | None = None) -> Any:
    """What the front end does with one output; ``kept`` of its tokens count, where a stop string cut them."""
    state.detokenizer.ids += output.ids[:kept]
    state.logprobs_processor.update_from_output(output)
    return state._new_completion_output(output.ids, output.finish, None)


def pretend(monkeypatch: pytest.MonkeyPatch, version: str) -> tuple[Any, Any, Any, Any]:
    """Make it importable as vLLM of that version; returns the classes."""
    found = classes()
    vllm: Any = ModuleType("vllm")
    vllm.__version__ = version
    inputs: Any = ModuleType("vllm.v1.engine.input_processor")
    outputs: Any = ModuleType("vllm.v1.engine.output_processor")
    engine: Any = ModuleType("vllm.v1.engine")
    plain: Any = ModuleType("vllm.v1.outputs")
    scheduling: Any = ModuleType("vllm.v1.core.sched.scheduler")
    inputs.InputProcessor, outputs.RequestState, outputs.OutputProcessor, scheduling.Scheduler = found
    engine.EngineCoreOutput, plain.LogprobsLists = CoreOutput, Lists
    modules = {one.__name__: one for one in (vllm, inputs, outputs, engine, plain, scheduling)}
    modules |= {name: ModuleType(name) for name in ("vllm.v1", "vllm.v1.core", "vllm.v1.core.sched")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return found
