"""Which exchanges are worth an expert's minute: draws them from the trace store into a queue.

Every item keeps the probability with which it was drawn. Leaves how to draw to inference.queries.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Max, Value
from django.db.models.functions import Least
from django.utils import timezone

from annotations import calls, flagging, progress
from annotations.models import Item, Queue
from annotations.questions import Kind
from annotations.reading import read
from inference import filters, queries, readers
from inference.clickhouse import Unavailable
from inference.filters import Time
from inference.queries import Candidate
from inference.queries.policies import Policy
from inference.reading import asked
from inference.stored import Draw

MOST = 5000
"""Items drawn at once."""
EXAMPLES = 3
SUGGESTED = 200
UNREADABLE = "Exchanges can't be read right now. Nothing was drawn; judging works on."


class NotDrawn(Exception):  # noqa: N818 - it is an answer to a person, not a fault
    """Why nothing was drawn, in words for people."""


@dataclass(frozen=True, slots=True)
class Example:
    """What one matching exchange is about."""

    asked: str
    answer: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a filter would give. ``problem`` says why nothing can be said."""

    line: str
    matching: int = 0
    examples: list[Example] = field(default_factory=list)
    problem: str = ""

    @property
    def suggested(self) -> int:
        """How many to draw unless told."""
        return max(1, min(SUGGESTED, self.matching))


def preview(line: str) -> Preview:
    """About how many exchanges match a filter line, and the newest of them."""
    try:
        chosen = filters.parse(line)
        newest = queries.sample(chosen, EXAMPLES, order="newest")
        matching = queries.count(chosen)
    except filters.FilterError as error:
        return Preview(line, problem=f"“{error.part}”: {error.message}.")
    except Unavailable:
        return Preview(line, problem=UNREADABLE)
    return Preview(line, matching, [Example(read(one.messages).asked, one.answer) for one in newest])


def draw(
    line: str, limit: int, order: str, seed: int, *, calls: bool = False, asked_at: datetime | None = None
) -> list[Candidate]:
    """Up to ``limit`` exchanges that match, in the order to show them; ``calls``: of tools. Raises NotDrawn.

    The same seed and filter give the same exchanges at random, and a larger limit only adds to them. Where
    later traffic would change what an exchange weighs, only what began before ``asked_at`` is drawn from.
    """
    try:
        chosen = filters.parse(line)
        if asked_at is not None and Policy.parse(order).closed:
            chosen = chosen.with_term(Time("until", asked_at))
        return queries.sample(chosen, limit, seed, order, calls=calls)
    except filters.FilterError as error:
        raise NotDrawn(f"“{error.part}”: {error.message}.") from error
    except Unavailable as error:
        raise NotDrawn(UNREADABLE) from error


def seed_of(key: str) -> int:
    """The seed of a queue's draws, from its key: drawing more goes on with the same draw. 63 bits."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 1


def add(queue: Queue, candidates: Sequence[Candidate]) -> int:
    """Put exchanges into the queue behind what is there; how many were new: an exchange is there once.

    For a queue that compares answers, only those that have a second one. Raises NotDrawn.
    """
    others = _others(queue, candidates) if queue.kind == Kind.PAIR else {}
    if queue.kind == Kind.PAIR:
        candidates = [one for one in candidates if one.exchange_id in others]
    draw = candidates[0].draw if candidates and queue.order != Queue.Order.NEWEST else None
    with transaction.atomic():
        Queue.objects.filter(pk=queue.pk).update(name=F("name"))  # locks the row in PostgreSQL
        behind = queue.items.aggregate(last=Max("position"))["last"]
        start = 0.0 if behind is None else behind + 1
        before = queue.items.drawn().count()
        Item.objects.bulk_create(
            (
                _item(
                    queue, candidate, candidate.key if draw else start + n, others.get(candidate.exchange_id)
                )
                for n, candidate in enumerate(candidates)
            ),
            ignore_conflicts=True,
        )
        if draw is not None:
            _remember(queue, draw)
        flagging.keep_out(queue)
        queue.size, queue.decided = progress.counted(queue)
        queue.save(update_fields=["size", "decided"])
        return queue.size - before


def _remember(queue: Queue, drawn: Draw) -> None:
    """Keep what the items are a sample of, and each one's probability under the draw as it now is."""
    queue.population, queue.mean_doubt, queue.threshold = drawn.population, drawn.mean_doubt, drawn.threshold
    queue.save(update_fields=["population", "mean_doubt", "threshold"])
    if drawn.threshold is None or drawn.even:
        queue.items.update(probability=drawn.chance(1.0, queue.items.drawn().count()))
    else:
        queue.items.update(probability=Least(Value(1.0), F("weight") * drawn.threshold))


def fill(queue: Queue, count: int) -> int:
    """Draw up to ``count`` more exchanges into the queue; how many were added. Raises NotDrawn.

    By chance, the same draw goes on: what is taken in all are the smallest keys of everything that matches.
    For whoever may ask for it: what a queue is filled from was settled when it was made.
    """
    with readers.as_the_system():
        return _fill(queue, count)


def _fill(queue: Queue, count: int) -> int:
    there = set(queue.items.drawn().values_list("exchange_id", "attempt"))
    drawn = draw(
        queue.filter,
        count + len(there),
        queue.order,
        seed_of(queue.key),
        calls=queue.kind == Kind.TOOL_CALL,
        asked_at=queue.created_at,
    )
    fresh = [one for one in drawn if (UUID(one.exchange_id), one.attempt) not in there]
    if queue.order == Queue.Order.NEWEST:
        return add(queue, fresh[:count])
    return add(queue, fresh)


def flow() -> int:
    """Let new traffic into every open queue that takes it, up to its cap a day in UTC; how many were added.

    What can't be drawn now is drawn the next time.
    """
    added = 0
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for queue in Queue.objects.filter(state=Queue.State.OPEN, daily_cap__isnull=False):
        room = (queue.daily_cap or 0) - queue.items.drawn().filter(created_at__gte=today).count()
        if room > 0:
            with contextlib.suppress(NotDrawn):
                added += fill(queue, room)
    return added


@dataclass(frozen=True, slots=True)
class Other:
    """The second answer of a pair, and the exchange it is from."""

    answer: str
    exchange_id: str
    attempt: int
    cut: bool


def _others(queue: Queue, candidates: Sequence[Candidate]) -> dict[str, Other]:
    """Second answers by exchange: the engine's own second choice, else what ``against`` says was answered
    to the very same messages. Equal answers are no pair."""
    found = {
        one.exchange_id: Other(one.second, one.exchange_id, one.attempt, one.second_cut)
        for one in candidates
        if one.second and one.second != one.answer
    }
    alone = [one for one in candidates if one.exchange_id not in found]
    if not alone or not queue.against:
        return found
    try:
        same = queries.asked_the_same(filters.parse(queue.against), [asked(one.messages) for one in alone])
    except filters.FilterError as error:
        raise NotDrawn(f"“{error.part}”: {error.message}.") from error
    except Unavailable as error:
        raise NotDrawn(UNREADABLE) from error
    for one in alone:
        for other in same:
            if other.messages == one.messages and other.answer != one.answer:
                found.setdefault(
                    one.exchange_id, Other(other.answer, other.exchange_id, other.attempt, other.cut)
                )
    return found


def _item(queue: Queue, candidate: Candidate, position: float, other: Other | None) -> Item:
    call = queue.kind == Kind.TOOL_CALL
    return Item(
        queue=queue,
        exchange_id=candidate.exchange_id,
        attempt=candidate.attempt,
        started_at=candidate.started_at,
        messages=candidate.messages,
        answer=calls.text_of(candidate.tool_calls) if call else candidate.answer,
        tools=candidate.tools if call else None,
        cut=candidate.cut and not call,
        other_answer=other.answer if other else "",
        other_cut=other.cut if other else False,
        other_exchange_id=other.exchange_id if other else None,
        other_attempt=other.attempt if other else 0,
        group=candidate.group[:200],
        probability=candidate.probability,
        weight=candidate.weight,
        doubt=0.5 if candidate.least_p is None else min(1.0, max(0.0, 1 - candidate.least_p)),
        position=position,
    )
