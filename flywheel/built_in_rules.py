"""The alert rules that a new Flywheel begins with; from then on they are the operators' own.

Written into the database once, by a migration. What was edited or deleted in the admin stays so.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as alert_models.AlertRule has it; conditions are (metric, operator, threshold)."""

    name: str
    severity: str
    for_seconds: int
    conditions: tuple[tuple[str, str, float], ...]
    meaning: str
    users_notice: str
    first_step: str


RULES = (
    Rule(
        "Oldest unstored record over a minute",
        "critical",
        0,
        (("unstored_seconds", ">", 60),),
        "Exchanges wait on the proxy's or the engine's disk: ClickHouse takes none, or the drain is behind.",
        "Nothing. Pages and queues miss the newest exchanges.",
        "Look at ClickHouse and the drain. Nothing is lost while the disk has room: make some.",
    ),
    Rule(
        "Drain silent",
        "critical",
        30,
        (("drain_silent_seconds", ">", 60),),
        "A drain died, hangs or can't reach web. What is spooled is safe, and nobody knows how much it is.",
        "Nothing, until the spool's disk is full. Then routes refuse or serve without capture.",
        "Start the drain of that spool.",
    ),
    Rule(
        "Captures dropped",
        "critical",
        0,
        (("dropped", ">", 0),),
        "Exchanges were answered and not kept: the spool's disk took nothing; the route serves even then.",
        "Nothing. These exchanges can't be judged, billed or learned from.",
        "Make room on the spool's disk, then press “I know of” in the engine room.",
    ),
    Rule(
        "Records kept aside",
        "warning",
        0,
        (("kept_aside", ">", 0),),
        "A record could not be parsed, fits no table, or was damaged on disk. The rest goes on.",
        "Nothing.",
        "Read why in the quarantine folder of that spool; keep the files for a bug report.",
    ),
    Rule(
        "Engine away",
        "critical",
        30,
        (("up", "<", 1),),
        "The engine does not show its metrics: it died, hangs, is loading its model, or the network is cut.",
        "Errors on routes that have no other engine; slower answers on the others.",
        "Look at its log and start it. Put it off in the admin if it is gone for good.",
    ),
    Rule(
        "GPU busy but doing nothing",
        "critical",
        120,
        (("gpu_utilisation", ">=", 0.95), ("gpu_power_share", "<", 0.4), ("tokens_per_s", "<", 1)),
        "The GPU says it is fully busy, draws little power, and no token is written: a deadlock, often "
        "between GPUs that wait for each other. Utilisation alone looks like good business.",
        "Answers stop in the middle or never begin, until clients give up.",
        "Restart that engine. Keep its log and a stack dump (py-spy dump) first, if that takes no longer.",
    ),
    Rule(
        "XID error",
        "warning",
        0,
        (("gpu_xid", ">", 0),),
        "The driver reported an error of the GPU. 13, 31 and 43 come from programs; 48, 63, 64, 74, 79, 94 "
        "and 95 from the hardware.",
        "Perhaps an engine that ended.",
        "Look the number up in NVIDIA's list of XID errors. 79: the GPU is off the bus; restart the machine.",
    ),
    Rule(
        "GPU hot",
        "warning",
        120,
        (("gpu_temperature", ">", 87),),
        "The GPU is close to where it slows itself down.",
        "Slower answers soon.",
        "Look at fans, dust and the machine room.",
    ),
    Rule(
        "GPU metrics away",
        "warning",
        120,
        (("gpu_up", "<", 1),),
        "The exporter on the engine's machine does not answer or shows none of its GPUs.",
        "Nothing. A deadlock would not be seen.",
        "Start the DCGM exporter or python -m inference.gpus there.",
    ),
    Rule(
        "KV cache full",
        "warning",
        120,
        (("kv_cache", ">", 0.95),),
        "There is no room for more conversations at once: new requests wait, running ones may be put back.",
        "A longer wait for the first word.",
        "Send fewer at once (most in flight of the route's target), shorten contexts, or add an engine.",
    ),
    Rule(
        "Preemptions",
        "warning",
        60,
        (("preemptions_per_min", ">", 1),),
        "The engine throws running requests out of its cache and computes them again later.",
        "Answers that stop for a while and go on.",
        "As with a full KV cache; or give the engine more memory for it (--gpu-memory-utilization).",
    ),
    Rule(
        "Requests queue",
        "warning",
        120,
        (("requests_waiting", ">", 20),),
        "More requests come than the engine begins.",
        "A longer wait for the first word.",
        "Add an engine, or limit keys that send much.",
    ),
)


def add(rules: Any, conditions: Any) -> None:
    """Write those whose name is free. Takes the models' managers, as a migration has them."""
    for one in RULES:
        rule, new = rules.get_or_create(
            name=one.name,
            defaults={
                "severity": one.severity,
                "for_seconds": one.for_seconds,
                "meaning": one.meaning,
                "users_notice": one.users_notice,
                "first_step": one.first_step,
            },
        )
        if new:
            for metric, operator, threshold in one.conditions:
                conditions.create(rule=rule, metric=metric, operator=operator, threshold=threshold)
