"""What all traffic is like, estimated from the items that were judged, without bias whatever was drawn first.

Exchanges are drawn by priority sampling: each has a weight w and a uniform u, and the smallest u/w come first
(Duffield, Lund and Thorup 2007, "Priority sampling for estimation of arbitrary subset sums", J. ACM 54:32).
Given the first u/w that was not taken, t, an exchange counts as drawn with probability min(1, w·t), however
many were taken; the estimates of two exchanges are uncorrelated, so a variance is a plain sum. The model's
own doubt is subtracted and its known mean added back, as in active statistical inference (Zrnic and Candès
2024, arXiv:2403.03208): what doubt predicts well then costs no width. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from scipy.special import stdtrit

FEWEST = 20
"""Judged items below which no rate is told."""

_MOST_LEVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Judged:
    """One judged item. ``doubt`` is the model's, 0 … 1; ``weight`` and ``key`` (u/w) are the draw's."""

    wrong: bool
    weight: float
    key: float
    doubt: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate of all exchanges that were drawn from, with its 95 % interval; ``n`` judged items tell it."""

    value: float
    low: float
    high: float
    n: int

    @property
    def width(self) -> float:
        return self.high - self.low


def probability(weight: float, threshold: float | None) -> float:
    """With which an exchange was drawn, when ``threshold`` is the first key not taken; None: all were."""
    return 1.0 if threshold is None else min(1.0, weight * threshold)


def error_rate(
    judged: Sequence[Judged], threshold: float | None, population: int, mean_doubt: float
) -> Estimate | None:
    """The share of all ``population`` exchanges that are wrong; None from fewer than FEWEST items.

    Of ``judged`` those with a key below ``threshold`` count: they must be all that have one. ``mean_doubt``
    is the population's.
    """
    seen = [one for one in judged if threshold is None or one.key < threshold]
    if len(seen) < FEWEST or population < len(seen):
        return None
    chances = [probability(one.weight, threshold) for one in seen]
    slope, leverages = _fit(seen, chances)
    residuals = [one.wrong - slope * one.doubt for one in seen]
    mean = slope * mean_doubt + sum(r / p for r, p in zip(residuals, chances, strict=True)) / population
    # Of the residuals about their mean: what is the same for all exchanges is known from their number.
    level = sum(r / p for r, p in zip(residuals, chances, strict=True)) / sum(1 / p for p in chances)
    mean += level * (1 - sum(1 / p for p in chances) / population)
    # The fit passes nearer to what it was fitted to than to what it was not: HC3 of MacKinnon and White 1985.
    apart = [(r - level) / (1 - h) for r, h in zip(residuals, leverages, strict=True)]
    spread = sum(r**2 * (1 - p) / p**2 for r, p in zip(apart, chances, strict=True))
    half = _t95(chances) * sqrt(spread) / population
    value = min(1.0, max(0.0, mean))
    return Estimate(value, max(0.0, mean - half), min(1.0, mean + half), len(seen))


def _t95(chances: Sequence[float]) -> float:
    """Student's quantile for as many as would tell as much if all weighed the same (Kish 1965), less two."""
    shares = [1 / p for p in chances]
    alike = sum(shares) ** 2 / sum(share**2 for share in shares)
    return float(stdtrit(max(2.0, alike - 2), 0.975))


def _fit(seen: Sequence[Judged], chances: Sequence[float]) -> tuple[float, list[float]]:
    """How much of being wrong goes with doubt: the weighted least-squares slope over all exchanges; and each
    item's leverage on the fit.
    """
    shares = [1 / p for p in chances]
    whole = sum(shares)
    doubt = sum(s * one.doubt for s, one in zip(shares, seen, strict=True)) / whole
    wrong = sum(s * one.wrong for s, one in zip(shares, seen, strict=True)) / whole
    up = sum(s * (one.doubt - doubt) * (one.wrong - wrong) for s, one in zip(shares, seen, strict=True))
    down = sum(s * (one.doubt - doubt) ** 2 for s, one in zip(shares, seen, strict=True))
    slope = up / down if down > 0 else 0.0
    leverages = [
        s * (1 / whole + ((one.doubt - doubt) ** 2 / down if down > 0 else 0.0))
        for s, one in zip(shares, seen, strict=True)
    ]
    # One that alone decides the fit lies on it, whatever was said of it.
    return slope, [min(h, _MOST_LEVERAGE) for h in leverages]
