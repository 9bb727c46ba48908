"""What is counted without locks reads like prometheus_client's own."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from inference.tallies import Tally, Timings

BOUNDS = (0.001, 0.5, 2.0)


def page(registry: CollectorRegistry) -> str:
    """Without the moments of making, which prometheus_client adds."""
    lines = generate_latest(registry).decode().splitlines()
    return "\n".join(line for line in lines if "_created" not in line)


def test_a_tally_reads_like_a_counter() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("calls", "Calls by how they ended", ["surface", "end"], ours)
    counter = Counter("calls", "Calls by how they ended", ["surface", "end"], registry=theirs)
    for surface, end in (("chat", "complete"), ("chat", "left"), ("chat", "complete"), ('q"\n', "")):
        tally.add(surface, end)
        counter.labels(surface, end).inc()
    assert page(ours) == page(theirs)
    assert 'calls_total{end="complete",surface="chat"} 2.0' in page(ours)


def test_timings_read_like_a_histogram() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    timings = Timings("wait_seconds", "A wait", BOUNDS, ours)
    histogram = Histogram("wait_seconds", "A wait", buckets=BOUNDS, registry=theirs)
    for seconds in (0.0, 0.001, 0.0011, 0.5, 1.9, 2.0, 2.1, 300.0):
        timings.observe(seconds)
        histogram.observe(seconds)
    assert page(ours) == page(theirs)
    assert 'wait_seconds_bucket{le="+Inf"} 8.0' in page(ours)
