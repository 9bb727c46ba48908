"""Agreement against published examples, and on hand-made items."""

import numpy as np
import pytest

from annotations import agreement

# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", C: four observers, twelve units, gaps.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
# Fleiss 1971's worked example as it stands in "Fleiss' kappa", Wikipedia: ten subjects, fourteen raters.
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def units() -> list[dict[str, str]]:
    return [
        {f"observer {n}": str(row[unit]) for n, row in enumerate(OBSERVERS) if row[unit] is not None}
        for unit in range(12)
    ]


@pytest.mark.slow
def test_alpha_is_krippendorffs() -> None:
    nominal = agreement.of(units(), order=list("12345"))
    ordinal = agreement.of(units(), "ordinal", order=list("12345"))
    assert nominal is not None
    assert nominal.alpha is not None
    assert nominal.alpha.value == pytest.approx(0.743, abs=5e-4)
    assert ordinal is not None
    assert ordinal.alpha is not None
    assert ordinal.alpha.value == pytest.approx(0.815, abs=5e-4)
    assert nominal.items == 11, "the last was judged by one"


@pytest.mark.slow
def test_the_interval_comes_from_the_items() -> None:
    many = agreement.of(units() * 12, order=list("12345"))
    few = agreement.of(units(), order=list("12345"))
    for found in (many, few):
        assert found is not None
        assert found.alpha is not None
        assert found.alpha.low is not None
        assert found.alpha.high is not None
        assert found.alpha.low < found.alpha.value < found.alpha.high
    width = [found.alpha.high - found.alpha.low for found in (many, few)]  # type: ignore[union-attr,operator]
    assert width[0] < width[1] / 2
    nine = agreement.of(units()[:9])
    assert nine is not None
    assert nine.alpha is not None
    assert nine.alpha.low is None


def test_fleiss_kappa_is_the_published_one() -> None:
    assert agreement.fleiss_kappa(np.array(FLEISS)) == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_is_the_published_one() -> None:
    # "Cohen's kappa", Wikipedia: 50 grant proposals, 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement.cohens_kappa(first, second) == pytest.approx(0.4)
    assert agreement.cohens_kappa(["yes"] * 3, ["yes"] * 3) is None


def test_pairs_people_and_labels_are_counted() -> None:
    found = agreement.of([
        {"a": "x", "b": "x", "c": "y"},
        {"a": "x", "b": "y"},
        {"b": "y", "c": "y"},
        {"a": "x"},
    ])  # fmt: skip
    assert found is not None
    assert (found.items, found.percent) == (3, 2 / 5)
    assert found.matrix == [[1, 3], [3, 1]]
    assert found.people == {"a": (3, 1 / 3), "b": (4, 2 / 4), "c": (3, 1 / 3)}
    assert [(pair.one, pair.other, pair.items, pair.percent) for pair in found.pairs] == [
        ("a", "b", 2, 0.5),
        ("b", "c", 2, 0.5),
        ("a", "c", 1, 0.0),
    ]
    assert [(label.label, label.said, label.percent) for label in found.labels] == [
        ("x", 3, 2 / 5),
        ("y", 4, 2 / 5),
    ]
    assert found.fleiss_of == 2


def test_what_one_person_judged_tells_nothing() -> None:
    assert agreement.of([{"a": "x"}, {"b": "y"}]) is None
    same = agreement.of([{"a": "x", "b": "x"}])
    assert same is not None
    assert (same.percent, same.alpha, same.fleiss) == (1.0, None, None)
