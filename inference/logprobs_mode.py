"""Which of vLLM's four logprobs modes an engine is in, decided from what it answers. Pure.

The same short prompt is asked twice, at temperature 1 and at 0.25, both times with ``top_k`` 1, which leaves
sampling no choice, and with a few alternatives at each token. What is shown then tells two things apart.

*Processed or raw.* Processed values are those that sampling used: all but one token are cut away (vLLM writes
-9999 for what is impossible). Raw ones know of neither cut nor temperature: nothing is cut, and the distance
between the likeliest and the least likely shown stays as it was. An engine that cuts nothing and yet moves
with the temperature is in none of the four modes.

*Logprobs or logits.* Logprobs are normalised. Of processed ones what was not cut sums to 1; logits do not,
and are four times as large at the lower temperature. Of raw ones only a few are seen, so there is a gap: a
sum over 1 is one of logits, and so is one that is less than the likeliest few of a million tokens must have.
A sum below 1 that holds most of it, at half of the tokens or more, is one of logprobs. Between these it is
not known, as when a model is sure of nothing. Logits could pass for logprobs by chance, were they to sum to
about 1 at one token after the other.

A mode is named only if each token that can be compared says the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

MODES = ("raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits")
UNKNOWN = ""
TEMPERATURES = (1.0, 0.25)
SHOWN = 5
"""Alternatives asked for. Routes take as many by default, so an engine that is in use gives them."""
_PROMPT = "1 2 3 4 5 6 7 8 9 10 11 12"
"""Of its continuation most models are sure, so that a few alternatives hold most of the mass."""
_CUT = -9999.0
_ENOUGH = 0.5
"""Distance of the shown that a change of the temperature would show on, in nats."""
_LARGEST_VOCABULARY = 1e6
_EXACT = 0.01
"""How far the sum of rounded probabilities may be from 1."""
_UNMOVED = "neither temperature nor top_k moves its values"


@dataclass(frozen=True, slots=True)
class Finding:
    """A mode, or UNKNOWN, and in words what says so or why it is not known."""

    mode: str
    why: str


@dataclass(frozen=True, slots=True)
class Position:
    """A generated token and the values shown at it, largest first."""

    token: str
    values: tuple[float, ...]

    @property
    def kept(self) -> tuple[float, ...]:
        """Those that were not cut away."""
        return tuple(value for value in self.values if value > _CUT)

    @property
    def distance(self) -> float:
        """Between the largest and the least shown."""
        return self.values[0] - self.values[-1]

    @property
    def mass(self) -> float:
        """The logarithm of what the kept sum to, were they logprobs: then at most 0."""
        most = self.values[0]
        return most + math.log(sum(math.exp(value - most) for value in self.kept))

    @classmethod
    def parse(cls, token: object, shown: object) -> Self:
        """From an entry of ``top_logprobs``. Raises ValueError on what tells nothing."""
        if not isinstance(shown, dict) or len(shown) < 2:
            raise ValueError("it shows no alternatives")
        values = sorted(map(float, shown.values()), reverse=True)
        if not all(map(math.isfinite, values)) or values[0] <= _CUT:
            raise ValueError("it shows values that are no numbers")
        return cls(str(token), tuple(values))


def request(model: str, temperature: float) -> dict[str, Any]:
    """For ``/v1/completions``. No seed: vLLM on a CPU ends where a seeded prompt's prefill is cut in two."""
    return {
        "model": model,
        "prompt": _PROMPT,
        "max_tokens": 4,
        "temperature": temperature,
        "top_k": 1,
        "logprobs": SHOWN,
        "return_tokens_as_token_ids": True,
    }


def positions(answer: Any) -> list[Position]:
    """What an answer shows, token by token. Raises ValueError on one that shows nothing."""
    try:
        told = answer["choices"][0]["logprobs"]
        found = [Position.parse(*one) for one in zip(told["tokens"], told["top_logprobs"], strict=True)]
    except (TypeError, LookupError) as error:
        raise ValueError("its answer has no logprobs") from error
    if not found:
        raise ValueError("its answer has no logprobs")
    return found


def decide(warm: Sequence[Position], cold: Sequence[Position]) -> Finding:
    """The mode, from the answers at the two ``TEMPERATURES``."""
    pairs = _comparable(warm, cold)
    if not pairs:
        return Finding(UNKNOWN, "the model finds several tokens equally likely, so nothing can be compared")
    cut = {len(one.kept) < len(one.values) for _, one in pairs}
    if cut == {True}:
        return _processed(pairs)
    grown = [one.distance / before.distance for before, one in pairs]
    if cut == {False} and all(0.8 < times < 1.25 for times in grown):
        return _raw([one for pair in pairs for one in pair])
    return Finding(UNKNOWN, "temperature moves its values and top_k does not cut them: no mode of vLLM's")


def _comparable(warm: Sequence[Position], cold: Sequence[Position]) -> list[tuple[Position, Position]]:
    """Tokens before which both answers are the same, and at which there is something to see."""
    found = []
    for before, after in zip(warm, cold, strict=False):
        if before.distance > _ENOUGH and after.distance > _ENOUGH:
            found.append((before, after))
        if before.token != after.token:
            break
    return found


def _processed(pairs: Sequence[tuple[Position, Position]]) -> Finding:
    """What was not cut sums to 1, or grew as the temperature fell."""
    if all(abs(one.mass) < _EXACT for _, one in pairs):
        return Finding("processed_logprobs", "what top_k leaves sums to 1")
    times = TEMPERATURES[0] / TEMPERATURES[1]
    if all(math.isclose(one.values[0], times * before.values[0], rel_tol=0.1) for before, one in pairs):
        return Finding("processed_logits", "what top_k leaves grows as temperature falls")
    return Finding(UNKNOWN, "top_k cuts its values, which neither sum to 1 nor go with the temperature")


def _raw(found: Sequence[Position]) -> Finding:
    """Too much or too little for probabilities, or most of 1."""
    masses = [one.mass for one in found]
    if max(masses) > _EXACT:
        return Finding("raw_logits", f"{_UNMOVED}, which sum to more than 1")
    # The sampled token may stand in the place of one that is likelier.
    if any(one.mass < math.log((len(one.values) - 1) / _LARGEST_VOCABULARY) for one in found):
        return Finding("raw_logits", f"{_UNMOVED}, which sum to next to nothing")
    if sum(mass > math.log(0.5) for mass in masses) * 2 >= len(masses):
        return Finding("raw_logprobs", f"{_UNMOVED}, which sum to most of 1")
    return Finding(UNKNOWN, f"{_UNMOVED}, which sum to too little to tell logprobs from logits")
