"""Entropy and margin of tokens, over an answer and over the part that decided it."""

import pytest

from inference import deciding, heatmap
from inference.answer import Tokens
from inference.deciding import NOT_KNOWN, Undecided
from inference.ragged import Ragged
from tests.inference import tiny


def undecided(one: Tokens) -> Undecided:
    return deciding.undecided(Ragged.of([one]))[0]


def test_the_mean_entropy_is_that_of_the_pieces() -> None:
    one = tiny.tokens([5, 6, 7], [0.6, 0.1, 1.0], [[(5, 0.6), (8, 0.2)], [(8, 0.5), (9, 0.3)], [(7, 1.0)]])
    expected = [heatmap.entropy(known) for known in ([0.6, 0.2], [0.5, 0.3, 0.1], [1.0])]
    mean, deciding, margin = undecided(one)
    assert mean == pytest.approx(sum(expected) / 3)
    # Three tokens have one that decides: the second, by either measure.
    assert deciding == pytest.approx(expected[1])
    assert margin == pytest.approx(0.2)


def test_a_long_answers_deciding_part_is_a_fifth_of_it() -> None:
    tops = [[(n, 0.9), (99, 0.1)] for n in range(8)] + [[(8, 0.5), (99, 0.5)], [(9, 0.6), (99, 0.4)]]
    _, deciding, margin = undecided(tiny.tokens(list(range(10)), [t[0][1] for t in tops], tops))
    assert deciding == pytest.approx((1.0 + heatmap.entropy([0.6, 0.4])) / 2)
    assert margin == pytest.approx((0.0 + 0.2) / 2)


def test_the_margin_to_what_is_not_known_is_the_least_it_can_be() -> None:
    assert undecided(tiny.tokens([5], [0.7], [[(5, 0.7)]]))[2] == pytest.approx(0.4)
    assert undecided(tiny.tokens([5], [0.4], [[(5, 0.4)]]))[2] == 0


def test_without_alternatives_nothing_is_known() -> None:
    assert undecided(tiny.tokens([5], [0.6], [[]])) == undecided(tiny.tokens([], [], [])) == NOT_KNOWN


def test_what_is_said_of_one_answer_hangs_on_no_other() -> None:
    several = [
        tiny.tokens([5, 6, 7], [0.6, 0.1, 1.0], [[(5, 0.6), (8, 0.2)], [(8, 0.5), (9, 0.3)], [(7, 1.0)]]),
        tiny.tokens([5], [0.6], [[]]),
        tiny.tokens([], [], []),
        tiny.tokens([1, 2], [0.5, 0.25], [[(1, 0.5), (3, 0.5)], [(4, 0.75)]]),
    ]
    assert deciding.undecided(Ragged.of(several)) == [undecided(one) for one in several]
