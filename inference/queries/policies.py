"""How readily an exchange is drawn into a queue: a policy's name, and its weight as SQL over ``facts``.

A weight is positive for every exchange, so that each has a chance and the rate of all can be told from the
drawn (annotations.estimates). Names joined by ``+`` mix: each policy's weights are brought to a mean
of 1 and added up, and a name that stands twice counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference import filters
from inference.conditions import where

LEAST_WEIGHT, SHARPNESS = 0.06, 0.75
"""Of a draw by doubt: the weight of an answer without any, and how steeply it rises to 1."""
NEWEST = "newest"
"""The one order without chance, of which nothing follows for the rest."""
EVEN = "random"
DOUBT = "least(1, greatest(0, 1 - ifNull(least_p, 0.5)))"
"""What is subtracted in estimates, whatever was drawn by; an answer without tokens is half in doubt."""
_DOUBTS = {
    "uncertain": DOUBT,
    "mean": "least(1, greatest(0, 1 - ifNull(mean_p, 0.5)))",
    # Two to the entropy is among how many the model was undecided.
    "entropy": "least(1, greatest(0, 1 - exp2(-ifNull(deciding_entropy, 1))))",
    "margin": "least(1, greatest(0, 1 - ifNull(deciding_margin, 0.5)))",
}
_SHARED = {"stratified": "answer", "diverse": "`group`"}
"""By what exchanges are alike; all that are share the weight of one."""
NAMES = (EVEN, *_DOUBTS, "feedback", *_SHARED)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a draw is by. ``parts`` are NAMES, or NEWEST alone."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Raises ValueError, for people."""
        parts = tuple(text.split("+"))
        if parts != (NEWEST,) and not set(parts) <= set(NAMES):
            raise ValueError(f"“{text}” is no way of drawing.")
        return cls(parts)

    @property
    def by_chance(self) -> bool:
        return self.parts != (NEWEST,)

    @property
    def even(self) -> bool:
        """Whether all weigh the same."""
        return set(self.parts) == {EVEN}

    @property
    def closed(self) -> bool:
        """Whether a weight depends on what else matches, so that later exchanges would change it."""
        return bool(set(self.parts) & set(_SHARED)) or len(set(self.parts)) > 1

    def source(self, matching: str) -> str:
        """What is selected from: ``facts`` with a count of those alike for each part that needs one.

        ``matching``: the condition on facts.
        """
        joined = "facts FINAL"
        for name in sorted(set(self.parts) & set(_SHARED)):
            column = _SHARED[name]
            joined += (
                f" LEFT JOIN (SELECT {column} AS of_{name}, count() AS {name}_alike FROM facts FINAL "  # noqa: S608
                f"WHERE {matching} GROUP BY of_{name}) AS by_{name} ON facts.{column} = by_{name}.of_{name}"
            )
        return joined

    def means(self) -> str:
        """The mean weight of each part, as an array to select over all that match; [] if none is needed."""
        if len(self.parts) == 1:
            return "[]"
        return f"[{', '.join(f'avg({_weight(part)})' for part in self.parts)}]"

    def weight(self, means: list[float]) -> str:
        """The weight of one exchange, given the means of the parts."""
        if len(self.parts) == 1:
            return _weight(self.parts[0]) if self.by_chance else "1.0"
        scaled = [f"({_weight(part)}) / {mean!r}" for part, mean in zip(self.parts, means, strict=True)]
        return f"(({' + '.join(scaled)}) / {len(scaled)})"


def _weight(part: str) -> str:
    if part in _DOUBTS:
        doubt = _DOUBTS[part]
        # To the power of SHARPNESS, as two roots, which the store takes sooner than a power.
        return f"({LEAST_WEIGHT} + {1 - LEAST_WEIGHT} * sqrt({doubt} * sqrt({doubt})))"
    if part in _SHARED:
        return f"(1.0 / greatest(1, {part}_alike))"
    if part == "feedback":
        condition, _ = where(filters.parse("feedback:down,correction"))
        return f"if({condition}, 1.0, {LEAST_WEIGHT})"
    return "1.0"
