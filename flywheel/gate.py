"""The gate: whether an evaluation says ship, block or not enough data, by which rule and why.

Pure: numbers in, a verdict in words out. Percent points in sentences, shares (0 … 1) in fields. What an
operator does against it is flywheel.rollout's matter.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.statistics import Comparison, Difference, cases_needed

MOST_CASES = 100_000
"""Beyond this many, asking for more questions is no advice."""


class Answer(StrEnum):
    """What the gate says; the strictest rule's answer wins."""

    SHIP = "ship"
    BLOCK = "block"
    MORE_DATA = "more_data"

    @property
    def words(self) -> str:
        """As a page has it."""
        return {"ship": "ship", "block": "block", "more_data": "not enough data"}[self.value]


STRICTNESS = [Answer.SHIP, Answer.MORE_DATA, Answer.BLOCK]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of "what decides": the difference now, the line it must lie above, and what follows."""

    name: str
    difference: Difference
    line: float
    """The whole 95 % interval must lie above it to ship."""
    answer: Answer
    why: str
    cases_needed: int | None
    """How many more questions would probably decide; None when decided, or when no number would help."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict and the rules it came from, strictest first."""

    answer: Answer
    why: str
    rules: list[Rule]

    @property
    def cases_needed(self) -> int | None:
        """More questions after which every undecided rule would probably be decided."""
        return max((rule.cases_needed for rule in self.rules if rule.cases_needed), default=None)


def decide(comparison: Comparison, must_beat: float = 0.0) -> Decision:
    """Judge a candidate: better by more than ``must_beat`` than what answers now, and than no model."""
    rules = [
        _rule("better than what answers now", "what answers now", comparison.over_baseline, must_beat),
        _rule(
            "better than always the most frequent answer",
            "always the most frequent answer",
            comparison.over_majority,
            0.0,
        ),
    ]
    rules.sort(key=lambda rule: -STRICTNESS.index(rule.answer))
    return Decision(rules[0].answer, rules[0].why, rules)


def _rule(name: str, other: str, difference: Difference, line: float) -> Rule:
    interval = f"{_signed(difference.low)} to {_signed(difference.high)}"
    seen = f"{points(difference.value)} ({interval})"
    seen += f" over {other} on {difference.n:,} questions"
    if difference.low > line:
        return Rule(name, difference, line, Answer.SHIP, f"Better: {seen}.", None)
    if difference.high <= line:
        return Rule(name, difference, line, Answer.BLOCK, f"Not better: {seen}.", None)
    more = _more_cases(difference, line)
    advice = (
        f"About {more:,} more would probably decide."
        if more
        else "No affordable number of questions would tell them apart."
    )
    why = f"Not enough data: {seen}; the interval must lie above {points(line)}. {advice}"
    return Rule(name, difference, line, Answer.MORE_DATA, why, more)


def _more_cases(difference: Difference, line: float) -> int | None:
    needed = cases_needed(difference, line)
    if needed is None or needed > MOST_CASES:
        return None
    # The formula is an approximation: undecided now means at least a tenth more, whatever it says.
    return max(needed - difference.n, difference.n // 10 + 1)


def points(share: float) -> str:
    """A difference of shares as percent points: +42.6 points, 0.0 points, −3.1 points."""
    return f"{_signed(share)} points"


def _signed(share: float) -> str:
    value = round(share * 100, 1)
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(value):.1f}"
