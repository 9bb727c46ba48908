"""Second opinions: a lead decides an item whose judgements differ, or decides a settled one anew.

Appended like judgements, never edited; the newest counts, and nothing that is said later changes the verdict.
Leaves what an answer may be to annotations.judging.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.utils import timezone

from annotations.questions import all_told

if TYPE_CHECKING:
    from annotations.judging import Judgement
    from annotations.models import Annotation, Item


DECISIONS = (
    ("approve", "approved"),
    ("reject", "rejected"),
    ("correct", "corrected"),
    ("answer", "answered"),
    ("cant_judge", "can't judge"),
)
"""As Annotation.Decision has them."""
RULE = "adjudicated by "
"""A verdict's rule begins with it when a lead decided."""


class Adjudication(models.Model):
    """A lead's decision on an item, as it stood at ``revision``."""

    item = models.ForeignKey("annotations.Item", models.CASCADE, related_name="adjudications")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    decision = models.CharField(max_length=10, choices=DECISIONS)
    answer = models.TextField(blank=True, help_text="The right answer, of a correction.")
    values = models.JSONField(default=dict, blank=True, help_text="Answers to questions, by their name.")
    why = models.TextField(blank=True)
    key = models.CharField(max_length=43, unique=True, help_text="The form's: sent twice, decided once.")
    revision = models.PositiveIntegerField(help_text="Of the item that the lead saw.")
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        app_label = "annotations"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.decision} on {self.item} by {self.decided_by}"

    @property
    def rule(self) -> str:
        """What the verdict keeps."""
        return f"{RULE}{self.decided_by.get_full_name() or self.decided_by.username}"[:100]

    @property
    def told(self) -> list[str]:
        """What it says to questions, in words."""
        return all_told(self.item.queue.asked, self.values)


class Stale(Exception):  # noqa: N818 - it is an answer to a person, not a fault
    """The item is no longer as the lead saw it; the message is for people."""


def adjudicate(
    item: "Item", lead: User, key: str, said: "Judgement | Annotation", *, revision: int, why: str = ""
) -> Adjudication:
    """Decide an item that was seen at ``revision``: by a judgement of one's own, or by taking a side.

    The same key again gives the same row. Raises Stale, or judging.Refused when it does not fit. A pair's
    answers are told as they are stored, never shuffled.
    """
    # They need the models, of which this is one.
    from annotations import judging, verdicts  # noqa: PLC0415

    with transaction.atomic():
        verdicts.lock(item)
        before = Adjudication.objects.filter(key=key).first()
        if before is not None:
            return before
        if item.revision - 1 != revision:
            raise Stale("Somebody has judged or decided this one meanwhile. Look again.")
        if item.state in (item.State.WAITING, item.State.FLAGGED):
            raise Stale("There is nothing to decide: it waits for judgements, or is flagged.")
        values = _values(item, said) if isinstance(said, judging.Judgement) else said.values
        made = Adjudication.objects.create(
            item=item,
            decided_by=lead,
            decision=said.decision,
            answer=said.answer,
            values=values,
            why=why,
            key=key,
            revision=revision,
        )
        verdicts.settle(item)
    return made


def _values(item: "Item", said: "Judgement") -> dict[str, Any]:
    """The answer to the leading question, if it is one; further ones are the reviewers' alone."""
    from annotations import judging, questions  # noqa: PLC0415 - as above

    if said.decision == judging.Decision.FLAG:
        raise judging.Refused("Choose one of the answers below.")
    judging.check(item, said)
    if said.decision != judging.Decision.ANSWER:
        return {}
    lead = item.queue.lead
    try:
        value = questions.read(lead, said.given.get(lead.name, ()), item.answer, swapped=False)
    except questions.Unfit as unfit:
        raise judging.Refused(str(unfit), lead.field) from unfit
    return {lead.name: value}


def used(items: Collection[int]) -> dict[int, str]:
    """Items that a lead decided: for annotations.uses."""
    decided = Adjudication.objects.filter(item__in=items).values_list("item", flat=True)
    return dict.fromkeys(decided, "A second opinion")
