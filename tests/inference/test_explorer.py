"""Links and spans of the explorer. What it shows of stored exchanges is in test_views."""

from datetime import UTC, datetime, timedelta

import pytest

from inference import explorer, filters
from inference.queries import Bucket

HERE = explorer.Place(None, None)
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_column_narrows_the_list_to_its_time_and_keeps_the_rest() -> None:
    bucket = Bucket(START, START + timedelta(minutes=5), 8, 2)
    (column,) = explorer.bars([bucket], filters.parse("route:icd since:7d").terms, 16, HERE)
    assert column.url == (
        "/exchanges/?q=route%3Aicd+since%3A2026-11-20T12%3A00%3A00+until%3A2026-11-20T12%3A05%3A00"
    )
    assert (column.height, column.y, column.failed) == (32, 32, 8)
    assert column.title == "8 in 5 minutes from 20 Nov 12:00:00 UTC, 2 failed"


def test_a_last_column_that_is_not_over_ends_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(end: datetime) -> object:
        made = [Bucket(START, START + timedelta(days=1), 1, 0), Bucket(START + timedelta(days=1), end, 1, 0)]
        monkeypatch.setattr("inference.queries.histogram", lambda chosen: made)
        return explorer.histogram(filters.parse(""), HERE)["bars_until"]

    now = datetime.now(UTC)
    assert ends(now - timedelta(seconds=2)) == now - timedelta(seconds=2)
    assert ends(now + timedelta(seconds=20)) is None


def test_what_is_not_zero_can_be_seen() -> None:
    minute = timedelta(minutes=1)
    few, none = Bucket(START, START + minute, 1, 0), Bucket(START, START + minute, 0, 0)
    assert [column.height for column in explorer.bars([few, none], (), 10_000, HERE)] == [2, 0]


@pytest.mark.parametrize(
    ("seconds", "read"),
    [
        (1, "1 second"),
        (40, "40 seconds"),
        (90, "1.5 minutes"),
        (2678, "45 minutes"),
        (7200, "2 hours"),
        (86400, "1 day"),
    ],
)
def test_spans_in_words(seconds: float, read: str) -> None:
    assert explorer.span(seconds) == read


def test_chips_drop_and_quick_ones_add() -> None:
    chosen = filters.parse("end:length route:icd")
    assert [link.url for link in explorer.chips(chosen, HERE)] == [
        "/exchanges/?q=route%3Aicd",
        "/exchanges/?q=end%3Alength",
    ]
    offered = [link.text for link in explorer.quick(chosen, HERE)]
    assert "cut off" not in offered
    assert "failed" in offered
