"""How undecided a model was at each token of an answer, and over the part that decided it.

The deciding part is the least decided fifth of the tokens, one at least: what comes before and after it is
wording that the model was sure of, and would dilute a mean. Pure; probabilities as recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.ragged import Ragged

DECIDING_SHARE = 0.2
Undecided = tuple[float | None, float | None, float | None]
"""Mean entropy of an answer, and entropy and margin of its deciding part; None without alternatives."""
NOT_KNOWN: Undecided = (None, None, None)


def entropies(many: Ragged) -> NDArray[Any]:
    """Bits at each position. Of each what is known: the alternatives, the sampled token, and all others as
    one, so it is at least this much.
    """
    owner, size = many.owner, len(many.ids)
    sampled = np.exp(np.minimum(0.0, many.logprobs))
    outside = np.ones(size, bool)
    outside[owner[many.top_ids == many.ids[owner]]] = False
    known = np.exp(np.minimum(0.0, many.top_logprobs))
    parts = np.concatenate([known, sampled[outside]])
    owner = np.concatenate([owner, np.flatnonzero(outside)])
    rest = np.maximum(0.0, 1.0 - np.bincount(owner, parts, size))
    # A probability of 0 adds nothing.
    bits = np.bincount(owner, parts * np.log2(np.where(parts > 0, parts, 1.0)), size)
    entropy: NDArray[Any] = -(bits + rest * np.log2(np.where(rest > 0, rest, 1.0)))
    return entropy


def margins(many: Ragged) -> NDArray[Any]:
    """By how much the likeliest token led the second at each position, 0 … 1. Where only one is known, all
    others count as the second, so it is at least this much.
    """
    known = np.append(np.exp(np.minimum(0.0, many.top_logprobs)), [0.0, 0.0])
    sampled = np.exp(np.minimum(0.0, many.logprobs))
    first = np.where(many.counts > 0, known[many.starts], sampled)
    second = np.where(many.counts > 1, known[many.starts + 1], 1.0 - first)
    led: NDArray[Any] = np.maximum(0.0, first - second)
    return led


def undecided(many: Ragged) -> list[Undecided]:
    """Of each choice."""
    sizes = np.diff(many.positions)
    known = np.diff(many.alternatives) > 0
    if not known.any():
        return [NOT_KNOWN] * len(many)
    parts = np.maximum(1, np.rint(sizes * DECIDING_SHARE).astype(np.int64))
    bits, leads = entropies(many), margins(many)
    of_all = _means(bits, sizes, np.maximum(1, sizes))
    least_decided, least_led = _means(-bits, sizes, parts), _means(leads, sizes, parts)
    told = zip(of_all, -least_decided, least_led, known, strict=True)
    return [tuple(map(float, three)) if has else NOT_KNOWN for *three, has in told]  # type: ignore[misc]


def _means(values: NDArray[Any], sizes: NDArray[Any], parts: NDArray[Any]) -> NDArray[Any]:
    """Of each choice the mean of its least values, so many as ``parts`` says."""
    choice = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    ordered = values[np.lexsort((values, choice))]
    chosen = place < parts[choice]
    means: NDArray[Any] = np.bincount(choice[chosen], ordered[chosen], len(sizes)) / parts
    return means
