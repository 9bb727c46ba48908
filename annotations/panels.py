"""What people said about an exchange, for the right rail of its page."""

from dataclasses import dataclass

from annotations.models import Annotation, Item, Queue
from inference.panels import Panel, Subject, register


@dataclass(frozen=True, slots=True)
class Judged:
    """The exchange in one queue: what its judgements add up to, and each that stands."""

    item: Item
    judgements: list[Annotation]
    may_judge: set[int]
    """Who may judge it now: listed in the queue, and not among those who did."""


def judgements(subject: Subject) -> list[Panel]:
    """One card with every queue that holds the exchange; none when no queue does."""
    items = Item.objects.filter(exchange_id=subject.exchange_id, attempt=subject.attempt)
    items = items.select_related("queue").prefetch_related("queue__reviewers")
    found = list(items.order_by("queue__name"))
    if not found:
        return []
    standing = Annotation.objects.standing().filter(item__in=found).select_related("reviewer").order_by("-id")
    by_item: dict[int, list[Annotation]] = {item.pk: [] for item in found}
    for annotation in standing:
        by_item[annotation.item_id].append(annotation)
    for item in found:
        for annotation in by_item[item.pk]:
            annotation.item = item
    judged = [Judged(item, by_item[item.pk], _open_to(item, by_item[item.pk])) for item in found]
    return [
        Panel("Judgements", "annotations/panel.html", {"judged": judged, "hidden": subject.hidden}, order=10)
    ]


def _open_to(item: Item, judgements: list[Annotation]) -> set[int]:
    if item.state != Item.State.WAITING or item.queue.state != Queue.State.OPEN:
        return set()
    return {one.pk for one in item.queue.reviewers.all()} - {one.reviewer_id for one in judgements}


def connect() -> None:
    """Show them: called when the apps are ready."""
    register(judgements)
