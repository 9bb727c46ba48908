"""Which exchanges are worth an expert's minute: draws them from the trace store into a queue.

Every item keeps the probability with which it was drawn. Leaves how to draw to inference.queries.
"""

import random
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Max

from annotations.models import Item, Queue
from inference import filters
from inference.clickhouse import Unavailable, connect

try:
    from inference.queries import Candidate

    from inference import queries
except ImportError:
    from typing import Any as Candidate

MOST = 5000
"""Items drawn at once."""
EXAMPLES = 3
SUGGESTED = 200
UNREADABLE = "Exchanges can't be read right now. Nothing was drawn; judging works on."


class NotDrawn(Exception):  # noqa: N818 - it is an answer to a person, not a fault
    """Why nothing was drawn, in words for people."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a filter would give. ``problem`` says why nothing can be said."""

    line: str
    matching: int = 0
    examples: list[Candidate] = field(default_factory=list)
    problem: str = ""

    @property
    def suggested(self) -> int:
        """How many to draw unless told."""
        return max(1, min(SUGGESTED, self.matching))


def preview(line: str) -> Preview:
    """How many exchanges match a filter line, and the three newest of them."""
    try:
        chosen = filters.parse(line)
        client = connect()
        matching = queries.count(client, chosen)
        return Preview(line, matching, queries.sample(client, chosen, EXAMPLES, 0, order="newest"))
    except filters.FilterError as error:
        return Preview(line, problem=f"“{error.part}”: {error.message}")
    except Unavailable:
        return Preview(line, problem=UNREADABLE)


def draw(line: str, limit: int, order: str, seed: int) -> list[Candidate]:
    """Up to ``limit`` exchanges that match, in the order to show them. Raises NotDrawn."""
    try:
        return queries.sample(connect(), filters.parse(line), limit, seed, order=order)
    except filters.FilterError as error:
        raise NotDrawn(f"The filter can't be read: “{error.part}”: {error.message}") from error
    except Unavailable as error:
        raise NotDrawn(UNREADABLE) from error


def add(queue: Queue, candidates: list[Candidate]) -> int:
    """Put exchanges into the queue behind what is there; how many were new: an exchange is there once."""
    with transaction.atomic():
        behind = queue.items.aggregate(last=Max("position"))["last"]
        start = 0.0 if behind is None else behind + 1
        before = queue.items.count()
        Item.objects.bulk_create(
            (_item(queue, candidate, start + n) for n, candidate in enumerate(candidates)),
            ignore_conflicts=True,
        )
        return queue.items.count() - before


def fill(queue: Queue, count: int) -> int:
    """Draw until ``count`` more exchanges are in the queue or nothing new matches; how many were added.

    Draws anew from everything that matches, so what is already there is asked for on top. Raises NotDrawn.
    """
    there = set(queue.items.values_list("exchange_id", flat=True))
    seed = random.SystemRandom().getrandbits(31)
    drawn = draw(queue.filter, count + len(there), queue.order, seed)
    fresh = [candidate for candidate in drawn if candidate.exchange_id not in there]
    return add(queue, fresh[:count])


def _item(queue: Queue, candidate: Candidate, position: float) -> Item:
    return Item(
        queue=queue,
        exchange_id=candidate.exchange_id,
        attempt=candidate.attempt,
        started_at=candidate.started_at,
        messages=candidate.messages,
        answer=candidate.answer,
        group=candidate.group[:200],
        probability=candidate.probability,
        position=position,
    )
