"""Bars: a day each in a sparkline, parts of a whole in a table's cell."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from flywheel.charts.axes import percent, plain


@dataclass(frozen=True)
class Part:
    """A piece of a stacked bar."""

    value: float
    label: str
    style: str = "current"


def spark(values: Sequence[float], *, title: str, labels: Sequence[str] = ()) -> SafeString:
    """A row of small bars from zero, one a day; read aloud as its title, which should hold the number."""
    most = max([*values, 0]) or 1
    step = 100 / max(len(values), 1)
    bars = format_html_join(
        "",
        '<rect class="spark-bar{}" x="{}%" y="{}" width="{}%" height="{}"><title>{}</title></rect>',
        (
            (
                "" if value else " spark-none",
                percent(index * step),
                round(32 - max(value / most * 30, 2), 1),
                percent(step * 0.72),
                round(max(value / most * 30, 2), 1),
                f"{labels[index]}: {plain(value)}" if index < len(labels) else plain(value),
            )
            for index, value in enumerate(values)
        ),
    )
    return format_html(
        '<svg class="spark" width="100%" height="32" role="img" aria-label="{}">{}</svg>', title, bars
    )


def bar(parts: Sequence[Part], whole: float, *, label: str = "", height: int = 10) -> SafeString:
    """A stacked bar, its parts in percent of ``whole``. In a table row, which says the numbers: no label."""
    at = 0.0
    pieces = []
    for part in parts:
        width = 100 * part.value / whole if whole else 0.0
        pieces.append((part.style, percent(at), percent(width), height, f"{part.label}: {plain(part.value)}"))
        at += width
    return format_html(
        '<svg class="bar-svg" width="100%" height="{}" {}>{}</svg>',
        height,
        format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"'),
        format_html_join(
            "",
            '<rect class="fill-{}" x="{}%" y="0" width="{}%" height="{}"><title>{}</title></rect>',
            pieces,
        ),
    )
