"""Several choices' tokens end to end, as arrays: what is made of tokens is made of a whole batch's at once.

An answer has some fifty tokens; array functions cost more for being called than for so few numbers. Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from inference.answer import Tokens

Whole = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ragged:
    """c choices with n positions in all, which have m alternatives in all."""

    ids: Whole
    """n: the sampled tokens."""
    logprobs: Doubles
    """n"""
    top_ids: Whole
    """m"""
    top_logprobs: Doubles
    """m"""
    counts: Whole
    """n: how many alternatives a position has."""
    starts: Whole
    """n: where they begin."""
    owner: Whole
    """m: the position that an alternative belongs to."""
    positions: Whole
    """c + 1: choice i has the positions from ``positions[i]`` to ``positions[i + 1]``."""
    alternatives: Whole
    """c + 1: and these alternatives."""

    @classmethod
    def of(cls, choices: Sequence[Tokens]) -> Self:
        """Raises ValueError when a choice's arrays do not fit each other."""
        for one in choices:
            count, offsets = len(one.ids), one.top_offsets
            if not count == len(one.logprobs) == len(offsets) - 1 or len(one.top_ids) != len(
                one.top_logprobs
            ):
                raise ValueError("a choice's tokens are arrays of different lengths")
            if offsets[0] or offsets[-1] != len(one.top_ids):
                raise ValueError("a choice's alternatives are cut in no order")
        positions = _bounds(len(one.ids) for one in choices)
        steps = np.diff(_joined("q", (one.top_offsets for one in choices)))
        # Between two choices lies the step from the end of the one's offsets to the other's beginning.
        counts = np.delete(steps, positions[1:-1] + np.arange(len(positions) - 2))
        if len(counts) and counts.min() < 0:
            raise ValueError("a choice's alternatives are cut in no order")
        return cls(
            ids=_joined("q", (one.ids for one in choices)),
            logprobs=_joined("d", (one.logprobs for one in choices)),
            top_ids=_joined("q", (one.top_ids for one in choices)),
            top_logprobs=_joined("d", (one.top_logprobs for one in choices)),
            counts=counts,
            starts=np.cumsum(counts) - counts,
            owner=np.repeat(np.arange(len(counts)), counts),
            positions=positions,
            alternatives=_bounds(len(one.top_ids) for one in choices),
        )

    def __len__(self) -> int:
        return len(self.positions) - 1


def _joined(kind: str, lists: Iterable[list[Any]]) -> Any:
    joined = array(kind)
    for one in lists:
        joined.fromlist(one)
    return np.frombuffer(joined, dtype=kind)


def _bounds(sizes: Iterable[int]) -> Whole:
    return np.array(list(accumulate(sizes, initial=0)), dtype=np.int64)
