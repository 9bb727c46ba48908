"""The word after every 50 items: how many, how fast, nothing to hurry for."""

from dataclasses import dataclass
from statistics import median

from django.contrib.auth.models import User

from annotations import judging
from annotations.models import Queue

EVERY = 50


@dataclass(frozen=True, slots=True)
class Milestone:
    """So many judged in one queue, and the median seconds of the last 50; None where none were counted."""

    count: int
    median_seconds: float | None

    @property
    def words(self) -> str:
        """As the reviewer reads it."""
        pace = (
            f", half of the last {EVERY} in {self.median_seconds:.0f} s or less"
            if self.median_seconds
            else ""
        )
        return f"You have judged {self.count:,} here{pace}. A pause now and then keeps you sharp."


def reached(queue: Queue, reviewer: User, done: int) -> Milestone | None:
    """What the judgement just given completes, if it does; ``done`` counts it and all before."""
    if not done or done % EVERY:
        return None
    latest = judging.standing(queue, reviewer).values_list("seconds", flat=True)[:EVERY]
    known = [seconds for seconds in latest if seconds is not None]
    return Milestone(done, median(known) if known else None)
