"""A choice's tokens as the columns they are stored in, a third of the plain arrays' size, and back. Pure.

What makes them small: the sampled token is nearly always one of the alternatives, so it is kept as its place
among them. And an engine that computes in 16 bits gives logprobs whose differences within a position are
multiples of a small power of two, so one of them is kept whole (the anchor) and the others as whole steps
down from one to the next. A logprob that is no such step keeps the difference of its bits (``rest``), so
every float32 comes back to the last bit, whatever engine it came from.

A batch's choices are packed in one go, but each for itself: what comes out of one hangs on no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.answer import Tokens
from inference.ragged import Ragged

OUTSIDE = 255
"""The place of a sampled token that is none of the alternatives; those are at most 254 a position."""
_UNITS = range(2, 13)
"""Exponents that are tried: a step is 2 to the power of minus the exponent."""
_MOST_STEPS = 1 << 29
Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]
Numbers = Sequence[float] | npt.NDArray[Any]
"""A part of a batch's array, or a list as the trace store gives it back."""
_NONE = np.empty(0, dtype=np.int32)

COLUMNS = (
    *("unit", "token.anchor", "token.place", "token.alternatives", "alternative", "step"),
    *("outside.id", "outside.step", "rest"),
)


@dataclass(frozen=True, slots=True)
class Packed:
    """Values of COLUMNS: arrays of n positions, of all alternatives, and of the sampled that are none."""

    unit: int
    anchors: Numbers
    """n float32: the logprob of the likeliest alternative, or the sampled token's where there is none."""
    places: Numbers
    """n: the sampled token's place among its alternatives from 0, or OUTSIDE."""
    alternatives: Numbers
    """n: how many there are."""
    top_ids: Numbers
    steps: Numbers
    """Down from one alternative to the next: of a position with k of them, k - 1."""
    outside_ids: Numbers
    outside_steps: Numbers
    """Down from the anchor."""
    rest: Numbers
    """Of all alternatives, then of those outside; empty when it would be zeros."""

    @property
    def row(self) -> tuple[Any, ...]:
        return (
            *(self.unit, self.anchors, self.places, self.alternatives, self.top_ids, self.steps),
            *(self.outside_ids, self.outside_steps, self.rest),
        )


def pack(many: Ragged) -> list[Packed]:
    """Each choice's columns. Raises ValueError when a position has too many alternatives."""
    counts = many.counts
    if len(counts) and counts.max() >= OUTSIDE:
        raise ValueError("a choice's token has too many alternatives")
    sampled, tops = many.logprobs.astype(np.float32), many.top_logprobs.astype(np.float32)
    anchors, has_any = sampled.copy(), counts > 0
    firsts = many.starts[has_any]
    anchors[has_any] = tops[firsts]
    places = _places(many, sampled, tops)
    outside = np.flatnonzero(places == OUTSIDE)
    # The choices' values: first all alternatives, then all that are outside.
    choices = np.arange(len(many))
    of_outside = np.repeat(choices, np.diff(many.positions))[outside]
    owner = np.concatenate((np.repeat(choices, np.diff(many.alternatives)), of_outside))
    values = np.concatenate((tops, sampled[outside]))
    above = np.concatenate((anchors[many.owner], anchors[outside]))
    units, steps = _steps(above, values, owner, len(many))
    rest = _bits(values) - _bits(_down(above, steps, units[owner]))
    gaps = np.delete(np.diff(steps[: len(tops)], prepend=0), firsts)
    cut = _Cut(many, has_any, np.searchsorted(of_outside, np.arange(len(many) + 1)))
    of_positions = cut.at_positions((anchors, places, counts))
    of_outsides = cut.at_outsides((many.ids[outside], steps[len(tops) :], rest[len(tops) :]))
    of_tops = cut.at_alternatives((many.top_ids, rest[: len(tops)]))
    has_rest = np.bincount(owner[rest != 0], minlength=len(many)) > 0
    parts = zip(
        *(units.tolist(), has_rest.tolist(), of_positions, of_tops, cut.at_gaps((gaps,)), of_outsides),
        strict=True,
    )
    return [
        Packed(
            unit, anchor, place, count, ids, gap, outside, below, _joined(any_rest, top_rest, outside_rest)
        )
        for unit, any_rest, (anchor, place, count), (ids, top_rest), (gap,), (
            outside,
            below,
            outside_rest,
        ) in parts
    ]


def _joined(any_rest: bool, *rests: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate(rests) if any_rest else _NONE


@dataclass(frozen=True, slots=True)
class _Cut:
    """Cuts a batch's arrays into each choice's parts, which are views of them."""

    many: Ragged
    has_any: npt.NDArray[np.bool_]
    """For each position, whether it has alternatives."""
    outsides: Whole
    """Bounds of the choices' sampled tokens that are no alternatives."""

    def at_positions(self, arrays: Sequence[npt.NDArray[Any]]) -> list[list[npt.NDArray[Any]]]:
        return _parts(arrays, self.many.positions)

    def at_alternatives(self, arrays: Sequence[npt.NDArray[Any]]) -> list[list[npt.NDArray[Any]]]:
        return _parts(arrays, self.many.alternatives)

    def at_gaps(self, arrays: Sequence[npt.NDArray[Any]]) -> list[list[npt.NDArray[Any]]]:
        """Of k alternatives there are k - 1."""
        before = np.concatenate(([0], np.cumsum(self.has_any)))
        return _parts(arrays, self.many.alternatives - before[self.many.positions])

    def at_outsides(self, arrays: Sequence[npt.NDArray[Any]]) -> list[list[npt.NDArray[Any]]]:
        return _parts(arrays, self.outsides)


def _parts(arrays: Sequence[npt.NDArray[Any]], bounds: Whole) -> list[list[npt.NDArray[Any]]]:
    """For each choice, its part of each array."""
    return [[one[begin:end] for one in arrays] for begin, end in pairwise(bounds.tolist())]


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


def _places(many: Ragged, sampled: Floats, tops: Floats) -> Whole:
    """Where each sampled token stands among its alternatives; one with another logprob there is another."""
    owner = many.owner
    same = (many.top_ids == many.ids[owner]) & (_bits(tops) == _bits(sampled)[owner])
    at = np.flatnonzero(same)[::-1]
    position = owner[at]
    found = np.full(len(sampled), OUTSIDE, dtype=np.int64)
    # Backwards, so that the first of several counts.
    found[position] = at - many.starts[position]
    return found


def _steps(above: Floats, values: Floats, owner: Whole, choices: int) -> tuple[Whole, Whole]:
    """For each choice the coarsest unit in which all its values are whole steps below, else the finest; and
    for each value how many steps. ``owner`` is the choice that a value belongs to.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        distance = above.astype(np.float64) - values.astype(np.float64)
    distance[~np.isfinite(distance) | (np.abs(distance) >= _MOST_STEPS >> _UNITS[-1])] = 0.0
    units = np.full(choices, _UNITS[0])
    steps = np.zeros(len(values), dtype=np.int64)
    left = np.arange(len(values))
    for unit in _UNITS:
        units[owner[left]] = unit
        steps[left] = np.rint(np.ldexp(distance[left], unit)).astype(np.int64)
        fits = _bits(_down(above[left], steps[left], unit)) == _bits(values[left])
        whole = np.bincount(owner[left[~fits]], minlength=choices) == 0
        left = left[~whole[owner[left]]]
    return units, steps


def _down(above: Floats, steps: Whole, unit: int | Whole) -> Floats:
    return (above.astype(np.float64) - np.ldexp(steps.astype(np.float64), -unit)).astype(np.float32)


def _bits(values: Floats) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(values).view(np.int32)


def _sums(gaps: Whole, offsets: Whole) -> Whole:
    """Steps down from each position's first alternative, of those from one to the next."""
    firsts = _firsts(offsets)
    sums = np.cumsum(np.insert(gaps, firsts - np.arange(len(firsts)), 0))
    return sums - np.repeat(sums[firsts], np.diff(offsets)[np.diff(offsets) > 0])


def _firsts(offsets: Whole) -> Whole:
    """Where each position's alternatives begin, of those that have any."""
    return offsets[:-1][np.diff(offsets) > 0]
