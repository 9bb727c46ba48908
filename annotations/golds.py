"""Check questions: items whose answer is known, mixed in among the others to see how well each person judges.

Nothing tells one apart before it is judged; afterwards its known answer is said. What people say to it
changes no verdict. Leaves places to annotations.leases.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import F
from django.utils import timezone

from annotations.adjudications import DECISIONS
from annotations.questions import MAIN, canonical, told

if TYPE_CHECKING:
    from annotations.models import Annotation, Item, Queue

_DECISIONS = {"approved": "approve", "rejected": "reject", "corrected": "correct", "answered": "answer"}
"""A verdict to the decision that says the same."""


class Gold(models.Model):
    """The known answer to an item: its verdict when a lead made it a check question."""

    item = models.OneToOneField("annotations.Item", models.CASCADE, related_name="gold")
    decision = models.CharField(max_length=10, choices=DECISIONS)
    answer = models.TextField(blank=True, help_text="The right answer, of a correction.")
    values = models.JSONField(default=dict, blank=True, help_text="Answers to questions, by their name.")
    rule = models.CharField(max_length=100, blank=True, help_text="Of the verdict.")
    note = models.TextField(blank=True, help_text="Why, for who has just judged it.")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    made_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, help_text="From then on nobody gets it; what was said counts.")

    class Meta:
        app_label = "annotations"

    def __str__(self) -> str:
        return f"check question {self.item_id}"

    def holds(self, said: "Annotation") -> bool:
        """Whether a judgement says what is known. Who corrects what is known to be wrong is right, too."""
        if self.decision == "reject" and said.decision == "correct":
            return True
        given = (said.decision, said.answer.strip(), canonical(said.values.get(MAIN, "")))
        return given == (self.decision, self.answer.strip(), canonical(self.values.get(MAIN, "")))

    @property
    def words(self) -> str:
        """The known answer, for people."""
        if MAIN in self.values:
            return told(self.item.queue.lead, self.values[MAIN])
        return f"“{self.answer}”" if self.answer else self.get_decision_display()


@dataclass(frozen=True, slots=True)
class Checked:
    """What a person hears after a check question."""

    right: bool
    words: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of a person's answers to check questions, how many were right."""

    right: int
    given: int

    @property
    def share(self) -> float:
        return self.right / self.given


def mark(item: "Item", lead: User, note: str | None = None) -> Gold | None:
    """Make a settled item a check question by its verdict, or take one up again; None if it is not settled.

    Without a note, what was noted before stays.
    """
    if item.state != item.State.SETTLED:
        return None
    known = {
        "decision": _DECISIONS[item.verdict],
        "answer": item.verdict_answer if item.verdict == item.Verdict.CORRECTED else "",
        "values": item.verdict_values,
        "rule": item.verdict_rule,
    }
    more = {"made_by": lead, "ended_at": None} | ({} if note is None else {"note": note})
    return Gold.objects.update_or_create(item=item, defaults=known | more)[0]


def end(item: "Item") -> bool:
    """Give the item to nobody any more; False when it was none."""
    return Gold.objects.filter(item=item, ended_at=None).update(ended_at=timezone.now()) == 1


def mix(queue: "Queue", reviewer: User, items: "list[Item]") -> "tuple[list[Item], set[int]]":
    """Items to reserve, each replaced by a check question with the queue's chance; and which of them are.

    Nobody gets one twice, nor one that they helped to settle.
    """
    every = queue.gold_every
    wanted = sum(secrets.randbelow(every) == 0 for _ in items) if every else 0
    if not wanted:
        return items, set()
    unseen = Gold.objects.filter(item__queue=queue, item__state="settled", ended_at=None)
    unseen = unseen.exclude(item__assignments__reviewer=reviewer).select_related("item")
    drawn = [gold.item for gold in unseen.order_by("?")[:wanted]]
    kept = items[: len(items) - len(drawn)]
    # In no place that tells.
    mixed = kept + drawn
    secrets.SystemRandom().shuffle(mixed)
    return mixed, {item.pk for item in drawn}


def feedback(said: "Annotation") -> Checked | None:
    """What is told after a judgement: None unless it answered a check question."""
    gold = Gold.objects.filter(item=said.item_id, made_at__lt=said.created_at).first()
    if gold is None or said.decision == "flag":
        return None
    gold.item = said.item
    if gold.holds(said):
        words = "That was a check question, and your answer is the known one."
    else:
        words = f"That was a check question. The known answer: {gold.words}."
    return Checked(gold.holds(said), f"{words} {gold.note}".strip())


def accuracy(queue: "Queue", reviewer: User | None = None) -> dict[int, Accuracy]:
    """By person, of those who have answered any; or one person's alone."""
    from annotations.models import Annotation  # noqa: PLC0415 - this is one of the models

    asked = Annotation.objects.standing().filter(item__queue=queue)
    if reviewer is not None:
        asked = asked.filter(reviewer=reviewer)
    return _counted(asked, "reviewer_id")


def answers(items: Collection[int]) -> dict[int, Accuracy]:
    """By check question, of those that were answered."""
    from annotations.models import Annotation  # noqa: PLC0415 - as above

    return _counted(Annotation.objects.standing().filter(item__in=items), "item_id")


def _counted(said: "models.QuerySet[Annotation]", by: str) -> dict[int, Accuracy]:
    asked = said.filter(created_at__gt=F("item__gold__made_at")).exclude(decision="flag")
    found: dict[int, tuple[int, int]] = {}
    for one in asked.select_related("item__gold"):
        right, given = found.get(getattr(one, by), (0, 0))
        found[getattr(one, by)] = (right + one.item.gold.holds(one), given + 1)
    return {key: Accuracy(right, given) for key, (right, given) in found.items()}


def used(items: Collection[int]) -> dict[int, str]:
    """Items that are check questions: for annotations.uses."""
    return dict.fromkeys(
        Gold.objects.filter(item__in=items).values_list("item", flat=True), "A check question"
    )
