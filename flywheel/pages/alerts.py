"""What the engine room shows of alerts: what fires with its words, what ended, what could not be told."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from flywheel import alerts
from flywheel.alert_models import Alert, AlertChannel, AlertMessage, AlertRule, Severity
from flywheel.losses import GLYPHS
from flywheel.templatetags.flywheel import number, percent, seconds
from inference import filters
from inference.vitals import METRICS


@dataclass(frozen=True, slots=True)
class Row:
    """One alert that fires."""

    alert: Alert

    @property
    def tone(self) -> str:
        return "bad" if self.alert.rule.severity == Severity.CRITICAL else "warn"

    @property
    def glyph(self) -> str:
        return GLYPHS[self.tone]

    @property
    def said(self) -> str:
        """What was measured last."""
        known = {name: value for name, value in self.alert.values.items() if name in METRICS}
        return ", ".join(f"{METRICS[name].title} {written(name, value)}" for name, value in known.items())

    @property
    def url(self) -> str:
        """The engine's exchanges since it holds; none for a spool, whose exchanges nobody can name."""
        if not any(METRICS[name].of != "spool" for name in self.alert.values if name in METRICS):
            return ""
        since = filters.Time("since", self.alert.since.replace(microsecond=0))
        return exchanges(filters.Equals("upstream", (self.alert.source,)), since)


def written(metric: str, value: float) -> str:
    """A value as pages write it."""
    unit = METRICS[metric].unit
    if unit == "share":
        return percent(value)
    if unit == "seconds":
        return seconds(value)
    return number(value) if unit in ("1 or 0", "code") else f"{number(value)}\N{NO-BREAK SPACE}{unit}"


def exchanges(*terms: filters.Term) -> str:
    """The address of the exchanges behind a number."""
    return f"{reverse('exchanges')}?{urlencode({'q': str(filters.Filter(terms))})}"


def context() -> dict[str, Any]:
    """For the page."""
    day = timezone.now() - timedelta(days=1)
    over = Alert.objects.filter(state=Alert.State.RESOLVED, ended_at__gte=day).select_related("rule")
    unsent = AlertMessage.objects.filter(
        sent_at=None, attempts__gt=0, created_at__gte=day - timedelta(days=1)
    )
    return {
        "firing": [Row(alert) for alert in alerts.firing()],
        "over": list(over.order_by("-ended_at")[:20]),
        "unsent": list(unsent.select_related("channel")[:5]),
        "rules": AlertRule.objects.filter(enabled=True).exists(),
        "channels": AlertChannel.objects.filter(enabled=True).exists(),
    }
