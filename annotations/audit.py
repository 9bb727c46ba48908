"""Who did what to a queue, when: one appended row for each act that is not a judgement.

Judgements are rows of their own, never edited; what is written here is everything else. How an entry
stands is known to inference.audit.
"""

from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import models

from inference.audit import Entry

if TYPE_CHECKING:
    from annotations.models import Queue


class Act(models.TextChoices):
    """What can be done to a queue."""

    CREATED = "created", "created the queue"
    CHANGED = "changed", "changed the settings"
    STATE = "state", "made it"
    DREW = "drew", "drew more exchanges"
    RELEASED = "released", "took a reserved item back"
    REASSIGNED = "reassigned", "gave reserved items to somebody else"
    INVITED = "invited", "made an invitation"
    REVOKED = "revoked", "took an invitation back"
    JOINED = "joined", "joined"
    ROLE = "role", "gave a role"
    REMOVED = "removed", "took a role away"
    FLAGGED = "flagged", "flagged personal data"
    UPHELD = "upheld", "found personal data"
    UNFLAGGED = "unflagged", "found no personal data"
    ASKED = "asked", "asked for a correction"
    DECIDED = "decided", "gave a second opinion"
    CHECK = "check", "changed a check question"
    EXPORTED = "exported", "took the annotations out"


class QueueEvent(Entry):
    """One act. ``about`` says on what, in words or a number."""

    queue = models.ForeignKey("annotations.Queue", models.CASCADE, related_name="events")
    act = models.CharField(max_length=10, choices=Act)
    about = models.CharField(max_length=300, blank=True)

    class Meta(Entry.Meta):
        app_label = "annotations"

    def __str__(self) -> str:
        return f"{self.queue}: {self.who} {self.get_act_display()} {self.about}".rstrip()

    @property
    def number(self) -> int:
        """Of the item that it is about; 0 for none."""
        word, _, number = self.about.partition(" ")
        return int(number) if word == "item" and number.isdecimal() else 0


def record(queue: "Queue", who: User | None, act: Act, about: object = "") -> None:
    """Append what was just done."""
    QueueEvent.objects.create(queue=queue, who=who, act=act, about=str(about)[:300])
