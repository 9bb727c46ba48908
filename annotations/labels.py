"""What judges made of exchanges: for filters (``label:approved`` and the like) and the explorer's rows."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from annotations.models import Annotation, Item
from inference import lookups
from inference.lookups import Named, Settled

_SETTLED = ("exchange_id", "attempt", "verdict", "verdict_answer")


def labelled(labels: Sequence[str], since: datetime | None, until: datetime | None, most: int) -> list[UUID]:
    """Exchanges with one of the labels in some queue, that began in [since, until); at most so many.

    A label is a verdict, or the state of what has none yet; ``any`` is what at least one person judged.
    """
    wanted = Q(verdict__in=labels) | Q(state__in=labels)
    if "any" in labels:
        wanted |= Q(pk__in=Annotation.objects.standing().values("item"))
    found = Item.objects.filter(wanted)
    if since is not None:
        found = found.filter(started_at__gte=since)
    if until is not None:
        found = found.filter(started_at__lt=until)
    return list(found.order_by().values_list("exchange_id", flat=True).distinct()[:most])


def settled(named: Sequence[Named]) -> dict[Named, Settled]:
    """What people settled on for each of the exchanges. Of several queues the latest stands first, and its
    correction counts.
    """
    items = Item.objects.filter(state=Item.State.SETTLED, exchange_id__in=[one for one, _ in named])
    found: dict[Named, list[Item]] = {one: [] for one in named}
    for item in items.only(*_SETTLED).order_by("-settled_at", "-pk"):
        if (key := (item.exchange_id, item.attempt)) in found:
            found[key].append(item)
    return {one: _settled(each) for one, each in found.items() if each}


def _settled(items: Sequence[Item]) -> Settled:
    words = dict.fromkeys(item.get_verdict_display() for item in items)
    corrections = (item.verdict_answer for item in items if item.verdict == Item.Verdict.CORRECTED)
    return Settled(", ".join(words), next(corrections, ""))


def connect() -> None:
    """Let filters and lists ask: called when the apps are ready."""
    lookups.know_labels(labelled)
    lookups.know_verdicts(settled)
