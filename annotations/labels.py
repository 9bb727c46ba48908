"""What judges made of exchanges, for filters: ``label:approved`` and the like."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from annotations.models import Annotation, Item
from inference import lookups


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


def connect() -> None:
    """Let filters ask: called when the apps are ready."""
    lookups.know_labels(labelled)
