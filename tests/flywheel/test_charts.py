"""Charts: axes are round, nothing is lost by thinning, and no name can break out of the markup."""

import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import charts

HOSTILE = '"><script>alert(1)</script>'


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_cover_the_values_at_even_steps(one: float, other: float) -> None:
    low, high = sorted((one, other))
    marks = charts.ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    steps = [b - a for a, b in itertools.pairwise(marks)]
    assert steps
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)
    assert len(marks) <= 9


def test_ticks_are_one_two_or_five() -> None:
    assert charts.ticks(0, 0.9, 4) == [0, 0.5, 1.0]
    assert charts.ticks(0, 43, 5) == [0, 10, 20, 30, 40, 50]


def test_ticks_refuse_what_has_no_end() -> None:
    with pytest.raises(ValueError, match="finite"):
        charts.ticks(0, float("inf"))


def test_thinning_keeps_the_spike_and_the_order() -> None:
    points = [charts.Point(step, 1.0) for step in range(5000)]
    points[2718] = charts.Point(2718, 99.0)
    points[31] = charts.Point(31, -5.0)
    kept = charts.thin(points)
    assert len(kept) <= charts.MOST_POINTS
    assert {99.0, -5.0} <= {point.y for point in kept}
    assert [point.x for point in kept] == sorted(point.x for point in kept)


def test_a_line_chart_says_its_figures_aloud_and_as_a_table() -> None:
    points = [charts.Point(10, 2.5), charts.Point(20, 1.25, low=1.0, high=1.5)]
    html = charts.line([charts.Series("loss", points)], title="Loss", x_name="step")
    assert 'aria-label="Loss. loss: 2.5 at first, 1.25 now."' in html
    assert '<th scope="row">20</th><td class="num">1.25</td>' in html
    assert parsed(html).tag == "figure"


def test_a_line_breaks_where_nothing_was_measured() -> None:
    points = [charts.Point(x, 1.0, low=0.5, high=1.5) for x in (0, 10, 20, 100, 110)]
    series = [charts.Series("load", points)]
    joined, broken = (charts.line(series, title="Load", x_name="time", gap=gap) for gap in (None, 25))
    assert (joined.count('class="line-current" d='), broken.count('class="line-current" d=')) == (1, 2)
    assert (joined.count('class="band-current"'), broken.count('class="band-current"')) == (1, 2)


def test_a_windows_axis_is_the_window_also_where_nothing_was_measured() -> None:
    points = [charts.Point(90, 1.0), charts.Point(100, 2.0)]
    series = [charts.Series("load", points)]
    html = charts.line(series, title="Load", x_name="time", x_start=0, x_end=100)
    assert 'd="M900.0 ' in html


def test_a_line_chart_that_does_not_start_at_zero_says_so() -> None:
    points = [charts.Point(1, 50.0), charts.Point(2, 52.0)]
    html = charts.line([charts.Series("rate", points)], title="Rate", x_name="step", zero=False)
    assert "The axis starts at 50, not at 0." in html


def test_a_line_chart_without_a_point_says_so() -> None:
    html = charts.line([charts.Series("loss", [])], title="Loss", x_name="step")
    assert "Loss: nothing measured yet." in html


def test_one_point_is_a_chart_too() -> None:
    html = charts.line([charts.Series("loss", [charts.Point(1, 0.0)])], title="Loss", x_name="step")
    assert "nan" not in html.lower()
    assert parsed(html).findall(".//circle")


def test_two_series_differ_in_more_than_colour() -> None:
    pair = [
        charts.Series(n, [charts.Point(1, 1.0)], s) for n, s in (("train", "current"), ("eval", "second"))
    ]
    html = charts.line(pair, title="Loss", x_name="step")
    assert "line-current" in html
    assert "line-second" in html


def test_whiskers_reach_from_low_to_high_on_one_axis() -> None:
    rows = [
        charts.Dot("majority class", 14.0, style="quiet"),
        charts.Dot("candidate", 57.0, 53.0, 61.0, href="/exchanges/"),
    ]
    html = charts.dots(rows, title="Right answers", low=0, high=100)
    assert '<line class="whisker line-current" x1="53%" x2="61%"' in html
    assert 'cx="14%"' in html
    assert '<a href="/exchanges/">' in html
    assert "53 to 61" in html
    parsed(html)


def test_marks_widen_the_axis_so_that_they_can_be_seen() -> None:
    html = charts.dots(
        [charts.Dot("difference", 42.0, 38.0, 47.0)], title="D", marks=[charts.Mark(0, "must beat 0")]
    )
    assert 'x1="0%" x2="0%" y1="18"' in html
    assert "must beat 0" in html


def test_a_spark_has_a_bar_a_day_and_keeps_empty_days_visible() -> None:
    html = charts.spark([0, 3, 6], title="9 in 3 days", labels=["Mon", "Tue", "Wed"])
    bars = parsed(html).findall(".//rect")
    assert [bar.get("class") for bar in bars] == ["spark-bar spark-none", "spark-bar", "spark-bar"]
    assert float(bars[2].get("height", "")) == 2 * float(bars[1].get("height", ""))
    assert "Tue: 3" in html


def test_a_spark_of_nothing_is_flat() -> None:
    assert charts.spark([], title="none") == charts.spark([], title="none")
    assert "nan" not in charts.spark([0, 0], title="none")


def test_parts_of_a_bar_follow_each_other() -> None:
    html = charts.bar([charts.Part(60, "train"), charts.Part(20, "exam", "second")], 200)
    assert 'x="0%" y="0" width="30%"' in html
    assert 'x="30%" y="0" width="10%"' in html
    assert charts.bar([charts.Part(0, "none")], 0)


@pytest.mark.parametrize(
    "html",
    [
        charts.line([charts.Series(HOSTILE, [charts.Point(1, 1.0)])], title=HOSTILE, x_name=HOSTILE),
        charts.dots([charts.Dot(HOSTILE, 1.0, href=HOSTILE)], title=HOSTILE, marks=[charts.Mark(0, HOSTILE)]),
        charts.spark([1], title=HOSTILE, labels=[HOSTILE]),
        charts.bar([charts.Part(1, HOSTILE)], 1, label=HOSTILE),
        charts.table(HOSTILE, [HOSTILE], [[HOSTILE]]),
    ],
)
def test_no_name_breaks_out_and_nothing_is_styled_inline(html: str) -> None:
    assert "<script" not in html
    assert not re.search(r"\sstyle=", html)
    parsed(html)


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)
