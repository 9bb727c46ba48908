"""The filter's text and its value are two forms of one thing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import filters
from inference.filters import Compare, Equals, Filter, FilterError, Not, Tag, Time, Words

LINE = (
    "route:icd-chapter model:smollm2-135m end:stop least_p:<0.3 since:7d tag:group=R06 "
    'key:"coding desk" user:a,b session:s-1 "chest pain"'
)

words = st.text(min_size=1, max_size=20).filter(lambda word: word.isprintable() or "\n" in word)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32).map(float)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
spans = st.integers(1, 100_000).map(lambda minutes: timedelta(minutes=minutes))
positive = st.one_of(
    st.builds(Equals, st.sampled_from(filters.NAMES), st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.builds(
        Equals,
        st.just("feedback"),
        st.lists(st.sampled_from(filters.FEEDBACK), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(
        Equals,
        st.just("label"),
        st.lists(st.sampled_from(filters.LABELS), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Compare, st.sampled_from(filters.NUMBERS), st.sampled_from(filters.OPERATORS), numbers),
    st.builds(Tag, words, words),
    st.builds(Words, words),
)
times = st.builds(Time, st.sampled_from(filters.TIMES), st.one_of(moments, spans))
terms = st.one_of(positive, times, st.builds(Not, positive))


def test_the_line_of_the_guide_is_understood() -> None:
    assert filters.parse(LINE).terms == (
        Equals("route", ("icd-chapter",)),
        Equals("model", ("smollm2-135m",)),
        Equals("end", ("stop",)),
        Compare("least_p", "<", 0.3),
        Time("since", timedelta(days=7)),
        Tag("group", "R06"),
        Equals("key", ("coding desk",)),
        Equals("user", ("a", "b")),
        Equals("session", ("s-1",)),
        Words("chest pain"),
    )
    assert filters.text(filters.parse(LINE)) == LINE.replace("since:7d", "since:1w")


def test_a_minus_leaves_out_what_a_term_matches() -> None:
    line = '-end:stop -tag:group=R06 -"chest pain" -cough -least_p:<0.3 -; --x - -- "-y"'
    assert filters.parse(line).terms == (
        Not(Equals("end", ("stop",))),
        Not(Tag("group", "R06")),
        Not(Words("chest pain")),
        Not(Words("cough")),
        Not(Compare("least_p", "<", 0.3)),
        Not(Words(";")),
        *(Words(word) for word in ("--x", "-", "--", "-y")),
    )
    assert filters.text(filters.parse(line)).endswith(' -; "--x" "-" "--" "-y"')


def test_a_pinned_filter_means_the_same_later() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    pinned = filters.parse("route:icd since:7d until:2026-11-19").pinned(now)
    assert filters.text(pinned) == "route:icd since:2026-11-13T12:00:00 until:2026-11-19"
    assert pinned.pinned(now + timedelta(days=1)) == pinned


@given(st.lists(terms, max_size=6).map(tuple))
def test_every_filter_comes_back_from_its_text(found: tuple[filters.Term, ...]) -> None:
    assert filters.parse(filters.text(Filter(found))) == Filter(found)


@pytest.mark.parametrize("word", ["OR", "NOT", "-fracture", "least_p<0.3", "end=stop", "LEAST_P:<1"])
def test_what_looks_like_a_term_is_looked_for_in_quotation_marks(word: str) -> None:
    found = Filter((filters.Words(word),))
    assert filters.text(found) == f'"{word}"'
    assert filters.parse(filters.text(found)) == found


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_says_which_part_is_not(line: str) -> None:
    try:
        found = filters.parse(line)
    except FilterError as error:
        problem = error
    else:
        assert filters.parse(filters.text(found)) == found
        return
    assert problem.part.strip()
    assert problem.message


@pytest.mark.parametrize(
    ("line", "part", "message"),
    [
        ("route:icd colour:red", "colour:red", "there is no colour:"),
        ("least_p:<much", "least_p:<much", "not a number"),
        ("least_p<0.3 fracture", "least_p<0.3", "write least_p:<0.3"),
        ("end=stop", "end=stop", "write end:stop"),
        ("LEAST_P:<0.3", "LEAST_P:<0.3", "write least_p:<0.3"),
        ("version=base", "version=base", "write version:base"),
        ("least_p:0.3..0.5", "least_p:0.3..0.5", "a range is two parts"),
        ("least_p:<0.3,0.5", "least_p:<0.3,0.5", "a range is two parts"),
        ("fracture OR cough", "OR", "there is no OR"),
        ("NOT fracture", "NOT", "a minus leaves out"),
        ("-since:7d", "-since:7d", "until:, not by a minus"),
        ("-colour:red", "-colour:red", "there is no colour:"),
        ("-least_p<0.3", "least_p<0.3", "write least_p:<0.3"),
        ("-end:", "-end:", "a value is missing"),
        ("since:yesterday", "since:yesterday", "a time is written"),
        ('a "chest pain', '"chest pain', "not closed"),
        ("tag:group", "tag:group", "tag:name=value"),
        ("end:", "end:", "a value is missing"),
        ("route:x label:good", "label:good", "label is one of approved, rejected"),
        ('""', '""', "nothing between"),
        ('user:"a"b', 'user:"a"b', "a space is missing"),
    ],
)
def test_an_error_names_the_part(line: str, part: str, message: str) -> None:
    with pytest.raises(FilterError) as raised:
        filters.parse(line)
    assert raised.value.part == part
    assert message in raised.value.message


def test_moments_are_seen_from_now() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    since, until = filters.parse("since:36h until:2026-11-23").terms
    assert isinstance(since, Time)
    assert isinstance(until, Time)
    assert since.at(now) == datetime(2026, 11, 22, tzinfo=UTC)
    assert until.at(now) == datetime(2026, 11, 23, tzinfo=UTC)


def test_chips_are_dropped_and_added() -> None:
    found = filters.parse("route:a b")
    assert filters.text(found.without(Words("b"))) == "route:a"
    assert found.with_term(Words("b")) == found
    assert filters.text(found.with_term(Equals("end", ("stop",)))) == "route:a b end:stop"
    assert filters.parse("pain, chest").terms == (Words("pain,"), Words("chest"))
    assert filters.parse("version:v1") == filters.parse("model:v1")


def test_feedback_is_one_of_a_few_words() -> None:
    assert filters.parse("feedback:down,correction score:<0.5").terms == (
        Equals("feedback", ("down", "correction")),
        Compare("score", "<", 0.5),
    )
    with pytest.raises(FilterError) as raised:
        filters.parse("route:x feedback:sideways since:7d")
    assert raised.value.part == "feedback:sideways"
    assert "down" in raised.value.message
