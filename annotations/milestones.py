"""The word after every 50 items: how many, how fast, how many check questions right; nothing to hurry for."""

from dataclasses import dataclass
from statistics import median

from django.contrib.auth.models import User

from annotations import golds, judging
from annotations.golds import Accuracy
from annotations.models import Queue

EVERY = 50


@dataclass(frozen=True, slots=True)
class Milestone:
    """So many judged in one queue, and the median seconds of the last 50; None where none were counted.

    ``checks``: of all check questions so far, how many were right; None before the first.
    """

    count: int
    median_seconds: float | None
    checks: Accuracy | None = None

    @property
    def words(self) -> str:
        """As the reviewer reads it."""
        pace = (
            f", half of the last {EVERY} in {self.median_seconds:.0f} s or less"
            if self.median_seconds
            else ""
        )
        return (
            f"You have judged {self.count:,} here{pace}.{self._checks} A pause now and then keeps you sharp."
        )

    @property
    def _checks(self) -> str:
        if self.checks is None:
            return ""
        right, given = self.checks.right, self.checks.given
        one = "the check question was right" if right else "the check question was not right"
        return f" So far {one if given == 1 else f'{right:,} of {given:,} check questions were right'}."


def reached(queue: Queue, reviewer: User, done: int) -> Milestone | None:
    """What the judgement just given completes, if it does; ``done`` counts it and all before."""
    if not done or done % EVERY:
        return None
    latest = judging.standing(queue, reviewer).values_list("seconds", flat=True)[:EVERY]
    known = [seconds for seconds in latest if seconds is not None]
    return Milestone(done, median(known) if known else None, golds.accuracy(queue, reviewer).get(reviewer.pk))
