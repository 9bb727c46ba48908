"""Line charts: series over one x, with bands where they are estimates."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from flywheel.charts.axes import Axis, Format, Mark, linked, percent, plain, table, ticks

MOST_POINTS = 300
_WIDE = 1000.0
"""Width of the stretched coordinates that lines are drawn in."""


@dataclass(frozen=True)
class Point:
    """One value over x, with its interval if it is an estimate and the page behind it if there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    href: str = ""


@dataclass(frozen=True)
class Series:
    """A named line. ``style``: current (solid, accent), second (dashed) or quiet (grey, dotted)."""

    name: str
    points: Sequence[Point]
    style: str = "current"


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most ``most`` points: the lowest and the highest of each bucket, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    buckets = most // 2
    kept: list[Point] = []
    for index in range(buckets):
        bucket = points[index * len(points) // buckets : (index + 1) * len(points) // buckets]
        ends = {min(bucket, key=lambda p: p.y), max(bucket, key=lambda p: p.y)}
        kept.extend(sorted(ends, key=lambda p: p.x))
    return kept


def line(
    series: Sequence[Series],
    *,
    title: str,
    x_name: str,
    height: int = 220,
    y_format: Format = plain,
    x_format: Format = plain,
    zero: bool = True,
    marks: Sequence[Mark] = (),
    x_start: float | None = None,
    x_end: float | None = None,
    gap: float | None = None,
) -> SafeString:
    """A line chart. ``zero``: the y axis starts at 0 (else it says that it does not).

    ``x_start`` and ``x_end`` keep the axis from moving with the data: a window, or the last step of a run
    that has just begun. Points further apart than ``gap`` are not joined: nothing was measured between them.
    """
    shown = [Series(each.name, thin(each.points), each.style) for each in series if each.points]
    if not shown:
        return format_html('<p class="chart-none muted">{}: nothing measured yet.</p>', title)
    every = [point for each in shown for point in each.points]
    highs = [value for p in every for value in (p.y, p.low, p.high) if value is not None]
    y = Axis.over([*highs, *(mark.value for mark in marks)], 4, zero)
    xs = [point.x for point in every] + [end for end in (x_start, x_end) if end is not None]
    first, last = min(xs), max(xs)
    x = Axis([first, last if last > first else first + 1])
    note = "" if not y.marks[0] else f" The axis starts at {y_format(y.marks[0])}, not at 0."
    svg = format_html(
        '<svg class="chart-svg" width="100%" height="{}" role="{}" aria-label="{}">{}{}{}{}{}</svg>',
        height,
        "group" if any(point.href for point in every) else "img",
        title + ". " + _spoken(shown, y_format) + note,
        _grid(y, height, y_format),
        _across([mark for mark in ticks(first, last, 5) if first <= mark <= x.marks[1]], x, height, x_format),
        _level(marks, y, height),
        _stretched(shown, x, y, height, gap),
        format_html_join(
            "",
            "{}",
            ((_ends(each, x, y, height=height, x_format=x_format, y_format=y_format),) for each in shown),
        ),
    )
    return format_html(
        '<figure class="chart"><figcaption><span class="chart-title">{}</span>{}</figcaption>'
        '<div class="chart-plot">{}</div><p class="chart-axis">{}{}</p>{}</figure>',
        title,
        _legend(shown) if [each.name for each in shown] != [title] else "",
        svg,
        x_name,
        note,
        table(title, [x_name, *(s.name for s in shown)], _rows(shown, x_format, y_format)),
    )


def _spoken(series: Sequence[Series], y_format: Format) -> str:
    return " ".join(
        f"{each.name}: {y_format(each.points[0].y)} at first, {y_format(each.points[-1].y)} now."
        for each in series
    )


def _legend(series: Sequence[Series]) -> SafeString:
    return format_html(
        '<span class="chart-legend">{}</span>',
        format_html_join(
            "",
            '<span class="chart-key"><svg width="22" height="10" aria-hidden="true">'
            '<line class="line-{}" x1="0" x2="22" y1="5" y2="5"/></svg>{}</span>',
            ((each.style, each.name) for each in series),
        ),
    )


def _grid(y: Axis, height: int, y_format: Format) -> SafeString:
    return format_html_join(
        "",
        '<line class="chart-grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
        '<text class="chart-tick chart-tick-y" x="-8" y="{0}" dy="4">{1}</text>',
        ((round(height * (1 - y(mark)), 1), y_format(mark)) for mark in y.marks),
    )


def _across(marks: Sequence[float], x: Axis, height: int, x_format: Format) -> SafeString:
    return format_html_join(
        "",
        '<text class="chart-tick chart-tick-x" x="{}%" y="{}">{}</text>',
        ((percent(100 * x(mark)), height + 18, x_format(mark)) for mark in marks),
    )


def _level(marks: Sequence[Mark], y: Axis, height: int) -> SafeString:
    return format_html_join(
        "",
        '<line class="chart-mark line-{0}" x1="0" x2="100%" y1="{1}" y2="{1}"/>'
        '<text class="chart-mark-text" x="0" y="{1}" dy="-6">{2}</text>',
        ((mark.style, round(height * (1 - y(mark.value)), 1), mark.label) for mark in marks),
    )


def _path(values: Sequence[tuple[float, float]], x: Axis, y: Axis, height: int) -> str:
    return " L".join(f"{_WIDE * x(at):.1f} {height * (1 - y(value)):.1f}" for at, value in values)


def _runs(points: Sequence[Point], gap: float | None) -> list[list[Point]]:
    """The stretches of points that follow each other without a gap."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and (gap is None or point.x - runs[-1][-1].x <= gap):
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _stretched(
    series: Sequence[Series], x: Axis, y: Axis, height: int, gap: float | None = None
) -> SafeString:
    """Bands and lines: the one part that is stretched to the width there is (strokes are not)."""
    pieces: list[SafeString] = []
    for each in series:
        for run in _runs(each.points, gap):
            banded = [p for p in run if p.low is not None and p.high is not None]
            if len(banded) > 1:
                there = [(p.x, p.high or 0.0) for p in banded]
                back = [(p.x, p.low or 0.0) for p in reversed(banded)]
                pieces.append(
                    format_html(
                        '<path class="band-{}" d="M{} Z"/>', each.style, _path([*there, *back], x, y, height)
                    )
                )
            path = _path([(p.x, p.y) for p in run], x, y, height)
            pieces.append(format_html('<path class="line-{}" d="M{}"/>', each.style, path))
    return format_html(
        '<svg width="100%" height="{0}" viewBox="0 0 1000 {0}" preserveAspectRatio="none">{1}</svg>',
        height,
        format_html_join("", "{}", ((piece,) for piece in pieces)),
    )


def _ends(each: Series, x: Axis, y: Axis, *, height: int, x_format: Format, y_format: Format) -> SafeString:
    """A dot on the newest value, on every value of a short series, and on all that link somewhere."""
    short = len(each.points) <= 40
    chosen = [p for i, p in enumerate(each.points) if short or p.href or i == len(each.points) - 1]
    return format_html_join(
        "",
        "{}",
        (
            (
                linked(
                    p.href,
                    format_html(
                        '<circle class="dot-{}" cx="{}%" cy="{}" r="{}"><title>{}</title></circle>',
                        each.style,
                        percent(100 * x(p.x)),
                        round(height * (1 - y(p.y)), 1),
                        3 if short else 4,
                        f"{each.name} at {x_format(p.x)}: {y_format(p.y)}",
                    ),
                    stop=short or p is each.points[-1],
                ),
            )
            for p in chosen
        ),
    )


def _rows(series: Sequence[Series], x_format: Format, y_format: Format) -> list[list[str]]:
    by_x = [{point.x: point for point in each.points} for each in series]
    return [
        [x_format(at), *(y_format(points[at].y) if at in points else "" for points in by_x)]
        for at in sorted(set().union(*by_x))
    ]
