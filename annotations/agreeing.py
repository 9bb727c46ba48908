"""What a queue's people said, laid out for annotations.agreement: a unit for each item, by question."""

from collections.abc import Hashable
from dataclasses import dataclass

from annotations import agreement, questions
from annotations.agreement import Agreement, Level, Unit
from annotations.models import Annotation, Queue
from annotations.questions import COMPARED, MAIN, Kind, Question

MOST = 20_000
"""The latest judgements that are looked at."""
_WORDS = {
    Annotation.Decision.APPROVE: "approved",
    Annotation.Decision.REJECT: "rejected",
    Annotation.Decision.CORRECT: "corrected",
    Annotation.Decision.CANT_JUDGE: "can’t judge",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """How well people agree on one question; None: no item has two answers to it."""

    question: Question
    found: Agreement | None


@dataclass(frozen=True, slots=True)
class Agreeing:
    """A queue's agreement. ``fingerprint`` changes when any judgement does."""

    fingerprint: str
    asked: list[Asked]
    judgements: int


def fingerprint(queue: Queue) -> str:
    """Of what agreement hangs on: undoing is a newer row, so the last one tells."""
    last = Annotation.objects.filter(item__queue=queue).order_by("-id").values_list("pk", flat=True).first()
    return f"{last or 0}.{queue.guidelines_version}"


def of(queue: Queue) -> Agreeing:
    """Agreement on each question in which two people can say the same. Only people count, no list."""
    latest = (
        Annotation.objects.standing()
        .filter(item__queue=queue, source=Annotation.Source.PERSON)
        .exclude(decision=Annotation.Decision.FLAG)
        .select_related("item")
        .order_by("-id")[:MOST]
    )
    judged = list(latest)
    asked = [
        Asked(question, agreement.of(_units(question, queue, judged), _level(question), _order(question)))
        for question in queue.asked
        if question.kind in COMPARED
    ]
    return Agreeing(fingerprint(queue), asked, len(judged))


def _level(question: Question) -> Level:
    return "ordinal" if question.kind == Kind.RATING else "nominal"


def _order(question: Question) -> list[str]:
    if question.kind == Kind.RATING:
        return [questions.told(question, int(value)) for value, _ in question.pressed]
    return list(question.options)


def _units(question: Question, queue: Queue, judged: list[Annotation]) -> list[Unit]:
    units: dict[int, dict[Hashable, str]] = {}
    for annotation in judged:
        label = _label(question, queue, annotation)
        if label:
            units.setdefault(annotation.item_id, {})[annotation.reviewer_id] = label
    return list(units.values())


def _label(question: Question, queue: Queue, annotation: Annotation) -> str:
    """What was said, in words; empty: nothing to this question."""
    if annotation.decision == Annotation.Decision.CANT_JUDGE:
        return _WORDS[Annotation.Decision.CANT_JUDGE] if question.name == MAIN else ""
    if question.kind in questions.VERDICTS:
        # With a closed list it is known which of its labels each holds for right.
        if queue.answers and question.kind == Kind.APPROVE:
            right = {Annotation.Decision.APPROVE: annotation.item.answer.strip()}
            right[Annotation.Decision.CORRECT] = annotation.answer
            return right.get(Annotation.Decision(annotation.decision), "rejected")
        return _WORDS[Annotation.Decision(annotation.decision)]
    value = annotation.values.get(question.name)
    return "" if value is None else questions.told(question, value)
