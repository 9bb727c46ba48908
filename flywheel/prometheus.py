"""What web knows, for Prometheus: spools, alerts and the watch. What proxies count they show themselves.

At an internal address that needs the internal token, since names of hosts are nobody's business.
"""

from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flywheel import alerts, losses
from flywheel.models import Sweep
from inference.internal import is_internal


class Known(Collector):
    """Read from the SQL database when asked."""

    def collect(self) -> Iterable[Metric]:
        now = timezone.now()
        states = losses.states(now)
        yield from (
            _gauge(
                name,
                text,
                ["spool"],
                [((one.spool.name,), value) for one, value in zip(states, values, strict=True)],
            )
            for name, text, values in (
                (
                    "flywheel_spool_unstored_seconds",
                    "Age of the oldest record not yet stored",
                    [one.unstored_age or 0.0 for one in states],
                ),
                (
                    "flywheel_spool_drain_silent_seconds",
                    "Since the drain was last heard from or came round",
                    [losses.silent_seconds(one.spool, now) for one in states],
                ),
                (
                    "flywheel_spool_kept_aside",
                    "Records that could not be stored",
                    [float(one.spool.kept_aside + one.spool.damaged) for one in states],
                ),
                (
                    "flywheel_spool_disk_bytes",
                    "Segments on disk, as the drain last said",
                    [float(one.spool.disk_bytes) for one in states],
                ),
                (
                    "flywheel_spool_drained_per_second",
                    "Records stored a second over the last minute",
                    [one.spool.rate for one in states],
                ),
            )
        )
        dropped = CounterMetricFamily("flywheel_spool_dropped", "Captures dropped ever", labels=["spool"])
        for one in states:
            dropped.add_metric([one.spool.name], one.spool.dropped)
        yield dropped
        yield _gauge(
            "flywheel_alert_firing",
            "1 for each alert that fires",
            ["rule", "severity", "source", "gpu"],
            [((one.rule.name, one.rule.severity, one.source, one.part), 1.0) for one in alerts.firing()],
        )
        last = Sweep.objects.filter(pk=1).first()
        age = [((), (now - last.at).total_seconds())] if last else []
        yield _gauge("flywheel_watch_age_seconds", "Since the watch last looked", [], age)


def _gauge(
    name: str, text: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric(given, value)
    return family


def registry() -> CollectorRegistry:
    """All of it."""
    found = CollectorRegistry(auto_describe=False)
    found.register(Known())
    return found


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """The exposition text."""
    if not is_internal(request):
        return HttpResponse(status=403)
    return HttpResponse(generate_latest(registry()), content_type="text/plain; version=0.0.4; charset=utf-8")
