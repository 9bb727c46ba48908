"""Endings, times and missing tokens in words."""

import pytest

from inference import account


@pytest.mark.parametrize("reason", account.ENDINGS)
def test_every_ending_has_words_and_a_glyph(reason: str) -> None:
    ending = account.ending(reason)
    assert ending.short
    assert ending.words
    assert ending.glyph in "✓▲✕"


def test_an_ending_nobody_knew_is_shown_as_it_came() -> None:
    assert account.ending("abort").words == "abort"
    assert account.ending("").short == "unknown"


def test_the_bar_is_cut_where_the_first_piece_came() -> None:
    timing = account.timing(2.0, 0.5, 31)
    assert (timing.meeting, timing.rest) == (250, 750)
    assert timing.rate == pytest.approx(31 / 1.5)


def test_without_a_first_piece_all_of_it_was_waiting() -> None:
    timing = account.timing(2.0, None, 0)
    assert (timing.meeting, timing.rest, timing.rate) == (1000, 0, None)


def test_a_clock_that_stood_still_divides_nothing() -> None:
    timing = account.timing(0.0, 0.0, 5)
    assert (timing.meeting, timing.rate) == (0, None)


@pytest.mark.parametrize(
    ("capture", "tokens", "said"),
    [
        ("off", 5, "this route keeps exchanges without them"),
        ("refused", 5, "the engine refused logprobs"),
        ("wire", 0, "nothing was answered"),
        ("wire", 5, "No tokens have arrived"),
    ],
)
def test_why_there_are_no_tokens(capture: str, tokens: int, said: str) -> None:
    assert said in account.why_no_tokens(capture, tokens)


def test_tokens_that_an_engine_keeps_itself_are_awaited_and_then_missed() -> None:
    assert "on their way" in account.why_no_tokens("engine", 5, expected=True)
    assert "missing" in account.why_no_tokens("engine", 5, expected=True, missing=True)
    assert "nothing was answered" in account.why_no_tokens("engine", 0)
