"""What an engine says of its capture: GET /flywheel/capture, which the proxies ask.

An entry point of the group ``vllm.endpoint_plugins``. Its metrics are in the engine's own /metrics.
"""

from __future__ import annotations

from typing import Any

from inference.engine import VERSION
from inference.engine.plugin import Capture
from inference.engine.tag import PATH


def state() -> dict[str, Any]:
    """Whether tagged requests are captured now, and how it stands. ``capture`` is false with a reason."""
    recorder = Capture.recorder
    problem = Capture.why_not or (recorder.problem if recorder else "")
    told: dict[str, Any] = {"capture": not problem, "why": problem, "version": VERSION, "vllm": Capture.vllm}
    if recorder is not None:
        told |= {
            "spool": str(recorder.folder),
            "records": recorder.records,
            "tokens": recorder.tokens,
            "dropped": dict(recorder.dropped),
            "refused": recorder.refused,
            "queued_bytes": recorder.queued_bytes,
            "spool_bytes": recorder.disk_bytes,
            "logprobs_mode": recorder.logprobs_mode,
        }
    return told


class Endpoint:
    """vLLM's endpoint plugin."""

    name = "flywheel_capture"
    required_tasks = ("generate",)

    def attach_router(self, app: Any) -> None:
        """Add the route."""
        app.add_api_route(PATH, state, methods=["GET"])

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Take the spool before the first request comes."""
        recorder = Capture.recorder
        if recorder is None:
            return
        recorder.logprobs_mode = str(engine_client.model_config.logprobs_mode)
        recorder.start()
        _register(recorder)


def _register(recorder: Any) -> None:
    """Gauges and counters in the registry that the engine's /metrics shows."""
    from prometheus_client import REGISTRY  # noqa: PLC0415 - an engine's environment has it
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    class Told:
        def collect(self) -> Any:
            yield GaugeMetricFamily(
                "flywheel_capture_healthy", "1 while records are taken", value=not recorder.problem
            )
            yield CounterMetricFamily("flywheel_capture_records", "Records taken", value=recorder.records)
            yield CounterMetricFamily("flywheel_capture_tokens", "Tokens in them", value=recorder.tokens)
            yield GaugeMetricFamily(
                "flywheel_capture_queued_bytes", "Waiting to be written", value=recorder.queued_bytes
            )
            dropped = CounterMetricFamily(
                "flywheel_capture_dropped", "Records lost before the disk, by why", labels=["why"]
            )
            for why in ("disk", "slow_disk", "no_spool"):
                dropped.add_metric([why], recorder.dropped[why])
            yield dropped

    REGISTRY.register(Told())
