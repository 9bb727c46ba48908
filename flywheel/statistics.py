"""How sure a comparison of two models on the same questions is: rates, the paired difference, its test.

Pure arithmetic on counts, with the source of each formula. What a difference must reach before it ships is
flywheel.gate's matter; where the counts come from is flywheel.evaluation's.
"""

from dataclasses import asdict, dataclass
from math import ceil, sqrt
from typing import Any, Self

from scipy.special import bdtr, ndtri  # scipy.stats has the same, and takes most of a second to import

Z95 = float(ndtri(0.975))


@dataclass(frozen=True, slots=True)
class Rate:
    """k of n, with its 95 % interval. Shares, 0 … 1."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself; 0 of 0 is 0."""
        return self.k / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Two answerers on the same n questions: how much more often the second was right, and how sure."""

    both_right: int
    gained: int
    """Only the second was right."""
    lost: int
    """Only the first was right."""
    both_wrong: int
    value: float
    """Share of the second minus share of the first, −1 … 1."""
    low: float
    high: float
    p: float
    """Exact McNemar test of no difference, two-sided."""

    @property
    def n(self) -> int:
        return self.both_right + self.gained + self.lost + self.both_wrong


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against a baseline, and against always giving the training rows' most frequent answer."""

    baseline: Rate
    candidate: Rate
    majority: Rate
    majority_answer: str
    over_baseline: Difference
    over_majority: Difference

    @property
    def n(self) -> int:
        """Number of questions."""
        return self.candidate.n

    def as_dict(self) -> dict[str, Any]:
        """For a JSON column; ``from_dict`` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Raises KeyError or TypeError on what ``as_dict`` did not write."""
        return cls(
            baseline=Rate(**stored["baseline"]),
            candidate=Rate(**stored["candidate"]),
            majority=Rate(**stored["majority"]),
            majority_answer=stored["majority_answer"],
            over_baseline=Difference(**stored["over_baseline"]),
            over_majority=Difference(**stored["over_majority"]),
        )


def wilson(k: int, n: int) -> Rate:
    """k of n with Wilson's 95 % score interval (Wilson 1927, JASA 22:209–212); 0 of 0 gives 0 … 1."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
    if n == 0:
        return Rate(0, 0, 0.0, 1.0)
    share, z2 = k / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    return Rate(k, n, 0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of the exact McNemar test: without a difference, discordant pairs are coin tosses."""
    discordant = gained + lost
    return min(1.0, 2 * float(bdtr(min(gained, lost), discordant, 0.5)))


def paired(first: list[bool], second: list[bool]) -> Difference:
    """Compare two answerers, question by question. ValueError when the lists differ in length."""
    pairs = list(zip(first, second, strict=True))
    return from_counts(
        both_right=pairs.count((True, True)),
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        both_wrong=pairs.count((False, False)),
    )


def from_counts(both_right: int, gained: int, lost: int, both_wrong: int) -> Difference:
    """The difference of two paired shares with Newcombe's 95 % interval.

    Method 10 of Newcombe 1998 (Statistics in Medicine 17:2635–2650): Wilson's limits of the two shares, put
    together with the pairs' correlation φ, which is continuity-corrected when positive.
    """
    n = both_right + gained + lost + both_wrong
    if n == 0:
        return Difference(0, 0, 0, 0, 0.0, -1.0, 1.0, 1.0)
    first, second = wilson(both_right + lost, n), wilson(both_right + gained, n)
    phi = _correlation(both_right, gained, lost, both_wrong)
    value = (gained - lost) / n
    down_second, up_second = second.value - second.low, second.high - second.value
    down_first, up_first = first.value - first.low, first.high - first.value
    below = sqrt(down_second**2 - 2 * phi * down_second * up_first + up_first**2)
    above = sqrt(up_second**2 - 2 * phi * up_second * down_first + down_first**2)
    low, high = max(-1.0, value - below), min(1.0, value + above)
    return Difference(both_right, gained, lost, both_wrong, value, low, high, mcnemar(gained, lost))


def _correlation(both_right: int, gained: int, lost: int, both_wrong: int) -> float:
    n = both_right + gained + lost + both_wrong
    margins = (both_right + gained) * (lost + both_wrong) * (both_right + lost) * (gained + both_wrong)
    if margins == 0:
        return 0.0
    product = float(both_right * both_wrong - gained * lost)
    if product > 0:
        product = max(product - n / 2, 0.0)
    return product / sqrt(margins)


def compare(
    expected: list[str], majority_answer: str, baseline: list[bool], candidate: list[bool]
) -> Comparison:
    """Everything an evaluation says. The lists go by question; ValueError when their lengths differ."""
    majority = [answer == majority_answer for answer in expected]
    n = len(expected)
    return Comparison(
        baseline=wilson(sum(baseline), n),
        candidate=wilson(sum(candidate), n),
        majority=wilson(sum(majority), n),
        majority_answer=majority_answer,
        over_baseline=paired(baseline, candidate),
        over_majority=paired(majority, candidate),
    )


def cases_needed(difference: Difference, line: float, power: float = 0.8) -> int | None:
    """About how many questions in all would decide whether the true difference is above or below ``line``.

    Assumes the truth is what was seen. Connor 1987 (Biometrics 43:207–211) with the difference taken from
    ``line`` instead of 0. None when nothing seen so far sets it apart from the line.
    """
    n = difference.n
    if n == 0:
        return None
    # Half a case in each discordant cell: a small exam without any is not proof that there are none.
    discordant = (difference.gained + difference.lost + 1) / (n + 1)
    distance = abs(difference.value - line)
    if distance * n < 0.5:
        return None
    spread = sqrt(max(discordant - distance**2, 0.0))
    return ceil(((Z95 * sqrt(discordant) + float(ndtri(power)) * spread) / distance) ** 2)
