"""How numbers, times and words read."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone

from flywheel.templatetags import flywheel as tags


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (41200, "41,200"),
        (0, "0"),
        (3.14159, "3.14"),
        (2.5, "2.5"),
        (None, "–"),
        (float("nan"), "–"),
        ("x", "–"),
    ],
)
def test_numbers(given: object, read: str) -> None:
    assert tags.number(given) == read


@pytest.mark.parametrize(
    ("given", "read"),
    [(0, "0"), (10_000, "10,000"), (10_001, "about 10,001"), (None, "–")],
)
def test_what_was_not_counted_exactly_says_so(given: int | None, read: str) -> None:
    assert tags.counted(given) == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (0.57, "57 %"),
        (0.046, "4.6 %"),
        (0, "0 %"),
        (1, "100 %"),
        (0.00001, "<0.1 %"),
        (0.99999, ">99.9 %"),
        (0.994, "99.4 %"),
        (None, "–"),
    ],
)
def test_a_small_chance_is_not_none_and_a_large_one_not_all(given: object, read: str) -> None:
    assert tags.percent(given).replace("\u00a0", " ") == read


def test_intervals_and_differences() -> None:
    assert tags.percent_range(0.53, 0.61) == "53–61"
    assert tags.points(-0.0123).replace("\u00a0", " ") == "−1.2 points"
    assert tags.points(0.426).replace("\u00a0", " ") == "+42.6 points"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (0.0123, "12 ms"),
        (0.0996, "0.1 s"),
        (1.44, "1.4 s"),
        (9.96, "10 s"),
        (70, "70 s"),
        (720, "12 min"),
        (9000, "2 h"),
    ],
)
def test_durations(given: float, read: str) -> None:
    assert tags.seconds(given).replace("\u00a0", " ") == read


@pytest.mark.parametrize(
    ("passed", "read"),
    [
        (timedelta(seconds=0.2), "now"),
        (timedelta(seconds=4.5), "4 s ago"),
        (timedelta(minutes=3, seconds=5), "3 min ago"),
        (timedelta(hours=5, seconds=5), "5 h ago"),
        (timedelta(days=2, seconds=5), "2 d ago"),
        (timedelta(minutes=-5, seconds=-5), "in 5 min"),
    ],
)
def test_times_are_relative(passed: timedelta, read: str) -> None:
    assert tags.ago(timezone.now() - passed).replace("\u00a0", " ") == read


def test_old_times_are_dates_and_absolute_ones_in_the_readers_zone() -> None:
    moment = datetime(2024, 2, 3, 23, 30, 5, tzinfo=UTC)
    with timezone.override("Asia/Tokyo"):
        assert tags.ago(moment) == "4 Feb 2024"
        assert tags.absolute(moment) == "Sun 4 Feb 2024, 08:30:05 JST"
    assert tags.iso(moment) == "2024-02-03T23:30:05.000+00:00"


def test_short_ids_differ_within_a_minute() -> None:
    first, second = UUID("01938f2e-1111-7000-8000-00000000aaaa"), UUID("01938f2e-1112-7000-8000-00000000bbbb")
    assert tags.short_hash(first) != tags.short_hash(second)
    assert tags.short_hash("3f2a" * 16) == "3f2a3f2a"
    assert tags.short_hash("") == ""


def test_a_term_opens_its_meaning_once_a_page() -> None:
    page = Template(
        '{% load flywheel %}{% term "lease" %} and {% term "lease" %} and {% term "token" "tokens" %}'
    )
    text = page.render(Context({"request": RequestFactory().get("/")}))
    assert text.count('popovertarget="term-lease"') == 1
    assert "Nobody else gets this item until then." in text
    assert " and lease and " in text
    assert ">tokens</button>" in text


def test_a_term_nobody_explained_is_a_fault() -> None:
    with pytest.raises(KeyError):
        Template('{% load flywheel %}{% term "frobnicate" %}').render(Context())
