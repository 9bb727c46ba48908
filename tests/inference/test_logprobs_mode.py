"""The mode is decided from what real engines answered, and is not guessed where it can't be known."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference import logprobs_mode
from inference.logprobs_mode import MODES, UNKNOWN, Position, decide, positions
from tests.inference.moded import RECORDED

CUT = -9999.0


def answered(mode: str, temperature: str) -> list[Position]:
    return positions({"choices": [{"logprobs": RECORDED[mode][temperature]}]})


def at(*values: float, token: str = "a") -> list[Position]:
    return [Position(token, tuple(sorted(values, reverse=True)))]


def shifted(found: list[Position], by: float) -> list[Position]:
    return [Position(one.token, tuple(value + by for value in one.values)) for one in found]


@pytest.mark.parametrize("mode", MODES)
def test_what_vllm_answered_in_each_mode(mode: str) -> None:
    found = decide(answered(mode, "1.0"), answered(mode, "0.25"))
    assert found.mode == mode
    assert found.why


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("other", MODES)
def test_two_engines_behind_one_address_are_not_called_by_the_wrong_name(mode: str, other: str) -> None:
    """A balancer may ask another engine the second time: whatever is said is one of the two, or nothing."""
    assert decide(answered(mode, "1.0"), answered(other, "0.25")).mode in (mode, other, UNKNOWN)


def test_logits_may_all_be_negative() -> None:
    warm, cold = (shifted(answered("raw_logits", one), -90) for one in ("1.0", "0.25"))
    assert decide(warm, cold).mode == "raw_logits"


@pytest.mark.parametrize(
    ("warm", "cold", "why"),
    [
        (at(-7, -8, -8, -8, -8), at(-7, -8, -8, -8, -8), "too little"),
        (at(-0.2, -2, -4), at(-0.001, -7.2, -15.2), "no mode of vLLM's"),
        (at(-0.2, CUT, CUT), at(-0.3, CUT, CUT), "neither sum to 1"),
        (at(-2, -2, -2, -2), at(-2, -2, -2, -2), "equally likely"),
        ([], [], "equally likely"),
    ],
    ids=["sure of nothing", "scaled only", "cut and not normalised", "all alike", "nothing"],
)
def test_what_can_not_be_known_is_not_said(warm: list[Position], cold: list[Position], why: str) -> None:
    found = decide(warm, cold)
    assert found.mode == UNKNOWN
    assert why in found.why


def test_two_tokens_equally_likely_stay_both() -> None:
    half = -math.log(2)
    assert decide(at(half, half, CUT), at(half, half, CUT)).mode == "processed_logprobs"
    assert decide(at(9, 9, CUT), at(36, 36, CUT)).mode == "processed_logits"


def test_rounding_and_batching_move_values_a_little() -> None:
    warm, cold = at(-0.21, -2.5, -4.1), at(-0.17, -2.6, -4.4)
    assert decide(warm, cold).mode == "raw_logprobs"


def test_answers_are_compared_up_to_where_they_part() -> None:
    warm = at(-0.2, -2, -4) + at(-0.1, -3, -9, token="b")
    cold = at(-0.2, -2, -4, token="c") + at(-0.1, -30, -90, token="b")
    assert decide(warm, cold).mode == "raw_logprobs"
    parted_later = at(-0.2, -2, -4) + at(-0.1, -30, -90, token="b")
    assert decide(warm, parted_later).mode == UNKNOWN


@given(
    st.lists(st.floats(-8, 8), min_size=6, max_size=60),
    st.floats(2, 60) | st.floats(-120, -30),
    st.sampled_from(MODES),
)
def test_a_sampler_in_any_mode_is_never_called_another(logits: list[float], shift: float, mode: str) -> None:
    """Unless its logits happen to sum to 1, which ``shift`` keeps them from."""
    raised = [one - max(logits) + shift for one in logits]
    assume(sorted(raised)[-2] < max(raised))
    shown = [at(*sampled(raised, mode, temperature)) for temperature in logprobs_mode.TEMPERATURES]
    assert decide(*shown).mode in (mode, UNKNOWN)


def sampled(logits: list[float], mode: str, temperature: float) -> list[float]:
    """What vLLM's sampler shows, with top_k 1."""
    if mode.startswith("processed"):
        scaled = [one / temperature for one in logits]
        logits = [one if one == max(scaled) else -math.inf for one in scaled]
    if mode.endswith("logprobs"):
        most = max(logits)
        total = most + math.log(sum(math.exp(one - most) for one in logits))
        logits = [one - total for one in logits]
    return [max(one, CUT) for one in sorted(logits, reverse=True)[: logprobs_mode.SHOWN]]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"choices": []},
        {"choices": [{"logprobs": None}]},
        {"choices": [{"logprobs": {"tokens": [], "top_logprobs": []}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": []}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": [None]}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": [{"a": -0.1}]}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": [{"a": -0.1, "b": None}]}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": [{"a": CUT, "b": CUT}]}}]},
    ],
)
def test_an_answer_without_alternatives_tells_nothing(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"logprobs|alternatives|numbers|shorter"):
        positions(answer)
