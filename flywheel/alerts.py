"""Alerts: rules against what was just measured, and which of them fire.

A rule is asked for each engine, spool or GPU that has all its metrics; a condition on a metric of the whole
engine holds for each of its GPUs. What was not measured is not known: an alert that fires goes on, one that
waits begins anew, since it must hold without a break. Works on a sweep's values, not on what is stored, so
ClickHouse may be away. Every change of state is a compare-and-set and, in its transaction, the messages to
send (flywheel.telling).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from flywheel.alert_models import Alert, AlertChannel, AlertMessage, AlertRule, Severity
from flywheel.losses import CaptureState
from inference.vitals import METRICS, Sample

Subject = tuple[str, str]
"""Source and part."""
Measured = dict[str, dict[Subject, float]]
"""By metric."""


def evaluate(samples: Iterable[Sample], now: datetime) -> None:
    """Bring every alert up to what was just measured."""
    measured: Measured = defaultdict(dict)
    for one in samples:
        measured[one.metric][one.source, one.part] = one.value
    watched = {source for values in measured.values() for source, _ in values}
    rules = list(AlertRule.objects.filter(enabled=True).prefetch_related("conditions"))
    opened = {
        (one.rule_id, one.source, one.part): one
        for one in Alert.objects.filter(ended_at=None).select_related("rule")
    }
    for rule in rules:
        for subject, values in _subjects(rule, measured):
            _judge(rule, subject, values, opened.pop((rule.pk, *subject), None), now)
    live = {rule.pk for rule in rules}
    for alert in opened.values():  # nothing was measured for these
        if alert.rule_id not in live or alert.source not in watched:
            _end(alert, now)
        elif alert.state == Alert.State.WAITING:
            alert.delete()


def _subjects(rule: AlertRule, measured: Measured) -> Iterator[tuple[Subject, dict[str, float]]]:
    """What a rule can be asked of now, with the value of each of its metrics."""
    metrics = [condition.metric for condition in rule.conditions.all()]
    gpu = [metric for metric in metrics if METRICS[metric].of == "gpu"]
    for subject in sorted({subject for metric in (gpu or metrics)[:1] for subject in measured[metric]}):
        found = {metric: _value(measured[metric], subject) for metric in metrics}
        values = {metric: value for metric, value in found.items() if value is not None}
        if len(values) == len(found):
            yield subject, values


def _value(values: dict[Subject, float], subject: Subject) -> float | None:
    return values.get(subject, values.get((subject[0], "")))


def _judge(
    rule: AlertRule, subject: Subject, values: dict[str, float], alert: Alert | None, now: datetime
) -> None:
    if not all(condition.holds(values[condition.metric]) for condition in rule.conditions.all()):
        if alert is not None:
            _end(alert, now)
        return
    if alert is None:
        # Two watches at once make one: the constraint lets one open alert of a kind be.
        alert, _ = Alert.objects.get_or_create(
            rule=rule, source=subject[0], part=subject[1], ended_at=None, defaults={"since": now}
        )
    Alert.objects.filter(pk=alert.pk, ended_at=None).update(values=values)
    if alert.state == Alert.State.WAITING and now - alert.since >= timedelta(seconds=rule.for_seconds):
        _change(alert, Alert.State.WAITING, state=Alert.State.FIRING, fired_at=now)


def _end(alert: Alert, now: datetime) -> None:
    """It holds no more. What nobody was told of leaves no trace."""
    if alert.state == Alert.State.WAITING:
        Alert.objects.filter(pk=alert.pk, state=Alert.State.WAITING).delete()
    else:
        _change(alert, Alert.State.FIRING, state=Alert.State.RESOLVED, ended_at=now)


def _change(alert: Alert, before: Alert.State, *, state: Alert.State, **fields: datetime) -> None:
    with transaction.atomic():
        if Alert.objects.filter(pk=alert.pk, state=before).update(state=state, **fields) != 1:
            return
        channels = AlertChannel.objects.filter(enabled=True)
        if alert.rule.severity != Severity.CRITICAL:
            channels = channels.filter(warnings=True)
        if state == Alert.State.RESOLVED:  # only who heard of its beginning hears of its end
            channels = channels.filter(messages__alert=alert, messages__kind=AlertMessage.Kind.FIRING)
        for channel in channels:
            AlertMessage.objects.get_or_create(alert=alert, channel=channel, kind=state.value)


def firing() -> QuerySet[Alert]:
    """What fires now, the critical first, then the newest."""
    return (
        Alert.objects.filter(state=Alert.State.FIRING)
        .select_related("rule")
        .order_by("rule__severity", "-since")
    )


def line() -> CaptureState | None:
    """What stands at the top of every page while something critical fires; losses has a line of its own."""
    found = [
        alert
        for alert in firing().filter(rule__severity=Severity.CRITICAL).prefetch_related("rule__conditions")
        if not all(METRICS[one.metric].of == "spool" for one in alert.rule.conditions.all())
    ]
    if not found:
        return None
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return CaptureState("bad", f"{found[0]}{more}.")
