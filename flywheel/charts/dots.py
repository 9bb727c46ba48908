"""Estimates with their intervals, under each other on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from flywheel.charts.axes import Axis, Format, Mark, linked, percent, plain, table


@dataclass(frozen=True)
class Dot:
    """An estimate on a shared axis. Without low and high it is a plain number: a dot and no whisker."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    style: str = "current"
    href: str = ""


def dots(
    rows: Sequence[Dot],
    *,
    title: str,
    value_format: Format = plain,
    marks: Sequence[Mark] = (),
    low: float | None = None,
    high: float | None = None,
) -> SafeString:
    """Estimates and their intervals under each other on one axis; ``marks`` are drawn through all."""
    values = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    values += [mark.value for mark in marks] + [v for v in (low, high) if v is not None]
    axis = Axis.over(values, 5)
    top, each = (22 if marks else 4), 46
    bottom = top + each * len(rows)
    svg = format_html(
        '<svg class="chart-svg" width="100%" height="{}" role="{}" aria-label="{}">{}{}{}</svg>',
        bottom + 26,
        "group" if any(row.href for row in rows) else "img",
        title + ". " + " ".join(f"{row.label}: {row.text or value_format(row.value)}." for row in rows),
        _scale(axis, top, bottom, value_format),
        format_html_join("", "{}", ((_upright(mark, axis, bottom, marks),) for mark in marks)),
        format_html_join(
            "", "{}", ((_dot(row, axis, top + each * index, value_format),) for index, row in enumerate(rows))
        ),
    )
    return format_html(
        '<figure class="chart chart-dots"><figcaption><span class="chart-title">{}</span></figcaption>'
        "{}{}</figure>",
        title,
        svg,
        table(
            title,
            ["", "value", "95 % interval"],
            [
                [row.label, value_format(row.value), _interval(row.low, row.high, value_format)]
                for row in rows
            ],
        ),
    )


def _interval(low: float | None, high: float | None, value_format: Format) -> str:
    return "" if low is None or high is None else f"{value_format(low)} to {value_format(high)}"


def _scale(axis: Axis, top: int, bottom: int, value_format: Format) -> SafeString:
    return format_html_join(
        "",
        '<line class="chart-grid" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>'
        '<text class="chart-tick {3}" x="{0}%" y="{4}">{5}</text>',
        (
            (
                percent(100 * axis(mark)),
                top,
                bottom,
                _anchor(axis(mark)),
                bottom + 18,
                value_format(mark),
            )
            for mark in axis.marks
        ),
    )


_NEAR = 0.25


def _anchor(share: float) -> str:
    """Where a text at that share of the width is held, so that it never leaves the chart."""
    return "chart-first" if share < 0.12 else "chart-last" if share > 0.88 else "chart-tick-x"


def _upright(mark: Mark, axis: Axis, bottom: int, marks: Sequence[Mark]) -> SafeString:
    at = axis(mark.value)
    # On a phone the words of two neighbours would meet: the left ones then end at their mark.
    is_near = any(0 < axis(other.value) - at < _NEAR for other in marks)
    return format_html(
        '<line class="chart-mark line-{0}" x1="{1}%" x2="{1}%" y1="18" y2="{2}"/>'
        '<text class="chart-mark-text {3}" x="{1}%" y="12">{4}</text>',
        mark.style,
        percent(100 * at),
        bottom,
        "chart-last" if is_near and at > _NEAR else _anchor(at),
        mark.label,
    )


def _dot(row: Dot, axis: Axis, top: int, value_format: Format) -> SafeString:
    """Label and number above, dot and whisker below: one column at every width."""
    at = percent(100 * axis(row.value))
    whisker = SafeString("")
    if row.low is not None and row.high is not None:
        low, high = (percent(100 * axis(value)) for value in (row.low, row.high))
        whisker = format_html(
            '<line class="whisker line-{0}" x1="{1}%" x2="{2}%" y1="{3}" y2="{3}"/>'
            '<line class="whisker-end line-{0}" x1="{1}%" x2="{1}%" y1="{4}" y2="{5}"/>'
            '<line class="whisker-end line-{0}" x1="{2}%" x2="{2}%" y1="{4}" y2="{5}"/>',
            row.style,
            low,
            high,
            top + 32,
            top + 27,
            top + 37,
        )
    return format_html(
        '{}<text class="chart-name" x="0" y="{}">{}</text>'
        '<text class="chart-value" x="100%" y="{}">{}</text>{}',
        whisker,
        top + 16,
        row.label,
        top + 16,
        row.text or value_format(row.value),
        linked(
            row.href,
            format_html(
                '<circle class="dot-{}" cx="{}%" cy="{}" r="5"><title>{}</title></circle>',
                row.style,
                at,
                top + 32,
                f"{row.label}: {row.text or value_format(row.value)}",
            ),
        ),
    )
