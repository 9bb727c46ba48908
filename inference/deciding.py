"""How undecided a model was at each token of an answer, and over the part that decided it.

The deciding part is the least decided fifth of the tokens, one at least: what comes before and after it is
wording that the model was sure of, and would dilute a mean. Pure; probabilities as recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.answer import Tokens

DECIDING_SHARE = 0.2


def entropies(tokens: Tokens) -> NDArray[Any]:
    """Bits at each token. Of each what is known: the alternatives, the sampled token, and all others as one,
    so it is at least this much. Needs ids and alternatives.
    """
    offsets = np.asarray(tokens.top_offsets)
    size = len(tokens.ids)
    owner = np.repeat(np.arange(size), np.diff(offsets))
    sampled = np.exp(np.minimum(0.0, np.asarray(tokens.logprobs)))
    outside = np.ones(size, bool)
    outside[owner[np.asarray(tokens.top_ids) == np.asarray(tokens.ids)[owner]]] = False
    known = np.exp(np.minimum(0.0, np.asarray(tokens.top_logprobs)))
    parts = np.concatenate([known, sampled[outside]])
    owner = np.concatenate([owner, np.flatnonzero(outside)])
    rest = np.maximum(0.0, 1.0 - np.bincount(owner, parts, size))
    # A probability of 0 adds nothing.
    bits = np.bincount(owner, parts * np.log2(np.where(parts > 0, parts, 1.0)), size)
    entropy: NDArray[Any] = -(bits + rest * np.log2(np.where(rest > 0, rest, 1.0)))
    return entropy


def margins(tokens: Tokens) -> NDArray[Any]:
    """By how much the likeliest token led the second at each place, 0 … 1. Where only one is known, all
    others count as the second, so it is at least this much.
    """
    starts, counts = np.asarray(tokens.top_offsets)[:-1], np.diff(np.asarray(tokens.top_offsets))
    known = np.append(np.exp(np.minimum(0.0, np.asarray(tokens.top_logprobs))), [0.0, 0.0])
    sampled = np.exp(np.minimum(0.0, np.asarray(tokens.logprobs)))
    first = np.where(counts > 0, known[starts], sampled)
    second = np.where(counts > 1, known[starts + 1], 1.0 - first)
    led: NDArray[Any] = np.maximum(0.0, first - second)
    return led


def undecided(tokens: Tokens | None) -> tuple[float | None, float | None, float | None]:
    """(mean entropy of the answer, entropy and margin of its deciding part); None without alternatives."""
    if tokens is None or not tokens.ids or not tokens.top_ids:
        return None, None, None
    bits, leads = entropies(tokens), margins(tokens)
    part = max(1, round(len(tokens.ids) * DECIDING_SHARE))
    return float(bits.mean()), float(np.sort(bits)[-part:].mean()), float(np.sort(leads)[:part].mean())
