"""Taking an exchange with personal data out of every queue, telling their leads, and giving it back.

The exchange leaves each queue that holds it, also as the second answer of a pair, and comes into none while a
flag stands. What is erased from the stores is not decided here.
"""

from collections.abc import Iterable
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotations import audit, verdicts
from annotations.access import managed
from annotations.audit import Act
from annotations.flags import Flag
from annotations.models import Annotation, Assignment, Item, Queue

RULE = "flagged as personal data"


def standing() -> QuerySet[Flag]:
    """Flags that keep their exchange out: not found wrong by a lead, and not taken back."""
    return Flag.objects.exclude(upheld=False).filter(annotation__undone_by=None)


def undecided(user: User | AnonymousUser) -> QuerySet[Flag]:
    """Flags that wait for a lead's word, in queues that the person manages."""
    return standing().filter(upheld=None, item__queue__in=managed(user))


def _ids(item: Item) -> set[UUID]:
    return {item.exchange_id, item.other_exchange_id} - {None}  # type: ignore[return-value]


def _holding(ids: Iterable[UUID]) -> QuerySet[Item]:
    wanted = list(ids)
    return Item.objects.filter(Q(exchange_id__in=wanted) | Q(other_exchange_id__in=wanted))


def raise_flag(item: Item, annotation: Annotation) -> None:
    """Take the item's exchange out of every queue. Call with the item locked and the judgement stored."""
    Flag.objects.create(exchange_id=item.exchange_id, item=item, annotation=annotation)
    audit.record(item.queue, annotation.reviewer, Act.FLAGGED, f"item {item.pk}")
    for other in _holding(_ids(item)).exclude(pk=item.pk).select_related("queue").order_by("pk"):
        _out(other)
        audit.record(other.queue, annotation.reviewer, Act.FLAGGED, f"item {other.pk}, in another queue")


def _out(item: Item) -> None:
    """Out of its queue: nobody holds it, nobody gets it."""
    verdicts.lock(item)
    if item.state == Item.State.FLAGGED:
        return
    Assignment.objects.filter(item=item, done_at=None).delete()
    verdicts.write(item, verdicts.Verdict(Item.State.FLAGGED, rule=RULE))


def keep_out(queue: Queue) -> None:
    """Flagged exchanges that a draw has just brought into a queue leave it at once."""
    ids = list(standing().values_list("exchange_id", flat=True).distinct())
    fresh = (
        _holding(ids).filter(queue=queue).exclude(state=Item.State.FLAGGED) if ids else Item.objects.none()
    )
    for item in fresh.select_related("queue"):
        _out(item)


def settle_again(item: Item) -> None:
    """After a flag on the item's exchange fell: what its judgements add up to, wherever it stands.

    Nothing while another flag keeps it out. Call within a transaction.
    """
    for held in _holding(_ids(item)).select_related("queue").order_by("pk"):
        if standing().filter(exchange_id__in=_ids(held)).exists():
            continue
        if held.state == Item.State.FLAGGED:
            verdicts.lock(held)
            verdicts.settle(held)


def decide(flag: Flag, lead: User, *, upheld: bool) -> bool:
    """A lead's word. Not upheld: the flagged judgement is withdrawn and the item waits again everywhere.

    False when it was decided or taken back meanwhile, and then nothing is done.
    """
    with transaction.atomic():
        mine = standing().filter(pk=flag.pk, upheld=None).values("pk")
        changed = Flag.objects.filter(pk__in=mine).update(
            upheld=upheld, decided_by=lead, decided_at=timezone.now()
        )
        if changed != 1:
            return False
        if not upheld:
            said = flag.annotation
            Annotation.objects.create(
                item=said.item, reviewer=lead, decision=Annotation.Decision.UNDO, undoes=said,
                key=f"undo:{said.key}", guidelines_version=said.guidelines_version,
            )  # fmt: skip
            Assignment.objects.filter(item=said.item, reviewer=said.reviewer).delete()
            settle_again(said.item)
        audit.record(flag.item.queue, lead, Act.UPHELD if upheld else Act.UNFLAGGED, f"item {flag.item_id}")
    return True
