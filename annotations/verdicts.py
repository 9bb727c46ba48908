"""What an item's judgements add up to, and the rule that decided.

One judgement an item: that one. Several: the agreement of all, else a second opinion is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F
from django.utils import timezone

from annotations.models import Annotation, Item, Queue
from annotations.questions import COMPARED, MAIN, canonical

_VERDICTS = {
    Annotation.Decision.APPROVE: Item.Verdict.APPROVED,
    Annotation.Decision.REJECT: Item.Verdict.REJECTED,
    Annotation.Decision.CORRECT: Item.Verdict.CORRECTED,
    Annotation.Decision.ANSWER: Item.Verdict.ANSWERED,
}


_WRITTEN = ["state", "verdict", "verdict_answer", "verdict_values", "verdict_rule", "settled_at"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An item's state and, once settled, what is right and by which rule."""

    state: str
    verdict: str = ""
    answer: str = ""
    rule: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    """What all judgements say to a question, by its name."""


def decide(judgements: Sequence[Annotation], needed: int, answer: str, *, compared: bool = True) -> Verdict:
    """The verdict of standing judgements on a model's ``answer`` of which ``needed`` are asked for. Pure.

    Only the leading question can be in conflict. One that can't be ``compared`` (words, marks) is settled
    by having been answered.
    """
    if any(j.decision == Annotation.Decision.FLAG for j in judgements):
        return Verdict(Item.State.FLAGGED, rule="flagged as personal data")
    if len(judgements) < needed:
        return Verdict(Item.State.WAITING)
    said = {_said(j, compared) for j in judgements}
    rule = (
        _rule(judgements) if compared or len(judgements) == 1 else f"{len(judgements)} answers, not compared"
    )
    values = _values(judgements)
    if said == {(Annotation.Decision.CANT_JUDGE, "", "")}:
        return Verdict(Item.State.UNJUDGED, rule=rule)
    if len(said) > 1:
        return Verdict(Item.State.CONFLICT, rule=f"{len(judgements)} judgements differ", values=values)
    ((decision, correction, _),) = said
    verdict = _VERDICTS[Annotation.Decision(decision)]
    right = {Item.Verdict.APPROVED: answer, Item.Verdict.CORRECTED: correction}.get(verdict, "")
    return Verdict(Item.State.SETTLED, verdict, right, rule, values)


def _said(judgement: Annotation, compared: bool) -> tuple[str, str, str]:
    value = canonical(judgement.values.get(MAIN, "")) if compared else ""
    return judgement.decision, judgement.answer.strip(), value


def _values(judgements: Sequence[Annotation]) -> dict[str, Any]:
    names = dict.fromkeys(name for judgement in judgements for name in judgement.values)
    said = {name: {canonical(j.values.get(name, "")) for j in judgements} for name in names}
    return {name: judgements[0].values[name] for name in names if len(said[name]) == 1}


def _rule(judgements: Sequence[Annotation]) -> str:
    rule = "one judgement" if len(judgements) == 1 else f"all {len(judgements)} agree"
    if any(j.by_reference for j in judgements):
        rule += ", by the reference reviewer" if len(judgements) == 1 else ", with the reference reviewer"
    return rule


def lock(item: Item) -> None:
    """Let nobody else judge this item until the transaction ends.

    An update rather than SELECT … FOR UPDATE: it locks the row in PostgreSQL and means the same in SQLite.
    """
    Item.objects.filter(pk=item.pk).update(revision=F("revision") + 1)
    # Only what judging changes, so that the item's queue stays read.
    item.refresh_from_db(fields=[*_WRITTEN, "revision"])


def settle(item: Item) -> Verdict:
    """Write what the judgements add up to now. Call with the item locked."""
    judgements, queue = list(item.annotations.standing()), item.queue
    verdict = decide(judgements, queue.judgements_per_item, item.answer, compared=queue.kind in COMPARED)
    write(item, verdict)
    return verdict


def write(item: Item, verdict: Verdict) -> None:
    """Write a verdict, and count the item as waiting or not. Call with the item locked."""
    queue, waited = item.queue, item.state == Item.State.WAITING
    item.state, item.verdict = verdict.state, verdict.verdict
    item.verdict_answer, item.verdict_rule = verdict.answer, verdict.rule
    item.verdict_values = verdict.values
    item.settled_at = None if verdict.state == Item.State.WAITING else timezone.now()
    item.save(update_fields=_WRITTEN)
    waits = verdict.state == Item.State.WAITING
    if waits != waited:
        # Kept, so that no judgement counts the items of a queue, however many there are.
        known = Queue.objects.filter(pk=queue.pk, decided__isnull=False)
        known.update(decided=F("decided") + (waited - waits))
