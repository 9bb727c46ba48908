"""How numbers, times and the field's words read on every page.

Knows wording, and from where on a count is about. The meanings behind words are in flywheel.glossary; charts
are in flywheel.charts.
"""

import math
from datetime import datetime

from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flywheel.glossary import MEANINGS
from inference.queries import COUNTED

register = template.Library()
NBSP = "\N{NO-BREAK SPACE}"


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@register.filter
def number(value: object) -> str:
    """41200 → ``41,200``; a fraction keeps at most two digits; nothing → ``–``."""
    found = _number(value)
    if found is None:
        return "–"
    if found == int(found):
        return f"{int(found):,}"
    return f"{found:,.2f}".rstrip("0").rstrip(".")


@register.filter
def counted(value: int | None) -> str:
    """A count by inference.queries: ``300``, and beyond what is counted exactly ``about 41,200``."""
    return f"about {number(value)}" if value is not None and value > COUNTED else number(value)


def _share(value: float) -> str:
    """Percent without its sign; never 0 or 100 for what is neither."""
    percent_ = value * 100
    if 0 < percent_ < 0.1:
        return "<0.1"
    if 99.9 < percent_ < 100:
        return ">99.9"
    if percent_ < 10 or 99 < percent_ < 100:
        return f"{percent_:.1f}".removesuffix(".0")
    return f"{percent_:.0f}"


@register.filter
def percent(value: object) -> str:
    """0.57 → ``57 %``; below ten and above 99 one digit more, so that a small chance is not called none."""
    found = _number(value)
    return "–" if found is None else f"{_share(found)}{NBSP}%"


@register.filter
def percent_range(low: object, high: object) -> str:
    """An interval's ends, 0.53 and 0.61 → ``53–61``; stands in brackets behind its estimate."""
    ends = [_number(low), _number(high)]
    return "–".join("?" if end is None else _share(end) for end in ends)


@register.filter
def brief(value: object) -> str:
    """A rate with no more digits than say something: 10,879; 3.5."""
    found = _number(value)
    return number(value) if found is None or found < 10 else whole(value)


@register.filter
def money(value: object) -> str:
    """Dollars, with as many digits as say something: 12.50, 0.21, 0.0042."""
    found = _number(value)
    if found is None:
        return "–"
    return f"{found:,.2f}" if found >= 0.1 or not found else f"{found:.2g}"


@register.filter
def points(value: object) -> str:
    """A difference of rates in percentage points with its sign: 0.426 → ``+42.6 points``."""
    found = _number(value)
    return "–" if found is None else f"{found * 100:+.1f}{NBSP}points".replace("-", "−")


@register.filter
def seconds(value: object) -> str:
    """A duration: ``40 ms``, ``1.4 s``, ``70 s``, ``12 min``, ``3 h``."""
    found = _number(value)
    if found is None:
        return "–"
    if found < 0.0995:
        return f"{found * 1000:.0f}{NBSP}ms"
    if found < 9.95:
        return f"{found:.1f}{NBSP}s"
    if found < 120:
        return f"{found:.0f}{NBSP}s"
    return f"{found / 60:.0f}{NBSP}min" if found < 7200 else f"{found / 3600:.0f}{NBSP}h"


@register.filter
def short_hash(value: object) -> str:
    """Eight characters, by which people tell ids apart; a UUID's last, as UUIDv7s of a minute begin alike."""
    text = str(value or "")
    return text[-8:] if text.count("-") == 4 else text[:8]


@register.filter
def whole(value: object) -> str:
    """A rate or a count without its fraction: 39.7 → ``40``."""
    found = _number(value)
    return "–" if found is None else f"{found:,.0f}"


@register.filter
def iso(value: datetime | None) -> str:
    """For the ``datetime`` attribute, in UTC."""
    return value.isoformat(timespec="milliseconds") if value else ""


@register.filter
def absolute(value: datetime | None) -> str:
    """In the reader's zone: ``Mon 23 Nov 2026, 18:07:03 UTC``."""
    if not value:
        return ""
    local = timezone.localtime(value)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M:%S %Z}"


@register.filter
def ago(value: datetime | None) -> str:
    """Relative to now: ``now``, ``4 s ago``, ``in 5 min``; past a month the date. Same words as ago.js."""
    if not value:
        return "–"
    passed = (timezone.now() - value).total_seconds()
    if passed <= -1:
        return f"in{NBSP}{span(-passed)}"
    if passed < 1:
        return "now"
    if passed >= 31 * 86400:
        local = timezone.localtime(value)
        return f"{local.day} {local:%b %Y}"
    return f"{span(passed)}{NBSP}ago"


def span(passed: float) -> str:
    """Seconds gone by, in whole units: ``4 s``, ``3 min``, ``2 h``, ``5 d``."""
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if passed < limit:
            return f"{int(passed // unit)}{NBSP}{name}"
    return f"{int(passed // 86400)}{NBSP}d"


@register.simple_tag(takes_context=True)
def term(context: Context, word: str, shown: str = "") -> SafeString | str:
    """A word of the field, dotted, that opens its meaning by click or Enter; dotted once a page.

    ``{% term "lease" %}`` or ``{% term "adapter" "adapters" %}``; unknown words raise KeyError.
    """
    meaning = MEANINGS[word]
    shown = shown or word
    request = context.get("request")
    seen: set[str] = request.__dict__.setdefault("flywheel_terms", set()) if request else set()
    if word in seen:
        return shown
    seen.add(word)
    ident = "term-" + word.replace(" ", "-")
    return format_html(
        '<button type="button" class="term" popovertarget="{}">{}</button>'
        '<span popover id="{}" class="term-meaning">{}</span>',
        ident,
        shown,
        ident,
        meaning,
    )
