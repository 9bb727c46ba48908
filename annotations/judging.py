"""Taking a judgement in, and taking it back: appended rows, each counted once however often it is sent.

Leaves places to annotations.leases and what judgements add up to to annotations.verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from annotations import calls, flagging, leases, questions, uses, verdicts
from annotations.models import Annotation, AnnotationQuerySet, Item, Queue
from annotations.questions import Kind, Question

Decision = Annotation.Decision
UNDO_BACK = 20
"""How many of one's latest judgements can be taken back."""
CANT_JUDGE_REASONS = ("Not my field", "Something is missing", "The guidelines are unclear")
_LONGEST = {"answer": 20_000, "reason": 200, "note": 5_000}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person says about an item."""

    decision: str
    answer: str = ""
    reason: str = ""
    note: str = ""
    given: Mapping[str, list[str]] = field(default_factory=dict)
    """Answers to questions as a form gives them, by the question's name."""

    def same_as(self, annotation: Annotation, values: dict[str, Any]) -> bool:
        """Whether the stored row says the same; ``values`` are what was given, as read."""
        stored = (annotation.decision, annotation.answer, annotation.reason, annotation.note)
        return stored == (self.decision, self.answer, self.reason, self.note) and annotation.values == values


class NotTaken(Exception):  # noqa: N818 - it is an answer to a person, not a fault
    """A judgement that was not stored. ``status`` is the HTTP status; the message is for people."""

    status = 422

    def __init__(self, message: str, field: str = "decision") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Refused(NotTaken):
    """It does not fit the item; saying it differently helps."""


class Answered(NotTaken):
    """This person has already answered, otherwise."""

    status = 409


class Lost(NotTaken):
    """The item is no longer this person's to answer."""

    status = 410


class Unknown(NotTaken):
    """We never showed this item to this person under that key."""

    status = 404


def judge(
    item: Item,
    reviewer: User,
    key: str,
    said: Judgement,
    *,
    seconds: float | None = None,
    source: str = Annotation.Source.PERSON,
    masked: bool = False,
) -> Annotation:
    """Append a judgement given at the showing with ``key``. The same again gives the same row.

    ``seconds`` is the time on the item, ``masked`` whether personal data was hidden in it. Raises Refused
    (422), Answered (409), Lost (410) or Unknown (404).
    """
    if not leases.known(key, item, reviewer):
        raise Unknown("This item was not shown to you.")
    with transaction.atomic():
        verdicts.lock(item)
        before = Annotation.objects.filter(key=key).first()
        if before is not None:
            if said.same_as(before, _again(item, key, said, masked=masked)):
                return before
            told = before.get_decision_display()
            raise Answered(f"You have answered this one: {told}. Undo it to change it.")
        check(item, said)
        values = read_values(item, key, said, masked=masked)
        heat_map_seen = _finish(item, reviewer, key)
        annotation = Annotation.objects.create(
            item=item,
            reviewer=reviewer,
            decision=said.decision,
            answer=said.answer,
            reason=said.reason,
            note=said.note,
            values=values,
            sides_swapped=leases.sides_swapped(key)
            if questions.MAIN in values and item.other_answer
            else None,
            key=key,
            seconds=seconds,
            source=source,
            heat_map_seen=heat_map_seen,
            masked=masked,
            guidelines_version=item.queue.guidelines_version,
        )
        if said.decision == Decision.FLAG:
            leases.give_up_others(item, reviewer)
            flagging.raise_flag(item, annotation)
        verdicts.settle(item)
    return annotation


def check(item: Item, said: Judgement) -> None:
    """Raise Refused when the judgement does not fit the item and its queue."""
    if said.decision not in _allowed(item.queue):
        raise Refused("Choose one of the answers below.")
    for name, longest in _LONGEST.items():
        if len(getattr(said, name)) > longest:
            raise Refused(f"That is longer than {longest:,} characters.", name)
    if said.decision == Decision.CORRECT:
        _check_correction(item, said.answer)
    elif said.answer:
        raise Refused("Only a correction carries an answer.", "answer")


def _allowed(queue: Queue) -> set[str]:
    own = {Decision.APPROVE, Decision.REJECT, Decision.CORRECT} if queue.by_verdict else {Decision.ANSWER}
    return {*own, Decision.CANT_JUDGE, Decision.FLAG}


def asked(queue: Queue, *, masked: bool) -> list[Question]:
    """What a queue asks; further questions on pieces of the heat map not where it is hidden."""
    hidden = (Kind.TOKENS,) if masked else ()
    return [q for q in queue.asked if q.name == questions.MAIN or q.kind not in hidden]


def read_values(item: Item, key: str, said: Judgement, *, masked: bool = False) -> dict[str, Any]:
    """The answers to the queue's questions by name. Raises Refused by the question's field.

    Who can't judge or flags the item is asked nothing more.
    """
    if said.decision in (Decision.CANT_JUDGE, Decision.FLAG):
        return {}
    values = {}
    for question in asked(item.queue, masked=masked):
        try:
            value = questions.read(
                question, said.given.get(question.name, ()), item.answer, swapped=leases.sides_swapped(key)
            )
        except questions.Unfit as unfit:
            raise Refused(str(unfit), question.field) from unfit
        if value is not None:
            values[question.name] = value
    return values


def _again(item: Item, key: str, said: Judgement, *, masked: bool) -> dict[str, Any]:
    try:
        return read_values(item, key, said, masked=masked)
    except Refused:  # the questions have changed since it was sent first
        return {}


def _check_correction(item: Item, answer: str) -> None:
    closed_list = [] if item.tools is not None else item.queue.answers
    if not answer.strip():
        raise Refused("Choose the right answer." if closed_list else "Write the right answer.", "answer")
    if answer.strip() == item.answer.strip():
        raise Refused("That is the model's answer. Approve it?", "answer")
    if closed_list and answer not in closed_list:
        raise Refused(f"“{answer}” is not in the list of answers. Choose one from the list.", "answer")
    if item.tools is not None:
        try:
            calls.check(answer, item.tools)
        except questions.Unfit as unfit:
            raise Refused(str(unfit), "answer") from unfit


def _finish(item: Item, reviewer: User, key: str) -> bool:
    """Use up the person's place; whether they saw the heat map before. Raises Lost or Answered."""
    if item.queue.state == Queue.State.CLOSED:
        raise Lost("This queue is closed. What you typed is kept below.")
    if item.state == Item.State.FLAGGED:
        raise Lost("This one has left the queue. What you typed is kept below.")
    place = leases.finish(item, reviewer, key, timezone.now())
    if place is not None:
        return place.heat_map_seen
    if standing(item.queue, reviewer).filter(item=item).exists():
        raise Answered("You have answered this one elsewhere. Undo it to change it.")
    raise Lost("Someone else has answered this one. What you typed is kept below.")


def undo(queue: Queue, reviewer: User, key: str) -> Item:
    """Take back the judgement given at the showing with ``key``: a new row, and the item comes back first.

    Again: the same. Raises Unknown, or Refused past UNDO_BACK judgements, in a closed queue, and once
    something was made from the item: then only a lead can correct it.
    """
    annotation = Annotation.objects.filter(item__queue=queue, reviewer=reviewer, key=key).first()
    if annotation is None:
        raise Unknown("There is no such answer of yours.")
    with transaction.atomic():
        item = annotation.item
        verdicts.lock(item)
        if Annotation.objects.filter(undoes=annotation).exists():
            return item
        if queue.state == Queue.State.CLOSED:
            raise Refused("This queue is closed. What you sent counts.")
        newer = standing(queue, reviewer).filter(pk__gt=annotation.pk).count()
        if newer >= UNDO_BACK:
            raise Refused(f"Only your last {UNDO_BACK} answers can be taken back. Tell the lead.")
        if used := uses.of([item.pk]):
            ask = "Under “What I judged” you can ask the lead to correct it."
            raise Refused(f"{used[item.pk]} has used this answer, so it stays. {ask}")
        Annotation.objects.create(
            item=item,
            reviewer=reviewer,
            decision=Decision.UNDO,
            undoes=annotation,
            key=f"undo:{key}",
            source=annotation.source,
            guidelines_version=queue.guidelines_version,
        )
        leases.reopen(item, reviewer)
        if annotation.decision == Decision.FLAG:
            flagging.settle_again(item)
        elif item.state != Item.State.FLAGGED:
            verdicts.settle(item)
    return item


def standing(queue: Queue, reviewer: User) -> AnnotationQuerySet:
    """What the person's judgements in this queue are now, newest first."""
    return (
        Annotation.objects.standing()
        .filter(item__queue=queue, reviewer=reviewer)
        .select_related("item")
        .order_by("-id")
    )
