"""Numbers against published ones, and against what must hold whatever the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import statistics
from flywheel.statistics import Comparison, cases_needed, from_counts, mcnemar, paired, wilson

counts = st.integers(0, 300)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857–872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(k: int, n: int, low: float, high: float) -> None:
    rate = wilson(k, n)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)
    assert rate.value == k / n


def test_wilson_of_nothing_knows_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).value) == (0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_paired_difference_as_published() -> None:
    # Airway hyper-responsiveness before and after transplantation (Bentur 2009), as analysed by Fagerland,
    # Lydersen and Laake 2014, Statistics in Medicine 33:2850–2875: before and after 1, before only 1, after
    # only 7, neither 12; Newcombe's interval for before − after: −0.507 to −0.026; exact p: 0.070.
    found = from_counts(both_right=1, gained=1, lost=7, both_wrong=12)
    assert (round(found.value, 3), round(found.low, 3), round(found.high, 3)) == (-0.286, -0.507, -0.026)
    assert round(found.p, 3) == 0.070


def test_mcnemar_is_the_sign_test_on_discordant_pairs() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(10, 0) == pytest.approx(2 * 0.5**10)


@given(counts, counts, counts, counts)
def test_turning_the_arms_around_turns_the_interval_around(a: int, gained: int, lost: int, d: int) -> None:
    there, back = from_counts(a, gained, lost, d), from_counts(a, lost, gained, d)
    assert there.low == pytest.approx(-back.high)
    assert there.high == pytest.approx(-back.low)
    assert there.p == pytest.approx(back.p)
    assert -1 <= there.low <= there.value <= there.high <= 1


def test_pairs_are_counted_question_by_question() -> None:
    found = paired([True, True, False, False, False], [True, False, True, True, False])
    assert (found.both_right, found.lost, found.gained, found.both_wrong) == (1, 1, 2, 1)
    with pytest.raises(ValueError, match="shorter"):
        paired([True, True], [True])


def test_a_comparison_survives_its_column() -> None:
    expected = ["Injury", "Eye", "Eye", "Skin"]
    made = statistics.compare(expected, "Eye", [False] * 4, [True, True, False, True])
    assert Comparison.from_dict(made.as_dict()) == made
    assert Comparison.from_dict({**made.as_dict(), "seconds_a_call": 0.1}) == made
    assert (made.n, made.majority.k, made.candidate.k, made.over_majority.gained) == (4, 2, 3, 2)


def test_fewer_cases_are_needed_for_a_larger_difference() -> None:
    large = cases_needed(from_counts(10, 40, 10, 40), 0.0)
    small = cases_needed(from_counts(10, 28, 22, 40), 0.0)
    assert large is not None
    assert small is not None
    assert large < 100 < small


def test_enough_cases_decide_as_often_as_promised() -> None:
    # 30 % gained and 20 % lost: draw exams of the size advised, and count how many the exact test decides.
    import random  # noqa: PLC0415

    needed = cases_needed(from_counts(500, 3000, 2000, 4500), 0.0)
    assert needed is not None
    dice, decided = random.Random(1), 0
    for _ in range(300):
        drawn = dice.choices(["gained", "lost", "same"], [0.3, 0.2, 0.5], k=needed)
        decided += from_counts(drawn.count("same"), drawn.count("gained"), drawn.count("lost"), 0).low > 0
    assert 0.7 < decided / 300 < 0.9


def test_no_difference_seen_needs_no_number() -> None:
    assert cases_needed(from_counts(50, 10, 10, 30), 0.0) is None
    assert cases_needed(from_counts(0, 0, 0, 0), 0.0) is None
