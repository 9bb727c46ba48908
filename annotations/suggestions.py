"""A model's judgement of an item, beside people's: what it said, when it may be seen, how often people agree.

Knows how a model is asked and how its answer is read, and nothing of who calls it (flywheel.suggesting). A
reviewer sees it after their own judgement, unless the queue says before.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from annotations import agreement
from annotations.models import Annotation, Item, Queue, Suggestion
from annotations.reading import read

SAID = {"approve": "approve", "reject": "reject", "correct": "correct it"}
_LONGEST = 4000
"""Characters of guidelines, question and answer that a model is shown of each."""


def asked_of(item: Item, queue: Queue) -> list[dict[str, Any]]:
    """The chat that asks for a judgement: guidelines, question and answer, and the form to reply in."""
    reading = read(item.messages)
    closed = f" The right answer is one of: {'; '.join(queue.answers)}." if queue.answers else ""
    rules = (
        "You check an answer that a model gave. Say whether it is right.\n"
        f"{queue.guidelines[:_LONGEST]}\n{closed}\n"
        'Reply with JSON alone: {"decision": "approve" or "reject" or "correct", '
        '"answer": the right answer if you correct, "reason": a few words}'
    )
    shown = f"What was asked:\n{reading.asked[:_LONGEST]}\n\nThe answer:\n{item.answer[:_LONGEST]}"
    return [{"role": "system", "content": rules}, {"role": "user", "content": f"{shown}\n\n{queue.question}"}]


def parse(text: str, item: Item, queue: Queue) -> tuple[str, str, str]:
    """(decision, right answer, reason) of what a model replied; a decision of "" when it is no judgement."""
    start, end = text.find("{"), text.rfind("}")
    try:
        said = json.loads(text[start : end + 1])
    except ValueError:
        return "", "", ""
    if not isinstance(said, dict) or said.get("decision") not in SAID:
        return "", "", ""
    decision, answer = said["decision"], str(said.get("answer") or "").strip()
    if decision == "correct" and answer == item.answer.strip():
        decision = "approve"
    if decision == "correct" and (not answer or (queue.answers and answer not in queue.answers)):
        decision = "reject"  # it says that the answer is wrong, and not what is right
    right = answer if decision == "correct" else ""
    return decision, right[:_LONGEST], str(said.get("reason") or "")[:200]


def lacking(queue: Queue, most: int) -> list[Item]:
    """The next waiting items that the queue's model has not been asked about."""
    waiting = queue.items.filter(state=Item.State.WAITING).exclude(suggestions__model=queue.suggested_by)
    return list(waiting.order_by("position", "id")[:most])


def seen_after(annotation: Annotation | None, queue: Queue) -> Suggestion | None:
    """What the model said of an item that the person has judged."""
    if annotation is None or not queue.suggested_by:
        return None
    found = Suggestion.objects.filter(item=annotation.item_id, model=queue.suggested_by)
    return found.exclude(decision="").first()


@dataclass(frozen=True, slots=True)
class Agreed:
    """On ``n`` judgements: how often people said as the model did; Cohen's kappa, unless nothing varies."""

    n: int
    agreed: int
    kappa: float | None

    @property
    def share(self) -> float:
        return self.agreed / self.n


def agreed(queue: Queue) -> Agreed | None:
    """How well people and the queue's model agree that an answer is right; None before any can be compared.

    Counts people's standing judgements. Rejecting and correcting both say that it is wrong.
    """
    if not queue.suggested_by:
        return None
    said = (
        Annotation.objects.standing()
        .filter(item__queue=queue, source=Annotation.Source.PERSON, decision__in=list(SAID))
        .filter(item__suggestions__model=queue.suggested_by, item__suggestions__decision__in=list(SAID))
        .values_list("decision", "item__suggestions__decision")
    )
    return _compare(said)


def _compare(said: Iterable[tuple[str, str]]) -> Agreed | None:
    pairs = [(_right(person), _right(model)) for person, model in said]
    if not pairs:
        return None
    people, models = [person for person, _ in pairs], [model for _, model in pairs]
    return Agreed(len(pairs), sum(a == b for a, b in pairs), agreement.cohens_kappa(people, models))


def _right(decision: str) -> str:
    return "right" if decision == Annotation.Decision.APPROVE else "wrong"
