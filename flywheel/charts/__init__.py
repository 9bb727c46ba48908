"""Charts as SVG made on the server: lines with bands, dots with whiskers, sparklines, bars.

Knows geometry and markup only: what a number means, and how it is written, come in as arguments. Colours
come from classes in charts.css, so themes, print and forced colours work, and there is no style attribute
for the content security policy to refuse. Nothing scales its text: across, everything is in percent of the
width there is; up and down, in pixels. Every chart that stands alone carries its figures as a table.
"""

from flywheel.charts.axes import Format, Mark, plain, table, ticks
from flywheel.charts.bars import Part, bar, spark
from flywheel.charts.dots import Dot, dots
from flywheel.charts.lines import MOST_POINTS, Point, Series, line, thin

__all__ = [
    "MOST_POINTS",
    "Dot",
    "Format",
    "Mark",
    "Part",
    "Point",
    "Series",
    "bar",
    "dots",
    "line",
    "plain",
    "spark",
    "table",
    "thin",
    "ticks",
]
