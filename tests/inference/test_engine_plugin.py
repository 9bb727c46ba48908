"""The plugin's three places, on as much of vLLM as they touch. On a real one: tests/wheel/."""

import atexit
import gc
import logging
import multiprocessing
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from inference import captured
from inference.captured import CapturedTokens
from inference.engine import endpoint, plugin
from inference.engine.plugin import Capture
from inference.engine.tag import KEY, Tag
from inference.spool import Keys, SpoolReader
from tests.inference import tiny_vllm
from tests.inference.tiny_vllm import Output, Sampling

EXCHANGE = "01938f5e-7a00-7000-8000-00000000beef"


def rows(first: int, count: int = 1, width: int = 6) -> Any:
    ids = np.arange(first, first + count * width, dtype=np.int32).reshape(count, width)
    return ids, -ids.astype(np.float32), np.ones(count, np.int32), None


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name, value in (("recorder", None), ("why_not", "the plugin is not loaded"), ("is_installed", False)):
        monkeypatch.setattr(Capture, name, value)
    monkeypatch.setenv("FLYWHEEL_ENGINE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr(atexit, "register", lambda _: None)
    yield
    if Capture.recorder is not None:
        Capture.recorder.stop()


class Front:
    """A front end with the plugin in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str = "0.32.0") -> None:
        self.inputs, self.states, self.outputs, self.schedulers = tiny_vllm.pretend(monkeypatch, version)
        plugin.install()

    def begin(
        self,
        sampling: Sampling,
        request_id: str = "chatcmpl-1",
        index: int = 0,
        n: int = 1,
        prompt: Any = (5, 6),
    ) -> Any:
        request = self.inputs().process_inputs(request_id, list(prompt), sampling, ("generate",))
        parent = SimpleNamespace(n=n) if n > 1 else None
        return self.states.from_new_request(
            tokenizer=None, request=request, prompt="", parent_req=parent, request_index=index
        )


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Front:
    return Front(monkeypatch)


def tagged(top_k: int | None = 5, **changes: Any) -> dict[str, Any]:
    names = ("logprobs", "prompt_logprobs")
    sampling: dict[str, Any] = {name: changes.pop(name) for name in names if name in changes}
    return {**sampling, "extra_args": {KEY: Tag(EXCHANGE, 0, 1_000, top_k, **changes).values(), "theirs": 1}}


def stored(tmp_path: Path) -> list[CapturedTokens]:
    assert Capture.recorder is not None
    Capture.recorder.stop()
    Capture.recorder = None
    with SpoolReader(tmp_path / "spool") as reader:
        return [captured.read(raw) for _, raw in reader.read(100)]


async def test_a_tagged_request_is_captured_and_its_answer_shows_nothing(
    front: Front, tmp_path: Path
) -> None:
    sampling = Sampling(**tagged(5))
    state = front.begin(sampling)
    assert sampling.logprobs == 5
    made = tiny_vllm.step(state, Output([0], rows(0)))
    assert made.logprobs is None
    tiny_vllm.step(state, Output([6], rows(6), finish="length"))
    (found,) = stored(tmp_path)
    assert (found.tokens.ids, found.finish, found.complete) == ([0, 6], "length", True)
    assert found.tokens.top_ids == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert found.prompt_ids == [5, 6]
    assert found.logprobs_mode == "raw_logprobs"


async def test_with_a_key_the_engines_spool_is_encrypted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", "0f" * 32)
    state = Front(monkeypatch).begin(Sampling(**tagged(5)))
    tiny_vllm.step(state, Output([0], rows(0), finish="stop"))
    assert Capture.recorder is not None
    Capture.recorder.stop()
    Capture.recorder = None
    (segment,) = (tmp_path / "spool").glob("*.segment")
    assert b"\x28\xb5\x2f\xfd" not in segment.read_bytes()
    with SpoolReader(tmp_path / "spool", Keys.parse("0f" * 32)) as reader:
        assert [captured.read(raw).tokens.ids for _, raw in reader.read(10)] == [[0]]


async def test_a_bad_key_leaves_capture_off_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", "hunter2")
    Front(monkeypatch)
    assert Capture.recorder is None
    assert "64 hexadecimal digits" in Capture.why_not
    assert "hunter2" not in caplog.text


async def test_a_request_without_a_tag_is_left_as_it_is(front: Front, tmp_path: Path) -> None:
    sampling = Sampling(logprobs=2, extra_args={"theirs": 1})
    state = front.begin(sampling)
    made = tiny_vllm.step(state, Output([0], rows(0), finish="stop"))
    assert len(made.logprobs) == 1
    assert sampling.extra_args == {"theirs": 1}
    assert "_new_completion_output" not in state.__dict__


async def test_a_client_that_asked_for_logprobs_gets_them_too(front: Front, tmp_path: Path) -> None:
    sampling = Sampling(**tagged(5, logprobs=2))
    state = front.begin(sampling)
    assert (sampling.logprobs, state.logprobs_processor.num_logprobs) == (5, 2)
    made = tiny_vllm.step(state, Output([0], rows(0), finish="stop"))
    assert len(made.logprobs) == 1
    assert stored(tmp_path)[0].tokens.top_offsets == [0, 5]


async def test_a_client_that_asked_for_more_gets_more_and_the_row_what_was_wanted(
    front: Front, tmp_path: Path
) -> None:
    sampling = Sampling(**tagged(2, logprobs=5))
    state = front.begin(sampling)
    assert sampling.logprobs == 5
    tiny_vllm.step(state, Output([0], rows(0), finish="stop"))
    assert stored(tmp_path)[0].tokens.top_ids == [1, 2]


async def test_no_more_is_asked_for_than_the_engine_allows(front: Front) -> None:
    sampling = Sampling(**tagged(500))
    front.begin(sampling)
    assert sampling.logprobs == 20


async def test_choices_are_numbered_as_the_answer_numbers_them(front: Front, tmp_path: Path) -> None:
    for prompt in (0, 1):
        for index in (0, 1):
            state = front.begin(Sampling(**tagged()), f"cmpl-abc-{prompt}", index, n=2)
            tiny_vllm.step(state, Output([0], rows(0), finish="stop"))
    found = stored(tmp_path)
    assert [one.tokens.choice for one in found] == [0, 1, 2, 3]
    assert [len(one.prompt_ids) for one in found] == [2, 0, 2, 0]


async def test_an_abort_keeps_what_came(front: Front, tmp_path: Path) -> None:
    state = front.begin(Sampling(**tagged()))
    tiny_vllm.step(state, Output([0], rows(0)))
    # An abort makes a last output without tokens.
    state._new_completion_output([], "abort", None)
    (found,) = stored(tmp_path)
    assert (found.tokens.ids, found.finish, found.complete) == ([0], "abort", True)


async def test_a_stop_string_cuts_what_a_draft_brought_past_it(front: Front, tmp_path: Path) -> None:
    state = front.begin(Sampling(**tagged()))
    tiny_vllm.step(state, Output([0, 6, 12], rows(0, 3), finish="stop"), kept=2)
    (found,) = stored(tmp_path)
    assert (found.tokens.ids, found.complete) == ([0, 6], True)


async def test_the_death_of_the_core_keeps_what_came(front: Front, tmp_path: Path) -> None:
    output = front.outputs()
    output.request_states["a"] = state = front.begin(Sampling(**tagged()))
    output.request_states["b"] = front.begin(Sampling())
    tiny_vllm.step(state, Output([0], rows(0)))
    output.propagate_error(RuntimeError("core died"))
    assert output.request_states == {}
    (found,) = stored(tmp_path)
    assert (found.tokens.ids, found.finish) == ([0], "error")


async def test_a_prompt_is_scored_past_the_cache_and_only_for_the_record(
    front: Front, tmp_path: Path
) -> None:
    sampling = Sampling(**tagged(None, prompt_top_k=2, prompt_from=2, source="teacher", choice=1))
    state = front.begin(sampling)
    assert (sampling.logprobs, sampling.prompt_logprobs, sampling.skip_reading_prefix_cache) == (
        None,
        2,
        True,
    )
    tiny_vllm.step(state, Output([9], None, rows(0, 4, 3)[:3], finish="length"))
    assert state.logprobs_processor.prompt_logprobs is None
    (found,) = stored(tmp_path)
    assert (found.tokens.source, found.tokens.choice, found.tokens.ids) == ("teacher", 1, [3, 6, 9])


@pytest.mark.parametrize(
    "asked",
    [{"logprobs": -1}, {"prompt_logprobs": -1}, {"logprob_token_ids": [1, 2]}, {"extra_args": {KEY: "x"}}],
)
async def test_what_cannot_be_captured_goes_on_without(
    front: Front, tmp_path: Path, asked: dict[str, Any]
) -> None:
    sampling = Sampling(**{**tagged(), **asked})
    before = (sampling.logprobs, sampling.prompt_logprobs)
    front.begin(sampling)
    assert (sampling.logprobs, sampling.prompt_logprobs) == before
    assert KEY not in (sampling.extra_args or {})
    assert endpoint.state()["refused"] == 1


async def test_a_finished_request_is_held_by_nothing(front: Front) -> None:
    state = front.begin(Sampling(**tagged()))
    tiny_vllm.step(state, Output([0], rows(0), finish="stop"))
    gone = weakref.ref(state)
    gc.disable()
    try:
        del state
        assert gone() is None
    finally:
        gc.enable()


async def test_a_failure_of_capture_is_no_failure_of_the_request(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Capture.recorder is not None
    monkeypatch.setattr(Capture.recorder, "_close", lambda *_: 1 / 0)
    state = front.begin(Sampling(**tagged()))
    assert tiny_vllm.step(state, Output([0], rows(0), finish="stop")).ids == [0]


@pytest.mark.parametrize("version", ["0.25.1", "0.33.0", "1.0.0", "dev"])
def test_an_unknown_version_is_left_alone_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    inputs, states, *_ = tiny_vllm.pretend(monkeypatch, version)
    before = (inputs.process_inputs, states.__dict__["from_new_request"])
    with caplog.at_level(logging.INFO):
        plugin.install()
    assert (inputs.process_inputs, states.__dict__["from_new_request"]) == before
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert version in caplog.text
    assert "0.32" in caplog.text
    told = endpoint.state()
    assert told["capture"] is False
    assert version in told["why"]


def test_a_known_version_that_is_built_otherwise_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, states, *_ = tiny_vllm.pretend(monkeypatch, "0.32.1")
    states._new_completion_output = lambda self, everything: None
    before = inputs.process_inputs
    plugin.install()
    assert inputs.process_inputs is before
    assert "other arguments" in endpoint.state()["why"]


@pytest.mark.parametrize("name", ["VllmWorker-1", "WorkerProc-0"])
def test_the_engines_workers_are_not_touched(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    inputs, *_ = tiny_vllm.pretend(monkeypatch, "0.32.0")
    before = inputs.process_inputs
    monkeypatch.setattr(multiprocessing.current_process(), "name", name)
    plugin.install()
    assert inputs.process_inputs is before


async def test_the_engine_tells_its_version_and_its_counts(front: Front) -> None:
    tiny_vllm.step(front.begin(Sampling(**tagged())), Output([0], rows(0), finish="stop"))
    told = endpoint.state()
    assert (told["capture"], told["why"], told["vllm"]) == (True, "", "0.32.0")
    assert (told["records"], told["tokens"], told["dropped"]) == (1, 1, {})


async def test_a_steps_rows_travel_in_one_piece_and_come_to_their_requests(
    front: Front, tmp_path: Path
) -> None:
    """Three captured requests, one of which shows logprobs too, and one that is none of ours; with drafts."""
    kinds = {
        "quiet": Sampling(**tagged(5)),
        "fewer": Sampling(**tagged(1)),
        "own": Sampling(**tagged(5, logprobs=2)),
        "theirs": Sampling(logprobs=3),
    }
    output = front.outputs()
    for name, sampling in kinds.items():
        output.request_states[name] = front.begin(sampling, name)
    core = front.schedulers(
        {name: SimpleNamespace(sampling_params=one, client_index=0) for name, one in kinds.items()}
    )
    ids, logprobs, ranks, _ = rows(0, 5)
    result = SimpleNamespace(
        req_ids=list(kinds), logprobs=tiny_vllm.Lists(ids, logprobs, ranks, [0, 2, 3, 4, 5])
    )
    tokens: dict[str, list[int]] = {"quiet": [0, 6], "fewer": [12], "own": [18], "theirs": [24]}
    made = core.update_from_output(tokens, result)[0].outputs
    assert [one.request_id for one in made] == ["flywheel-step", *kinds]
    assert [one.new_logprobs is not None for one in made] == [True, False, False, True, True]
    output.process_outputs(made)
    for state in output.request_states.values():
        state._new_completion_output([], "stop", None)
    assert len(output.request_states["theirs"].logprobs_processor.logprobs) == 1
    found = {tuple(one.tokens.ids): one for one in stored(tmp_path)}
    assert set(found) == {(0, 6), (12,), (18,)}
    assert all(one.complete for one in found.values())
    assert found[0, 6].tokens.top_ids == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert found[12,].tokens.top_ids == [13]
    assert found[18,].tokens.top_ids == [19, 20, 21, 22, 23]


async def test_a_step_without_captured_requests_is_left_as_it_is(front: Front) -> None:
    core = front.schedulers({"theirs": SimpleNamespace(sampling_params=Sampling(logprobs=3), client_index=0)})
    ids, logprobs, ranks, _ = rows(0, 1)
    result = SimpleNamespace(req_ids=["theirs"], logprobs=tiny_vllm.Lists(ids, logprobs, ranks))
    assert [one.request_id for one in core.update_from_output({"theirs": [0]}, result)[0].outputs] == [
        "theirs"
    ]
