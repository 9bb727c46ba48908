"""What every chart shares: axes with round ticks, marks that mean something, a table of the figures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

Format = Callable[[float], str]


def plain(value: float) -> str:
    """A number as a tick shows it: 41,200 · 0.25 · −5."""
    return f"{value:,.6g}".replace("-", "−")


@dataclass(frozen=True)
class Mark:
    """A line across a chart that means something: what must be beaten, no difference."""

    value: float
    label: str
    style: str = "quiet"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) that cover low … high, both ends included."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("an axis needs finite ends")
    if high - low < 1e-9 * max(abs(low), abs(high), 1.0):
        high = low + (abs(low) if abs(low) > 1e-9 else 1.0)
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    first, last = _whole(low / step, math.floor), _whole(high / step, math.ceil)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _whole(steps: float, outwards: Callable[[float], int]) -> int:
    """The whole number of steps that reaches the value; 3.0000000000000004 is 3, and 1e-12 is not 0."""
    near = round(steps)
    return near if math.isclose(steps, near, rel_tol=1e-9) else outwards(steps)


@dataclass(frozen=True)
class Axis:
    """Maps values between the first and the last tick onto 0 … 1."""

    marks: list[float]

    @classmethod
    def over(cls, values: Sequence[float], about: int = 5, zero: bool = False) -> "Axis":
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low = min(*finite, 0.0) if zero else min(finite)
        return cls(ticks(low, max(finite), about))

    def __call__(self, value: float) -> float:
        return (value - self.marks[0]) / (self.marks[-1] - self.marks[0])


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> SafeString:
    """A chart's figures for those who read rather than look."""
    body = format_html_join(
        "",
        "<tr>{}</tr>",
        (
            (
                format_html_join(
                    "",
                    "{}",
                    (
                        (
                            format_html(
                                '<th scope="row">{}</th>' if not i else '<td class="num">{}</td>', cell
                            ),
                        )
                        for i, cell in enumerate(row)
                    ),
                ),
            )
            for row in rows
        ),
    )
    return format_html(
        '<details class="chart-table"><summary>Show as a table</summary><div class="scroll" role="region" '
        'tabindex="0" aria-label="{} as a table"><table class="table table-plain"><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div></details>",
        title,
        format_html_join("", '<th scope="col">{}</th>', ((cell,) for cell in head)),
        body,
    )


def percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def linked(href: str, piece: SafeString, *, stop: bool = True) -> SafeString:
    """Without ``stop`` the keyboard passes it by: where many lie close, a table leads to the same."""
    skip = SafeString("" if stop else ' tabindex="-1"')
    return format_html('<a href="{}"{}>{}</a>', href, skip, piece) if href else piece
