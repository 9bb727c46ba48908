"""What a proxy counts about itself, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from inference.tallies import Tally, Timings

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """One process's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.exchanges = Tally(
            "flywheel_exchanges", "Exchanges by how they ended", ["surface", "route", "end_reason"], registry
        )
        self.records = Counter(
            "flywheel_records", "Other records kept: feedback, requests of spans", ["kind"], registry=registry
        )
        self.unauthenticated = Counter(
            "flywheel_unauthenticated", "Calls without a valid key; these are not spooled", registry=registry
        )
        self.dropped = Counter(
            "flywheel_dropped_captures",
            "Exchanges served but not spooled: the disk took none",
            registry=registry,
        )
        self.in_flight = 0
        """Calls being answered."""
        Gauge("flywheel_in_flight", "Calls being answered", registry=registry).set_function(
            lambda: self.in_flight
        )
        self.first_byte = Timings(
            "flywheel_first_byte_seconds", "From request to the engine's first byte", _SLOW, registry
        )
        self.durable = Timings("flywheel_durable_seconds", "Wait for the group commit", _FAST, registry)
        self.spool_bytes = Gauge("flywheel_spool_bytes", "Segments on disk", registry=registry)
        self.spool_queued = Gauge("flywheel_spool_queued_bytes", "Waiting to be written", registry=registry)
        self.spool_healthy = Gauge(
            "flywheel_spool_healthy", "1 while the spool takes writes", registry=registry
        )
        self.snapshot = Gauge(
            "flywheel_routing_snapshot", "Number of the snapshot in force", registry=registry
        )

        self.limited = Counter(
            "flywheel_limited", "Calls answered 429 by the proxy, by the limit", ["limit"], registry=registry
        )
        self.limits_together = Gauge(
            "flywheel_limits_together",
            "1 while Redis counts for all proxies, 0 while each counts alone",
            registry=registry,
        )
        self.ejections = Counter(
            "flywheel_ejections", "Engines put aside because they failed", ["upstream"], registry=registry
        )
        self.upstream_in_order = Gauge(
            "flywheel_upstream_in_order",
            "1 while an engine gets calls as any other; 0 from when it is put aside until it answers one",
            ["upstream"],
            registry=registry,
        )
        self.upstream_captures = Gauge(
            "flywheel_upstream_captures",
            "1 while an engine captures tokens itself, 0 while they come over the wire",
            ["upstream"],
            registry=registry,
        )
        self.captures = Tally(
            "flywheel_captures", "Exchanges by how their tokens are captured", ["capture"], registry
        )
        self.failovers = Counter(
            "flywheel_failovers",
            "Calls that went on to another replica, by the one that failed them",
            ["upstream"],
            registry=registry,
        )

    def dropped_so_far(self) -> float:
        """Captures that this process dropped."""
        return self.registry.get_sample_value("flywheel_dropped_captures_total") or 0.0

    def page(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
