"""How many more errors an expert finds when doubt chooses what is judged, and whether the rate stays right.

Draws from the sample as a queue does (inference.queries draws with the same weights in ClickHouse), many
times, and asks annotations.estimates for the error rate of all of it each time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import mean, stdev

from annotations.estimates import Estimate, Judged, error_rate
from bench.annotations.traffic import Answered
from inference.queries import LEAST_WEIGHT, SHARPNESS

DRAWS = 2000


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


def doubt(one: Answered) -> float:
    """As inference.queries has it: what the least likely token lacks."""
    return 1 - min(one.p)


def weight(one: Answered) -> float:
    return LEAST_WEIGHT + (1 - LEAST_WEIGHT) * float(doubt(one) ** SHARPNESS)


def choose(traffic: list[Answered], effort: int, uncertain: bool, seed: int = 1) -> Chosen:
    """Draw ``effort`` items DRAWS times and judge them all."""
    chance = random.Random(seed)
    weights = [weight(one) if uncertain else 1.0 for one in traffic]
    doubts = [doubt(one) for one in traffic]
    truth = mean(one.wrong for one in traffic)
    found: list[int] = []
    estimates: list[Estimate] = []
    for _ in range(DRAWS):
        keys = sorted(((1 - chance.random()) / w, i) for i, w in enumerate(weights))
        judged = [Judged(traffic[i].wrong, weights[i], key, doubts[i]) for key, i in keys[:effort]]
        told = error_rate(judged, keys[effort][0], len(traffic), mean(doubts))
        assert told is not None
        found.append(sum(one.wrong for one in judged))
        estimates.append(told)
    values = [one.value for one in estimates]
    return Chosen(
        mean(found),
        (mean(values) - truth) / (stdev(values) / DRAWS**0.5),
        mean(one.width for one in estimates),
        mean(one.low <= truth <= one.high for one in estimates),
    )
