"""How many more errors an expert finds when doubt chooses what is judged, and whether the rate stays right.

Draws from the sample as a queue does (inference.queries.draws has the same weights in ClickHouse), many
times, and asks annotations.estimates for the error rate of all of it each time. The weights were chosen on
one half of the sample (``tune``); what is reported is measured on the other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from annotations.estimates import Estimate, Judged, error_rate
from bench.annotations.traffic import Answered
from inference.queries.policies import LEAST_WEIGHT, SHARPNESS

DRAWS = 2000
FLOORS, SHARPNESSES = (0.02, 0.04, 0.06, 0.08, 0.15), (0.5, 0.75, 1.0, 2.0)
"""What ``tune`` tries for LEAST_WEIGHT and SHARPNESS."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What came of many draws of the same effort, one way of choosing."""

    found: float
    """Errors among the judged, on average."""
    bias: float
    """Of the estimated rate, in standard errors over the draws."""
    width: float
    """Of the 95 % interval, on average."""
    covered: float
    """Share of intervals that hold the true rate."""


def halves(traffic: Sequence[Answered]) -> tuple[Sequence[Answered], Sequence[Answered]]:
    """(to tune on, to report)."""
    return traffic[::2], traffic[1::2]


def doubt(one: Answered) -> float:
    """As inference.queries.draws has it: what the least likely token lacks."""
    return 1 - min(one.p)


def weigh(traffic: Sequence[Answered], floor: float = LEAST_WEIGHT, sharp: float = SHARPNESS) -> list[float]:
    """The weight of each in a draw by doubt."""
    return [floor + (1 - floor) * float(doubt(one) ** sharp) for one in traffic]


def choose(traffic: Sequence[Answered], effort: int, weights: Sequence[float], draws: int = DRAWS) -> Chosen:
    """Draw ``effort`` items ``draws`` times and judge them all."""
    chance = random.Random(1)
    doubts, wrong = [doubt(one) for one in traffic], [one.wrong for one in traffic]
    truth, known = mean(wrong), mean(doubts)
    found: list[int] = []
    estimates: list[Estimate] = []
    for _ in range(draws):
        keys = sorted(((1 - chance.random()) / w, i) for i, w in enumerate(weights))
        judged = [Judged(wrong[i], weights[i], key, doubts[i]) for key, i in keys[:effort]]
        told = error_rate(judged, keys[effort][0], len(traffic), known)
        assert told is not None
        found.append(sum(one.wrong for one in judged))
        estimates.append(told)
    values = [one.value for one in estimates]
    return Chosen(
        mean(found),
        (mean(values) - truth) / (stdev(values) / draws**0.5),
        mean(one.width for one in estimates),
        mean(one.low <= truth <= one.high for one in estimates),
    )


def outright(traffic: Sequence[Answered], effort: int) -> int:
    """Errors among the least sure, taken without any chance: the most that doubt can find, and no rate."""
    return sum(one.wrong for one in sorted(traffic, key=doubt, reverse=True)[:effort])


def classical(traffic: Sequence[Answered], effort: int) -> float:
    """The width of the usual interval of a share, from as many judged at random."""
    wrong = mean(one.wrong for one in traffic)
    return float(2 * 1.96 * (wrong * (1 - wrong) / effort * (1 - effort / len(traffic))) ** 0.5)


def tune(traffic: Sequence[Answered], effort: int) -> None:
    """Print what each pair of settings would give."""
    even = effort * mean(one.wrong for one in traffic)
    usual = classical(traffic, effort)
    for floor in FLOORS:
        for sharp in SHARPNESSES:
            told = choose(traffic, effort, weigh(traffic, floor, sharp), DRAWS // 4)
            print(
                f"  least weight {floor:.2f}, sharpness {sharp:.2f}: {told.found / even:.2f} times the "
                f"errors, interval {told.width / usual:.2f} of random's, holds the truth {told.covered:.1%}"
            )
