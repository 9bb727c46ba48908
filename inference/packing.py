"""A choice's tokens as the columns they are stored in, a third of the plain arrays' size, and back. Pure.

What makes them small: the sampled token is nearly always one of the alternatives, so it is kept as its place
among them. And an engine that computes in 16 bits gives logprobs whose differences within a position are
multiples of a small power of two, so one of them is kept whole (the anchor) and the others as whole steps
down from one to the next. A logprob that is no such step keeps the difference of its bits (``rest``), so
every float32 comes back to the last bit, whatever engine it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.answer import Tokens

OUTSIDE = 255
"""The place of a sampled token that is none of the alternatives; those are at most 254 a position."""
_UNITS = range(2, 13)
"""Exponents that are tried: a step is 2 to the power of minus the exponent."""
_MOST_STEPS = 1 << 29
Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

COLUMNS = (
    *("unit", "token.anchor", "token.place", "token.alternatives", "alternative", "step"),
    *("outside.id", "outside.step", "rest"),
)


@dataclass(frozen=True, slots=True)
class Packed:
    """Values of COLUMNS: arrays of n positions, of all alternatives, and of the sampled that are none."""

    unit: int
    anchors: list[float]
    """n float32: the logprob of the likeliest alternative, or the sampled token's where there is none."""
    places: list[int]
    """n: the sampled token's place among its alternatives from 0, or OUTSIDE."""
    alternatives: list[int]
    """n: how many there are."""
    top_ids: list[int]
    steps: list[int]
    """Down from one alternative to the next: of a position with k of them, k - 1."""
    outside_ids: list[int]
    outside_steps: list[int]
    """Down from the anchor."""
    rest: list[int]
    """Of all alternatives, then of those outside; empty when it would be zeros."""

    @property
    def row(self) -> tuple[Any, ...]:
        return (
            *(self.unit, self.anchors, self.places, self.alternatives, self.top_ids, self.steps),
            *(self.outside_ids, self.outside_steps, self.rest),
        )


def pack(tokens: Tokens) -> Packed:
    """Raises ValueError when the arrays do not fit each other."""
    sampled = np.asarray(tokens.logprobs, dtype=np.float32)
    tops = np.asarray(tokens.top_logprobs, dtype=np.float32)
    offsets = np.asarray(tokens.top_offsets, dtype=np.int64)
    counts = np.diff(offsets)
    if not len(tokens.ids) == len(sampled) == len(counts) or len(tops) != len(tokens.top_ids):
        raise ValueError("a choice's tokens are arrays of different lengths")
    if len(counts) and (
        offsets[0] or offsets[-1] != len(tops) or counts.min() < 0 or counts.max() >= OUTSIDE
    ):
        raise ValueError("a choice's alternatives are cut in no order")
    anchors = sampled.copy()
    anchors[counts > 0] = tops[_firsts(offsets)]
    ids, top_ids = np.asarray(tokens.ids, dtype=np.int64), np.asarray(tokens.top_ids, dtype=np.int64)
    places = _places(ids, sampled, top_ids, tops, offsets)
    outside = np.flatnonzero(places == OUTSIDE)
    values = np.concatenate((tops, sampled[outside]))
    above = np.concatenate((np.repeat(anchors, counts), anchors[outside]))
    unit, steps = _steps(above, values)
    rest = _bits(values) - _bits(_down(above, steps, unit))
    return Packed(
        unit=unit,
        anchors=anchors.tolist(),
        places=places.tolist(),
        alternatives=counts.tolist(),
        top_ids=tokens.top_ids,
        steps=_gaps(steps[: len(tops)], offsets).tolist(),
        outside_ids=ids[outside].tolist(),
        outside_steps=steps[len(tops) :].tolist(),
        rest=rest.tolist() if rest.any() else [],
    )


def unpack(choice: int, source: str, columns: Sequence[Any]) -> Tokens:
    """The tokens of a row; ``columns`` are the values of COLUMNS."""
    packed = Packed(*columns)
    anchors = np.asarray(packed.anchors, dtype=np.float32)
    places = np.asarray(packed.places, dtype=np.int64)
    counts = np.asarray(packed.alternatives, dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    top_ids = np.asarray(packed.top_ids, dtype=np.int64)
    outside = places == OUTSIDE
    steps = np.concatenate(
        (_sums(np.asarray(packed.steps, dtype=np.int64), offsets), np.asarray(packed.outside_steps))
    ).astype(np.int64)
    above = np.concatenate((np.repeat(anchors, counts), anchors[outside]))
    values = _down(above, steps, packed.unit)
    if len(packed.rest):
        values = (_bits(values) + np.asarray(packed.rest, dtype=np.int32)).view(np.float32)
    tops, others = values[: len(top_ids)], values[len(top_ids) :]
    ids = np.zeros(len(places), dtype=np.int64)
    logprobs = np.zeros(len(places), dtype=np.float32)
    ids[outside], logprobs[outside] = packed.outside_ids, others
    inside = (offsets[:-1] + places)[~outside]
    ids[~outside], logprobs[~outside] = top_ids[inside], tops[inside]
    return Tokens(
        choice, source, ids.tolist(), logprobs.tolist(), top_ids.tolist(), tops.tolist(), offsets.tolist()
    )


def _places(ids: Whole, sampled: Floats, top_ids: Whole, tops: Floats, offsets: Whole) -> Whole:
    """Where each sampled token stands among its alternatives; one with another logprob there is another."""
    counts = np.diff(offsets)
    same = (top_ids == np.repeat(ids, counts)) & (_bits(tops) == np.repeat(_bits(sampled), counts))
    at = np.flatnonzero(same)[::-1]
    position = np.searchsorted(offsets, at, side="right") - 1
    found = np.full(len(ids), OUTSIDE, dtype=np.int64)
    # Backwards, so that the first of several counts.
    found[position] = at - offsets[position]
    return found


def _steps(above: Floats, values: Floats) -> tuple[int, Whole]:
    """The coarsest unit in which all values are whole steps below, and how many; else the finest's."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = above.astype(np.float64) - values.astype(np.float64)
    distance[~np.isfinite(distance) | (np.abs(distance) >= _MOST_STEPS >> _UNITS[-1])] = 0.0
    for unit in _UNITS:
        steps = np.rint(np.ldexp(distance, unit)).astype(np.int64)
        if (_bits(_down(above, steps, unit)) == _bits(values)).all():
            break
    return unit, steps


def _down(above: Floats, steps: Whole, unit: int) -> Floats:
    return (above.astype(np.float64) - np.ldexp(steps.astype(np.float64), -unit)).astype(np.float32)


def _bits(values: Floats) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(values).view(np.int32)


def _gaps(steps: Whole, offsets: Whole) -> Whole:
    """From one alternative to the next within each position; its first is the anchor itself."""
    return np.delete(np.diff(steps, prepend=0), _firsts(offsets))


def _sums(gaps: Whole, offsets: Whole) -> Whole:
    """What ``_gaps`` was made of."""
    firsts = _firsts(offsets)
    sums = np.cumsum(np.insert(gaps, firsts - np.arange(len(firsts)), 0))
    return sums - np.repeat(sums[firsts], np.diff(offsets)[np.diff(offsets) > 0])


def _firsts(offsets: Whole) -> Whole:
    """Where each position's alternatives begin, of those that have any."""
    return offsets[:-1][np.diff(offsets) > 0]
