"""Two exchanges held against each other: word by word, and where their token distributions part. Pure.

Two distributions are of the same question only while everything before them is the same, so they are compared
up to and with the first token that differs; what comes after has contexts of its own.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from inference.answer import Tokens

MOST_WORDS = 3000
"""Words compared of each text; comparing takes time that grows with their product."""
MOST_TOKENS = 2000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Run:
    """Words that both texts have (``same``), only the first (``gone``) or only the second (``come``)."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Two texts as runs in order. ``whole`` is False when only their beginnings were compared."""

    runs: list[Run]
    whole: bool

    @property
    def same(self) -> bool:
        """Whether nothing that was compared differs."""
        return all(run.kind == "same" for run in self.runs)

    @property
    def changed(self) -> int:
        """Words that only one of them has."""
        return sum(len(run.text.split()) for run in self.runs if run.kind != "same")


def words(first: str, second: str) -> Difference:
    """What to strike out of the first text and to put into it to get the second."""
    before, after = _split(first), _split(second)
    whole = len(before) <= MOST_WORDS and len(after) <= MOST_WORDS
    before, after = before[:MOST_WORDS], after[:MOST_WORDS]
    runs = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if kind == "equal":
            runs.append(Run("same", "".join(before[i:j])))
            continue
        runs += [Run("gone", "".join(before[i:j]))] if j > i else []
        runs += [Run("come", "".join(after[k:m]))] if m > k else []
    return Difference(runs, whole)


def _split(text: str) -> list[str]:
    # No more is looked at than could be compared.
    return [found.group() for found, _ in zip(_WORD.finditer(text), range(MOST_WORDS + 1), strict=False)]


@dataclass(frozen=True, slots=True)
class Step:
    """A position that both answers have with the same tokens before it. ``first`` and ``second`` are the
    ids that were sampled, with their probabilities; ``apart`` is the total variation distance, at least.
    """

    place: int
    first: int
    second: int
    first_p: float
    second_p: float
    apart: float

    @property
    def parted(self) -> bool:
        """Whether another token was written here."""
        return self.first != self.second


def steps(first: Tokens, second: Tokens) -> list[Step]:
    """Every comparable position, from the first token to the first one that differs, at most MOST_TOKENS."""
    found = []
    for place in range(min(len(first.ids), len(second.ids), MOST_TOKENS)):
        found.append(
            Step(
                place,
                first.ids[place],
                second.ids[place],
                _probability(first.logprobs[place]),
                _probability(second.logprobs[place]),
                apart(known(first, place), known(second, place)),
            )
        )
        if found[-1].parted:
            break
    return found


def known(tokens: Tokens, place: int) -> dict[int, float]:
    """The probabilities that were kept of one position, by token id."""
    span = slice(tokens.top_offsets[place], tokens.top_offsets[place + 1])
    found = zip(tokens.top_ids[span], map(_probability, tokens.top_logprobs[span]), strict=True)
    return {tokens.ids[place]: _probability(tokens.logprobs[place]), **dict(found)}


def apart(first: dict[int, float], second: dict[int, float]) -> float:
    """Total variation distance (0 to 1) of two distributions of which only some probabilities are known: at
    least this much. It is sup P(A) − Q(A); A are the tokens that P gives more, and those that Q does not
    name, of which it gives all together what its named ones leave.
    """
    return min(1.0, max(_over(first, second), _over(second, first)))


def _over(over: dict[int, float], under: dict[int, float]) -> float:
    rest = max(0.0, 1.0 - sum(under.values()))
    named = sum(max(0.0, p - under[token]) for token, p in over.items() if token in under)
    others = sum(p for token, p in over.items() if token not in under)
    return named + max(0.0, others - rest)


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))


def widest(found: Sequence[Step], most: int = 10) -> list[Step]:
    """The positions where they are furthest apart, the widest first."""
    return sorted(found, key=lambda step: (-step.apart, step.place))[:most]
