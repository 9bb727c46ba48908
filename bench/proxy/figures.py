"""What is to be reached, and how the figures are shown."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

Figure = float | str | None


@dataclass(frozen=True)
class Target:
    """A bound of one figure, and what is aimed for beyond it where that is known."""

    bound: float
    aim: float | None = None
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        aim = "" if self.aim is None else f", aim {self.aim:g}"
        return f"{'at most' if self.at_most else 'at least'} {self.bound:g}{aim}"


TARGETS = {
    "json_vs_nginx": Target(0.10, 0.17),
    "stream_vs_nginx": Target(0.08, 0.13),
    **{f"{kind}_vs_portkey": Target(5) for kind in ("json", "stream")},
    **{f"{kind}_vs_mlflow": Target(3) for kind in ("json", "stream")},
    **{f"{kind}_vs_litellm": Target(50) for kind in ("json", "stream")},
    "capture_off_vs_vllm_router": Target(1),
    "added_p50_ms": Target(0.35, at_most=True),
    "added_p99_ms": Target(5, at_most=True),
    "cpu_us_per_event": Target(45, 25, at_most=True),
    "event_delay_p99_ms": Target(1, at_most=True),
    "rss_mb": Target(100, at_most=True),
}


def table(figures: dict[str, Figure]) -> Iterable[str]:
    """A line for each figure, with what was to be reached."""
    for name, value in figures.items():
        shown = f"  {name:32} {value if value is not None else '–':>12}"
        target = TARGETS.get(name)
        if target is not None and isinstance(value, int | float):
            shown += f"   {'ok   ' if target.is_met(value) else 'SHORT'} {target}"
        yield shown


def line(figures: dict[str, Figure]) -> str:
    """All of them as one line of JSON."""
    return json.dumps(figures)


def rounded(value: float) -> float:
    """To three significant digits, or whole where it is large."""
    if value == 0 or not math.isfinite(value):
        return 0.0
    digits = 2 - math.floor(math.log10(abs(value)))
    return round(value, max(0, digits))
