"""What one turn of the wheel came to: the table a person reads and the line a program reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from flywheel.statistics import Comparison, Rate


@dataclass(slots=True)
class Scorecard:
    """Filled stage by stage. seconds: stage to the time it took, in order."""

    seconds: dict[str, float] = field(default_factory=dict)
    exchanges: int = 0
    """Answers that clients of this turn got."""
    lost: int = 0
    """Of those, how many are not in ClickHouse."""
    comparison: Comparison | None = None
    decision: str = ""
    adapter: str = ""
    weights: str = ""

    def table(self) -> str:
        """Accuracies with 95 % intervals, the paired test, and the time of each stage. Plain text."""
        assert self.comparison is not None
        found = self.comparison
        over = found.over_baseline
        lines = [
            f"{'on ' + str(found.n) + ' phrases of unseen categories':<44}{'right':>7}   95 % interval",
            _line("base model", found.baseline),
            _line(f"always “{found.majority_answer}” (most frequent)", found.majority),
            _line(f"adapter {self.adapter}", found.candidate),
            "",
            f"adapter against base: {over.value * 100:+.1f} points ({over.low * 100:+.1f} to "
            f"{over.high * 100:+.1f}), {over.gained} gained, {over.lost} lost, {_p(over.p)}",
            f"adapter against the most frequent: {found.over_majority.value * 100:+.1f} points, "
            f"{_p(found.over_majority.p)}",
            f"gate: {self.decision}",
            f"exchanges: {self.exchanges:,} answered, {self.lost:,} lost",
            "",
            *(f"{stage:<44}{seconds:>7.1f} s" for stage, seconds in self.seconds.items()),
            f"{'in all':<44}{sum(self.seconds.values()):>7.1f} s",
        ]
        return "\n".join(lines)

    def json_line(self) -> str:
        """One line: what a script checks."""
        assert self.comparison is not None
        found = self.comparison
        return json.dumps(
            {
                "base_accuracy": round(found.baseline.value, 4),
                "majority_accuracy": round(found.majority.value, 4),
                "adapter_accuracy": round(found.candidate.value, 4),
                "n": found.n,
                "p_value": found.over_baseline.p,
                "p_value_over_majority": found.over_majority.p,
                "decision": self.decision,
                "exchanges": self.exchanges,
                "exchanges_lost": self.lost,
                "adapter": self.adapter,
                "weights": self.weights,
                "seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
            }
        )


def _line(name: str, rate: Rate) -> str:
    interval = f"{rate.low * 100:.1f}–{rate.high * 100:.1f}"
    return f"{name:<44}{rate.value * 100:>5.1f} %   {interval}"


def _p(value: float) -> str:
    return f"p = {value:.0e}" if value < 0.001 else f"p = {value:.3f}"
