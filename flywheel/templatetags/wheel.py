"""How a comparison reads on the pages of the wheel."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flywheel import gate
from flywheel.pages.evaluations import interval
from flywheel.statistics import Difference

register = template.Library()


@register.filter
def p_value(p: float) -> str:
    """p < 0.001 · p = 0.03"""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.01 else f"p = {p:.2f}"


@register.filter
def sentence(difference: Difference) -> SafeString:
    """Better: +42.6 points (38.1–47.0), 500 cases, p < 0.001."""
    word = "Better" if difference.low > 0 else "Worse" if difference.high < 0 else "No clear difference"
    cases = f"{difference.n:,} case{'' if difference.n == 1 else 's'}"
    return format_html("{}: <b>{}</b>, {}, {}.", word, interval(difference), cases, p_value(difference.p))


@register.filter
def points_with_interval(difference: Difference) -> str:
    """+42.6 points (38.1–47.0)"""
    return interval(difference)


@register.filter
def line(share: float) -> str:
    """What must be beaten: 0.0 points, +1.0 points"""
    return gate.points(share)
