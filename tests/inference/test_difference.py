"""Two texts as runs that give both back; distributions never further apart than they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import difference
from inference.answer import Tokens
from tests.inference import tiny

texts = st.text(alphabet="ab \n.é", max_size=60)


@given(texts, texts)
def test_runs_give_both_texts_back(first: str, second: str) -> None:
    found = difference.words(first, second)
    assert "".join(run.text for run in found.runs if run.kind != "come") == first
    assert "".join(run.text for run in found.runs if run.kind != "gone") == second
    assert found.same == (first == second)


def test_a_changed_word_is_struck_out_and_put_in() -> None:
    runs = difference.words("Diseases of the skin.", "Diseases of the eye.").runs
    assert [(run.kind, run.text) for run in runs] == [
        ("same", "Diseases of the "),
        ("gone", "skin"),
        ("come", "eye"),
        ("same", "."),
    ]
    assert difference.words("Diseases of the skin.", "Diseases of the eye.").changed == 2


def test_of_long_texts_the_beginnings_are_compared_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "MOST_WORDS", 3)
    found = difference.words("a b c d", "a b x y")
    assert (found.same, found.whole) == (True, False)
    assert difference.words("a b", "a b").whole


def known(total: list[float], kept: int) -> dict[int, float]:
    """The likeliest few of a distribution over as many tokens as it has."""
    ranked = sorted(enumerate(total), key=lambda pair: -pair[1])
    return dict(ranked[:kept])


shares = st.lists(st.integers(1, 1000), min_size=6, max_size=6).map(lambda xs: [x / sum(xs) for x in xs])


@given(shares, shares, st.integers(1, 6), st.integers(1, 6))
def test_the_distance_is_a_lower_bound_and_exact_when_all_is_known(
    first: list[float], second: list[float], one: int, two: int
) -> None:
    true = sum(abs(p - q) for p, q in zip(first, second, strict=True)) / 2
    found = difference.apart(known(first, one), known(second, two))
    assert 0 <= found <= true + 1e-9
    assert difference.apart(known(first, 6), known(second, 6)) == pytest.approx(true)
    assert difference.apart(known(first, one), known(first, one)) == pytest.approx(0)


def test_two_sure_answers_of_which_neither_lists_the_other_are_far_apart() -> None:
    assert difference.apart({1: 0.97, 2: 0.02}, {3: 0.9, 4: 0.08}) == pytest.approx(0.98 - 0.01)


def tokens(ids: list[int], chances: list[float]) -> Tokens:
    tops = [[(i, p), (99, 1 - p)] for i, p in zip(ids, chances, strict=True)]
    return tiny.tokens(ids, chances, tops)


def test_positions_are_compared_up_to_the_first_that_differs() -> None:
    found = difference.steps(
        tokens([5, 6, 7, 8], [0.9, 0.6, 0.8, 0.5]), tokens([5, 6, 3, 8], [0.9, 0.9, 0.7, 0.5])
    )
    assert [step.place for step in found] == [0, 1, 2]
    assert [step.parted for step in found] == [False, False, True]
    assert [step.apart for step in found] == pytest.approx([0.0, 0.3, 0.8])
    assert [step.place for step in difference.widest(found, 2)] == [2, 1]
    assert difference.steps(tokens([], []), tokens([5], [0.9])) == []
