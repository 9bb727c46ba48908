"""What an item's judgements add up to, and the rule that decided.

One judgement an item: that one. Several: the agreement of all or, where the queue says so, of more than half;
else a second opinion is needed (annotations.adjudications).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import F
from django.utils import timezone

from annotations.golds import Gold
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


def decide(
    judgements: Sequence[Annotation],
    needed: int,
    answer: str,
    *,
    compared: bool = True,
    majority: bool = False,
) -> Verdict:
    """The verdict of standing judgements on a model's ``answer`` of which ``needed`` are asked for. Pure.

    Only the leading question can be in conflict: unless all say the same or, with ``majority``, more than
    half. One that can't be ``compared`` (words, marks) is settled by having been answered.
    """
    if any(j.decision == Annotation.Decision.FLAG for j in judgements):
        return Verdict(Item.State.FLAGGED, rule="flagged as personal data")
    if len(judgements) < needed:
        return Verdict(Item.State.WAITING)
    (said, count), *_ = Counter(_said(j, compared) for j in judgements).most_common(1)
    if count < len(judgements) and not (majority and 2 * count > len(judgements)):
        rule = f"{len(judgements)} judgements differ"
        return Verdict(Item.State.CONFLICT, rule=rule, values=_values(judgements))
    agreed = [j for j in judgements if _said(j, compared) == said]
    rule = _rule(agreed, len(judgements), compared)
    if said == (Annotation.Decision.CANT_JUDGE, "", ""):
        return Verdict(Item.State.UNJUDGED, rule=rule)
    decision, correction, _ = said
    verdict = _VERDICTS[Annotation.Decision(decision)]
    right = {Item.Verdict.APPROVED: answer, Item.Verdict.CORRECTED: correction}.get(verdict, "")
    return Verdict(Item.State.SETTLED, verdict, right, rule, _values(agreed))


def _said(judgement: Annotation, compared: bool) -> tuple[str, str, str]:
    value = canonical(judgement.values.get(MAIN, "")) if compared else ""
    return judgement.decision, judgement.answer.strip(), value


def _values(judgements: Sequence[Annotation]) -> dict[str, Any]:
    names = dict.fromkeys(name for judgement in judgements for name in judgement.values)
    said = {name: {canonical(j.values.get(name, "")) for j in judgements} for name in names}
    return {name: judgements[0].values[name] for name in names if len(said[name]) == 1}


def _rule(agreed: Sequence[Annotation], given: int, compared: bool) -> str:
    if given > 1 and not compared:
        return f"{given} answers, not compared"
    rule = "one judgement" if given == 1 else f"all {given} agree"
    if len(agreed) < given:
        rule = f"majority: {len(agreed)} of {given} agree"
    if any(j.by_reference for j in agreed):
        rule += ", by the reference reviewer" if given == 1 else ", with the reference reviewer"
    return rule


def lock(item: Item) -> None:
    """Let nobody else judge this item until the transaction ends.

    An update rather than SELECT … FOR UPDATE: it locks the row in PostgreSQL and means the same in SQLite.
    """
    Item.objects.filter(pk=item.pk).update(revision=F("revision") + 1)
    # Only what judging changes, so that the item's queue stays read.
    item.refresh_from_db(fields=[*_WRITTEN, "revision"])


def settle(item: Item) -> Verdict:
    """Write what the judgements add up to now; a lead's decision stands. Call with the item locked."""
    queue = item.queue
    verdict = None if item.state == Item.State.WAITING else _decided(item)
    judgements = [] if verdict else list(item.annotations.standing())
    if verdict is None and item.state != Item.State.WAITING:
        verdict = _known(item, judgements)
    if verdict is None:
        verdict = decide(
            judgements,
            queue.judgements_per_item,
            item.answer,
            compared=queue.kind in COMPARED,
            majority=queue.rule == Queue.Rule.MAJORITY,
        )
    write(item, verdict)
    return verdict


def _known(item: Item, judgements: Sequence[Annotation]) -> Verdict | None:
    """A check question's, whatever is said to it but a flag."""
    gold = Gold.objects.filter(item=item).first()
    if gold is None or any(j.decision == Annotation.Decision.FLAG for j in judgements):
        return None
    said = Annotation(decision=gold.decision, answer=gold.answer, values=gold.values)
    return replace(decide([said], 1, item.answer), rule=gold.rule)


def _decided(item: Item) -> Verdict | None:
    """A lead's newest decision, if there is one."""
    made = item.adjudications.select_related("decided_by").first()
    if made is None:
        return None
    said = Annotation(decision=made.decision, answer=made.answer, values=made.values)
    return replace(decide([said], 1, item.answer), rule=made.rule)


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
