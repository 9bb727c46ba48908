"""Who may judge what now: places on items, reserved for a person until a time.

Two people never hold one place: a place is a row, unique by item and slot, and every change is one
conditional statement that either happens or does not (insert unless there, delete or update if still as
seen). Leaves what a judgement says to annotations.judging.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from annotations import golds
from annotations.models import Assignment, Item, Queue

AHEAD = 2
"""Items reserved behind the one on the screen, so that the next is there at once."""
_RENEWED_BELOW = 0.9
"""The share of a lease below which it is renewed: not at each judgement, which would be one more write."""
_TRIES = 20
"""How often to look for other items when colleagues were faster."""


def make_key(item_id: int, reviewer_id: int) -> str:
    """A new key for one showing of an item to a person: 43 characters, unguessable, recognised as ours."""
    nonce = secrets.token_urlsafe(12)
    return f"{nonce}.{_signature(nonce, item_id, reviewer_id)}"


def made_for(key: str, item_id: int, reviewer_id: int) -> bool:
    """Whether we made the key for showing this item to this person, even if the place is long gone."""
    nonce, _, signature = key.partition(".")
    return constant_time_compare(signature, _signature(nonce, item_id, reviewer_id))


def known(key: str, item: Item, reviewer: User) -> bool:
    """Whether the key is of a showing of ours: by its signature, or by its row if the secret has changed."""
    if made_for(key, item.pk, reviewer.pk):
        return True
    return Assignment.objects.filter(item=item, reviewer=reviewer, key=key).exists()


def sides_swapped(key: str) -> bool:
    """Whether a pair's first answer stands right in the showing with this key: a coin tossed with the key."""
    return hashlib.sha256(key.encode()).digest()[0] % 2 == 1


def _signature(nonce: str, item_id: int, reviewer_id: int) -> str:
    signed = f"{nonce}:{item_id}:{reviewer_id}"
    digest = salted_hmac("annotations.leases", signed, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest).decode()[:26]


def reserve(queue: Queue, reviewer: User, count: int = 1 + AHEAD) -> list[Assignment]:
    """The person's items in this queue in the order to show them, at most ``count``, each reserved anew.

    The same call gives the same items until they are judged; what was taken back comes first.
    """
    now = timezone.now()
    lease = timedelta(minutes=queue.lease_minutes)
    mine = list(held(queue, reviewer)[:count])
    if any(place.leased_until < now + lease * _RENEWED_BELOW for place in mine):
        held(queue, reviewer).update(leased_until=now + lease)
        mine = list(held(queue, reviewer)[:count])
    for _ in range(_TRIES):
        if len(mine) >= count:
            break
        wanted = _candidates(queue, reviewer, count - len(mine))
        if not wanted:
            break
        _take(queue, reviewer, *golds.mix(queue, reviewer, wanted), now + lease)
        mine = list(held(queue, reviewer)[:count])
    return mine


def reserve_first(item: Item, reviewer: User) -> bool:
    """Put this very item first among what is reserved for the person, who found it and wants to judge it.

    False when no place on it is free for them, or they judged it already.
    """
    if item.state != Item.State.WAITING:
        return False
    now = timezone.now()
    until = now + timedelta(minutes=item.queue.lease_minutes)
    _take(item.queue, reviewer, [item], set(), until)
    mine = Assignment.objects.filter(item=item, reviewer=reviewer, done_at=None, slot__isnull=False)
    # What was reopened stands first; so does what was asked for.
    return mine.update(reopened_at=now, leased_until=until) == 1


def held(queue: Queue, reviewer: User) -> models.QuerySet[Assignment]:
    """What is reserved for the person and not judged, in the order to show it."""
    return (
        Assignment.objects.filter(queue=queue, reviewer=reviewer, done_at=None, slot__isnull=False)
        .select_related("item")
        .order_by(F("reopened_at").desc(nulls_last=True), "id")
    )


def skip(item: Item, reviewer: User, key: str) -> None:
    """Give the place up for now; the item comes back to this person when nothing else waits."""
    Assignment.objects.filter(item=item, reviewer=reviewer, key=key, done_at=None).update(
        slot=None, skipped_at=timezone.now(), reopened_at=None
    )


def release(assignment_id: int, queue: Queue) -> bool:
    """Take an unfinished place back from its holder. False when it was judged or released meanwhile."""
    places = Assignment.objects.filter(pk=assignment_id, queue=queue, done_at=None, slot__isnull=False)
    return places.delete()[0] == 1


def give_up(queue: Queue, reviewer: User) -> int:
    """Let others have what is reserved for a person who stops for now; how many items."""
    return held(queue, reviewer).delete()[0]


def reassign(assignment_id: int, queue: Queue, to: User) -> bool:
    """Give an unfinished place to another reviewer, under a new key; its holder's late answer is then lost.

    False when it was judged or released meanwhile, or ``to`` has had the item already.
    """
    place = Assignment.objects.filter(pk=assignment_id, queue=queue, done_at=None, slot__isnull=False).first()
    if place is None or Assignment.objects.filter(item=place.item_id, reviewer=to).exists():
        return False
    now = timezone.now()
    given = Assignment.objects.filter(
        pk=assignment_id, done_at=None, reviewer=place.reviewer_id, key=place.key
    )
    try:
        with transaction.atomic():
            changed = given.update(
                reviewer=to,
                key=make_key(place.item_id, to.pk),
                reserved_at=now,
                leased_until=now + timedelta(minutes=queue.lease_minutes),
                heat_map_seen=False,
                skipped_at=None,
                reopened_at=None,
            )
    except IntegrityError:  # ``to`` took the item in this very moment
        return False
    return changed == 1


def finish(item: Item, reviewer: User, key: str, now: datetime) -> Assignment | None:
    """Mark the person's place as judged; take a free one if the lease was lost. None when none is free.

    Call with the item locked by annotations.judging.
    """
    mine = Assignment.objects.filter(item=item, reviewer=reviewer)
    if not mine.filter(done_at=None, slot__isnull=False).update(done_at=now, key=key):
        mine.filter(done_at=None, slot=None).delete()
        slot = _free_slot(
            item.queue.judgements_per_item,
            Assignment.objects.filter(item=item).values_list("slot", flat=True),
        )
        if slot is None or item.state != Item.State.WAITING:
            return None
        late = Assignment(
            queue=item.queue, item=item, slot=slot, reviewer=reviewer, key=key, leased_until=now, done_at=now
        )
        Assignment.objects.bulk_create([late], ignore_conflicts=True)
    return mine.filter(key=key, done_at=now).first()


def reopen(item: Item, reviewer: User) -> None:
    """Give a judged place back to its holder under a new key, first in line. Call with the item locked."""
    now = timezone.now()
    Assignment.objects.filter(item=item, reviewer=reviewer).update(
        done_at=None,
        reopened_at=now,
        key=make_key(item.pk, reviewer.pk),
        leased_until=now + timedelta(minutes=item.queue.lease_minutes),
        heat_map_seen=False,
    )


def give_up_others(item: Item, reviewer: User) -> None:
    """End everybody else's places on an item that has left the queue."""
    Assignment.objects.filter(item=item, done_at=None).exclude(reviewer=reviewer).delete()


def free_items(queue: Queue) -> models.QuerySet[Item]:
    """Items with a place that nobody holds, in the queue's order. A lease that ran out holds none."""
    taken = (
        Assignment.objects.filter(item=OuterRef("pk"), slot__isnull=False)
        .filter(Q(done_at__isnull=False) | Q(leased_until__gte=timezone.now()))
        .order_by()
        .values("item")
        .annotate(n=Count("pk"))
        .values("n")
    )
    return (
        Item.objects.filter(queue=queue, state=Item.State.WAITING)
        .annotate(taken=Coalesce(Subquery(taken), 0))
        .filter(taken__lt=queue.judgements_per_item)
        .order_by("position", "id")
    )


def _candidates(queue: Queue, reviewer: User, count: int) -> list[Item]:
    mine = Assignment.objects.filter(item=OuterRef("pk"), reviewer=reviewer)
    free = free_items(queue)
    fresh = list(free.filter(~Exists(mine))[:count])
    if len(fresh) == count:
        return fresh
    skipped = free.filter(
        Q(assignments__reviewer=reviewer, assignments__slot=None, assignments__done_at=None)
    ).order_by("assignments__skipped_at")
    return fresh + list(skipped[: count - len(fresh)])


def _take(queue: Queue, reviewer: User, items: list[Item], checks: set[int], until: datetime) -> None:
    """Insert places unless somebody else's are there; who won is read afterwards. ``checks``: which of the
    items, by their keys, are check questions.
    """
    now = timezone.now()
    there: dict[int, list[Assignment]] = {item.pk: [] for item in items}
    for place in Assignment.objects.filter(item__in=items):
        there[place.item_id].append(place)
    gone = [place for places in there.values() for place in places if _given_up(place, reviewer, now)]
    if gone:
        # Still as they were seen: one that was judged or renewed meanwhile stays.
        seen = Assignment.objects.filter(pk__in=[place.pk for place in gone], done_at=None)
        seen.filter(Q(slot=None) | Q(leased_until__lt=now)).delete()
    places = []
    for item in items:
        skips = [place.skipped_at for place in there[item.pk] if place in gone and place.slot is None]
        slots = [place.slot for place in there[item.pk] if place not in gone]
        # Everybody answers a check question: it has a place for each.
        most = len(slots) + 1 if item.pk in checks else queue.judgements_per_item
        slot = _free_slot(most, slots)
        if slot is not None:
            places.append(
                Assignment(
                    queue=queue,
                    item=item,
                    slot=slot,
                    reviewer=reviewer,
                    key=make_key(item.pk, reviewer.pk),
                    leased_until=until,
                    skipped_at=skips[0] if skips else None,
                )
            )
    Assignment.objects.bulk_create(places, ignore_conflicts=True)


def _given_up(place: Assignment, reviewer: User, now: datetime) -> bool:
    """Whether a place makes room: somebody else's lease that ran out, or what this person skipped."""
    if place.done_at is not None:
        return False
    if place.slot is None:
        return place.reviewer_id == reviewer.pk
    return place.reviewer_id != reviewer.pk and place.leased_until < now


def _free_slot(most: int, taken: Iterable[int | None]) -> int | None:
    slots = set(taken)
    return next((slot for slot in range(most) if slot not in slots), None)
