"""Logprobs as an engine's answer lists them, and the top k of each position made of that. Pure.

Whole columns are worked on where that can be done, not one token after the other: an answer lists six tokens
for each of its own, and this is the most of what a drain has to do.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from operator import eq, ge, lt
from typing import TypeVar

import msgspec

NO_PROBABILITY = -9999.0
"""How vLLM writes a logarithm of minus infinity."""
_ID = "token_id:"
_WHOLE_NUMBERS = msgspec.json.Decoder(list[int])
_T = TypeVar("_T")
Ranked = tuple[list[int], list[float], list[int]]
"""Ids and logprobs of all positions' alternatives, and where each position's begin; one more is their end."""


@dataclass(slots=True)
class Wire:
    """What an answer lists: n positions, and of each the sampled token and tokens listed beside it."""

    names: list[str] = field(default_factory=list)
    """n: the sampled tokens, as ``token_id:5`` or as text."""
    sampled: list[float] = field(default_factory=list)
    """n: their logprobs."""
    widths: list[int] = field(default_factory=list)
    """n: how many are listed beside each."""
    listed: list[str] = field(default_factory=list)
    """All that are listed, by name."""
    logprobs: list[float] = field(default_factory=list)
    """Their logprobs."""


def logarithms(found: list[float | None]) -> list[float]:
    """Logprobs as numbers: an engine that gives none, or its least, says minus infinity."""
    if None not in found and min(found, default=0.0) > NO_PROBABILITY:  # type: ignore[type-var,operator]
        return found  # type: ignore[return-value]
    return [-math.inf if one is None or one <= NO_PROBABILITY else one for one in found]


def numbers(names: Sequence[str]) -> Sequence[int | None]:
    """The ids that names say; None for one that says none."""
    if names and names[0].startswith(_ID):
        text = ";".join(names)[len(_ID) :].replace(f";{_ID}", ",")
        if text.isascii() and text.replace(",", "").isdigit():
            with contextlib.suppress(ValueError):
                found = _WHOLE_NUMBERS.decode(f"[{text}]")
                # A name that says several would make more of them than there are names.
                if len(found) == len(names):
                    return found
    return [_number(name) for name in names]


def _number(name: str) -> int | None:
    said = name[len(_ID) :] if name.startswith(_ID) else ""
    return int(said) if said.isdecimal() else None


def agree(named: Sequence[int | None], ids: Sequence[int]) -> bool:
    """Whether there are as many of both, and the same wherever both say one."""
    if named == ids:
        return True
    return len(named) == len(ids) and all(n is None or n == i for n, i in zip(named, ids, strict=True))


def rank(wire: Wire, ids: Sequence[int | None], top_k: int) -> Ranked:
    """The top k of each position, from the wire's lists, which begin with the sampled token wherever it
    ranks. ``ids`` are the sampled tokens', None where none is known.

    A sampled token less likely than every other listed one lies below them: it is no member of the top k,
    for capture asks for one more than k where the engine counts the sampled one in. Of a position with a
    token that no id names, nothing is known.
    """
    if not top_k:
        return [], [], [0] * (len(ids) + 1)
    listed = numbers(wire.listed)
    if (width := _width(wire, ids, listed)) > top_k:
        return _in_columns(wire, listed, width, top_k)
    tops: list[int] = []
    logprobs: list[float] = []
    offsets, begin = [0], 0
    for token, width, logprob in zip(ids, wire.widths, wire.sampled, strict=True):
        end = begin + width
        entries = list(zip(listed[begin:end], wire.logprobs[begin:end], strict=True))
        found = _sorted(token, logprob, entries)[:top_k]
        tops += [one for one, _ in found]
        logprobs += [one for _, one in found]
        offsets.append(len(tops))
        begin = end
    return tops, logprobs, offsets


def _sorted(
    token: int | None, logprob: float, entries: list[tuple[int | None, float]]
) -> list[tuple[int, float]]:
    """One position's tokens in order."""
    others = [(i, p) for i, p in entries if i is not None and i != token]
    if token is None or any(i is None for i, _ in entries):
        return []
    if not others or logprob >= min(p for _, p in others):
        # Before its equals: the sort is stable.
        others.insert(0, (token, logprob))
    return sorted(others, key=lambda entry: -entry[1])


def _width(wire: Wire, ids: Sequence[int | None], listed: Sequence[int | None]) -> int:
    """How many each position lists, where all list as many, each first the sampled token and then the
    others, the likeliest first; else 0.
    """
    width = wire.widths[0] if wire.widths else 0
    if not width or wire.widths.count(width) < len(wire.widths) or None in ids or None in listed:
        return 0
    if listed[::width] != ids or wire.logprobs[::width] != wire.sampled:
        return 0
    falling = pairwise(wire.logprobs[column::width] for column in range(1, width))
    if not all(all(map(ge, one, following)) for one, following in falling):
        return 0
    return 0 if any(any(map(eq, listed[column::width], ids)) for column in range(1, width)) else width


def _in_columns(wire: Wire, listed: Sequence[int | None], width: int, k: int) -> Ranked:
    """Where each position lists ``width`` tokens as ``_width`` says: the first k, and where the sampled one
    is not the likeliest, it is put in its place.
    """
    tops, logprobs = _first(listed, width, k), _first(wire.logprobs, width, k)
    others = wire.logprobs[1::width]
    for position in compress(range(len(others)), map(lt, wire.sampled, others)):
        begin, end, own = position * width + 1, (position + 1) * width, wire.sampled[position]
        span = slice(position * k, (position + 1) * k)
        names, values = list(listed[begin:end]), wire.logprobs[begin:end]
        if own >= values[-1]:
            place = sum(map(own.__lt__, values))
            names.insert(place, listed[begin - 1])
            values.insert(place, own)
        tops[span], logprobs[span] = names[:k], values[:k]
    return tops, logprobs, list(range(0, len(tops) + 1, k))  # type: ignore[return-value]


def _first(values: Sequence[_T], width: int, k: int) -> list[_T]:
    """Of each position's ``width`` values the first k."""
    kept = list(values[: len(values) // width * k])
    for column in range(k):
        kept[column::k] = values[column::width]
    return kept
