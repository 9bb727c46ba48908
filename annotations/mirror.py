"""Judgements as events of the trace store: ``gen_ai.evaluation.result``, each stored exactly once.

An annotation is its own outbox: it waits until it is known to have been read back from the store, so nothing
is lost while ClickHouse is away and judging needs none. Its event's id follows from its key; a batch that may
have been sent before is looked up first (inference.storing). One mirror works at a time, under a lease.
"""

import hashlib
import logging
import uuid
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from annotations.models import Annotation, Mirror
from inference import clickhouse, storing
from inference.events import Event
from inference.queries.judged import BY, KIND, LABEL, UNDOES

BATCH = 1000
LEASE = timedelta(minutes=5)
_SCORES = {
    Annotation.Decision.APPROVE: 1.0,
    Annotation.Decision.REJECT: 0.0,
    Annotation.Decision.CORRECT: 0.0,
}
log = logging.getLogger(__name__)


def run() -> int:
    """Store what waits; how many events. Nothing while another one is at it. Raises Unavailable."""
    token = uuid.uuid4().hex
    if not _claim(token):
        return 0
    stored = 0
    try:
        while waiting := list(_waiting()[:BATCH]):
            _store(waiting)
            stored += len(waiting)
            Mirror.objects.filter(token=token).update(until=timezone.now() + LEASE)
    finally:
        Mirror.objects.filter(token=token).update(until=timezone.now())
    return stored


def _claim(token: str) -> bool:
    Mirror.objects.get_or_create(pk=1)
    now = timezone.now()
    free = Mirror.objects.filter(Q(until__lte=now) | Q(until=None), pk=1)
    return free.update(token=token, until=now + LEASE) == 1


def _waiting() -> Any:
    return (
        Annotation.objects.filter(mirrored_at=None)
        .select_related("item__queue", "reviewer", "undoes")
        .order_by("id")
    )


def _store(waiting: list[Annotation]) -> None:
    events = [event(one) for one in waiting]
    batch = hashlib.sha256("".join(one.event_id for one in events).encode()).hexdigest()
    storing.store(clickhouse.connect(), events, f"judgements:{batch[:32]}", again=True)
    Annotation.objects.filter(pk__in=[one.pk for one in waiting]).update(mirrored_at=timezone.now())


def event_id(key: str) -> str:
    """The id of the event of the annotation with this key."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"flywheel.annotation.{key}"))


def event(one: Annotation) -> Event:
    """An annotation as an event, by the names of the GenAI semantic conventions where they have one."""
    item, queue = one.item, one.item.queue
    data: dict[str, Any] = {
        "gen_ai.evaluation.name": queue.slug,
        LABEL: one.decision,
        "flywheel.attempt": item.attempt,
        BY: one.source,
        "flywheel.reviewer": one.reviewer.pk,
        "flywheel.guidelines_version": one.guidelines_version,
    }
    if one.decision in _SCORES:
        data["gen_ai.evaluation.score.value"] = _SCORES[Annotation.Decision(one.decision)]
    if one.reason:
        data["gen_ai.evaluation.explanation"] = one.reason
    if one.seconds is not None:
        data["flywheel.seconds"] = one.seconds
    if one.undoes is not None:
        data[UNDOES] = event_id(one.undoes.key)
    return Event(
        event_id=event_id(one.key),
        kind=KIND,
        exchange_id=str(item.exchange_id),
        trace_id="",
        at_us=int(one.created_at.timestamp() * 1_000_000),
        source=f"queue {queue.slug}",
        data=data,
    )
