"""Counters and histograms of one event loop, for Prometheus: without locks, which cost more than counting.

Whoever counts is alone in its thread; what other threads count belongs into prometheus_client's own metrics.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry


class Tally(Collector):
    """A counter by its labels' values."""

    def __init__(self, name: str, told: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._told, self.labels = name, told, labels
        self._counts: Counter[tuple[str, ...]] = Counter()
        registry.register(self)

    def add(self, *values: str) -> None:
        """Count one, by the labels' values in their order."""
        self._counts[values] += 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What a scrape gets."""
        family = CounterMetricFamily(self._name, self._told, labels=self.labels)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        return [family]


class Timings(Collector):
    """A histogram of seconds. ``buckets`` are the upper bounds, rising."""

    def __init__(self, name: str, told: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._told, self._bounds = name, told, tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What a scrape gets: each bucket holds those below it, too."""
        family = HistogramMetricFamily(self._name, self._told)
        buckets, total = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([], buckets, self._sum)
        return [family]
