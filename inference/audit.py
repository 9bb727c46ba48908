"""Who did what, when: rows that are appended and never changed; of looks, the old ones may be let go.

What is written is who, when and on what, by ids; never a text, so that an erasure has nothing to do here.
Each room derives its own entries; here is that people looked at what was asked and answered.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

MOST_NAMED = 200
"""Exchanges that one entry names; of more, how many there were."""
_AT_ONCE = 5000
"""Looks that one statement deletes, so that nobody who writes waits long."""


class WrittenError(Exception):
    """An entry that stands was to be changed or deleted."""


class Entry(models.Model):
    """One act of one person."""

    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Append. Raises WrittenError for one that stands."""
        if not self._state.adding:
            raise WrittenError
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raises WrittenError."""
        raise WrittenError


class Look(Entry):
    """A page that gave a person texts or tokens of exchanges."""

    place = models.CharField(max_length=100, help_text="The page's name among the addresses.")
    count = models.PositiveIntegerField("exchanges", help_text="Of how many exchanges.")
    exchanges = models.TextField("ids", help_text=f"Their ids, at most {MOST_NAMED}, the list's first.")
    routes = models.TextField(help_text="Their routes.")

    class Meta(Entry.Meta):
        indexes: ClassVar = [
            models.Index(fields=["who", "at"], name="looks_of_a_person"),
            models.Index(fields=["at"], name="looks_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.place}, {self.count}"


def looked(who: User, place: str, seen: Mapping[str, str]) -> None:
    """Append that a page showed texts: ``seen`` has the route of each exchange by its id. One insert."""
    Look.objects.create(
        who=who,
        place=place[:100],
        count=len(seen),
        exchanges=" ".join(list(seen)[:MOST_NAMED]),
        routes=" ".join(sorted(set(seen.values()) - {""})),
    )


def let_go(before: datetime) -> int:
    """Delete the looks that were taken before a moment, and no other entries. Returns how many."""
    old, gone = Look.objects.filter(at__lt=before), 0
    while last := list(old.order_by("pk").values_list("pk", flat=True)[:_AT_ONCE]):
        gone += old.filter(pk__lte=last[-1]).delete()[0]
    return gone
