"""How well people agree on what they judged, by question, person and label. Pure.

Percent and the confusion matrix count pairs of judgements of one item. Chance-corrected: Cohen's kappa for
two people (Cohen 1960), Fleiss' for any number (Fleiss 1971), Krippendorff's alpha for any with gaps
(Krippendorff 2004), whose interval comes from drawing items with replacement. Libraries count; they are
loaded at first use, because one takes a second and brings pandas. Where nothing varies, nothing can be
corrected: None.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

Level = Literal["nominal", "ordinal"]
Unit = Mapping[Any, str]
"""One item: what each person said."""
RESAMPLES = 400
FEWEST = 10
"""Items that two people judged below which no interval is told."""


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's alpha with its 95 % interval, which fewer than FEWEST items do not have."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people on the items that both judged."""

    one: Hashable
    other: Hashable
    items: int
    percent: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Label:
    """One label against all others. ``percent``: how often another says it too, when one has said it."""

    label: str
    said: int
    percent: float
    alpha: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """On ``items`` that at least two people judged. ``matrix[i][j]``: pairs in which one said label i and the
    other label j; symmetric, for nobody comes first.
    """

    items: int
    percent: float
    alpha: Alpha | None
    fleiss: float | None
    fleiss_of: int
    """Items that had the commonest number of judgements: Fleiss' kappa needs equal numbers."""
    pairs: list[Pair]
    people: dict[Hashable, tuple[int, float]]
    """Of each person: (pairs of judgements, percent of them that agree)."""
    labels: list[Label]
    matrix: list[list[int]]


def of(units: Sequence[Unit], level: Level = "nominal", order: Sequence[str] = ()) -> Agreement | None:
    """None when no item was judged by two. ``order`` sorts labels, and ranks an ordinal question's."""
    shared = [unit for unit in units if len(unit) > 1]
    if not shared:
        return None
    said = {label for unit in shared for label in unit.values()}
    labels = [label for label in order if label in said] + sorted(said - set(order))
    counts = table(shared, labels)
    met = Counter[tuple[str, str]]()
    people: dict[Hashable, list[int]] = {}
    for unit in shared:
        for (one, first), (other, second) in combinations(unit.items(), 2):
            met[first, second] += 1
            met[second, first] += 1
            for person in (one, other):
                tally = people.setdefault(person, [0, 0])
                tally[0] += 1
                tally[1] += first == second
    same = sum(met[label, label] for label in labels)
    fleiss, fleiss_of = _fleiss(counts)
    return Agreement(
        len(shared),
        same / met.total(),
        _alpha_with_interval(counts, level),
        fleiss,
        fleiss_of,
        _pairs(shared, labels),
        {person: (n, agreed / n) for person, (n, agreed) in people.items()},
        [_label(label, n, labels, counts, met) for n, label in enumerate(labels)],
        [[met[one, other] // (2 if one == other else 1) for other in labels] for one in labels],
    )


def table(units: Sequence[Unit], labels: Sequence[str]) -> np.ndarray:
    """How many said each label, a row for each item."""
    place = {label: n for n, label in enumerate(labels)}
    counts = np.zeros((len(units), len(labels)), int)
    for row, unit in enumerate(units):
        for label in unit.values():
            counts[row, place[label]] += 1
    return counts


def krippendorff_alpha(counts: np.ndarray, level: Level = "nominal") -> float | None:
    """Of a table of items by labels; rows with one judgement are left out."""
    import krippendorff  # noqa: PLC0415 - only who looks pays

    counts = counts[counts.sum(1) > 1]
    if np.count_nonzero(counts.sum(0)) < 2:
        return None
    domain = list(range(counts.shape[1]))
    return float(krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level))


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Of two people's words on the same items."""
    from statsmodels.stats.inter_rater import cohens_kappa as kappa  # noqa: PLC0415 - as above

    labels = sorted({*first, *second})
    if len(labels) < 2:
        return None
    crossed = Counter(zip(first, second, strict=True))
    counts = np.array([[crossed[one, other] for other in labels] for one in labels])
    return float(kappa(counts, return_results=False))


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Of a table of items by labels whose rows have the same sum."""
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa  # noqa: PLC0415 - as above

    return float(kappa(counts)) if np.count_nonzero(counts.sum(0)) > 1 else None


def _fleiss(counts: np.ndarray) -> tuple[float | None, int]:
    sizes = counts.sum(1)
    (usual, _), *_ = Counter(sizes.tolist()).most_common(1)
    equal = counts[sizes == usual]
    return fleiss_kappa(equal), len(equal)


def _alpha_with_interval(counts: np.ndarray, level: Level) -> Alpha | None:
    value = krippendorff_alpha(counts, level)
    if value is None:
        return None
    if len(counts) < FEWEST:
        return Alpha(value)
    chance = np.random.default_rng(1)
    drawn = [
        krippendorff_alpha(counts[chance.integers(0, len(counts), len(counts))], level)
        for _ in range(RESAMPLES)
    ]
    # A draw in which all say one thing has no alpha; in it nobody disagreed.
    low, high = np.percentile([1.0 if one is None else one for one in drawn], [2.5, 97.5])
    return Alpha(value, float(low), float(high))


def _pairs(units: Sequence[Unit], labels: Sequence[str]) -> list[Pair]:
    together: dict[tuple[Hashable, Hashable], list[tuple[str, str]]] = {}
    for unit in units:
        for one, other in combinations(sorted(unit, key=str), 2):
            together.setdefault((one, other), []).append((unit[one], unit[other]))
    made = []
    for (one, other), both in together.items():
        first, second = zip(*both, strict=True)
        agreed = sum(a == b for a, b in both) / len(both)
        made.append(Pair(one, other, len(both), agreed, cohens_kappa(first, second)))
    return sorted(made, key=lambda pair: -pair.items)


def _label(
    label: str, place: int, labels: Sequence[str], counts: np.ndarray, met: Counter[tuple[str, str]]
) -> Label:
    said = sum(met[label, other] for other in labels)
    binary = np.stack([counts[:, place], counts.sum(1) - counts[:, place]], 1)
    return Label(label, int(counts[:, place].sum()), met[label, label] / said, krippendorff_alpha(binary))
