"""Retention: each route's days, what is held against them, and a run that lets expire what is due.

What a dataset version uses is held, bodies and tokens too, and so are an exam's answers to it; of what
stands in a queue the metadata are, so that an erasure finds the copy. A copy in a queue that no dataset
uses expires with the bodies. The statements and their bounds are in inference.retention. The log of looks has
days of its own, which no route's and no hold touch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotations.models import Item
from flywheel import copies
from flywheel.models import DatasetRow, EvaluationCase, Expiry
from inference import audit, clickhouse, retention
from inference.clickhouse import Store
from inference.models import Route
from inference.retention import NO_ROUTE, Due, Part, Policy
from inference.routing import VERSION_PREFIX

NOBODY = UUID(int=0)
"""The run that held nothing: before the first."""
LOOKS = "entries in the log of looks"
_CHUNK = 2000
_RULES = (copies.RULE, copies.EXPIRED_RULE)


def policies() -> list[Policy]:
    """Of every route, of calls to a version by its name, and of calls that never had a route."""
    found = [
        Policy(
            route.name,
            {
                Part.TOKENS: route.tokens_days,
                Part.BODIES: route.bodies_days,
                Part.METADATA: route.metadata_days,
            },
        )
        for route in Route.objects.order_by("name")
    ]
    return [*found, *(retention.strictest(found, other) for other in (VERSION_PREFIX, NO_ROUTE))]


def expiring() -> list[Policy]:
    """Those by which anything expires."""
    return [policy for policy in policies() if any(policy.days.values())]


def held() -> Iterator[tuple[UUID, bool]]:
    """Exchanges that must not expire, and whether their bodies and tokens are held as well."""
    in_rows = DatasetRow.objects.exclude(hash="")
    for names in ("exchange_id", "other_exchange_id"):
        used = in_rows.values_list(f"item__{names}", flat=True).distinct()
        yield from ((one, True) for one in used.iterator() if one is not None)
        kept = Item.objects.exclude(verdict_rule__in=_RULES).values_list(names, flat=True)
        yield from ((one, False) for one in kept.iterator() if one is not None)
    cases = EvaluationCase.objects.exclude(row__hash="")
    for names in ("baseline_exchange", "candidate_exchange"):
        answered = cases.values_list(names, flat=True)
        yield from ((one, True) for one in answered.iterator() if one is not None)


def preview(now: datetime | None = None) -> list[Due]:
    """What the next run removes, with what the last one held. Raises Unavailable."""
    last = Expiry.objects.first()
    return retention.due(
        clickhouse.connect(), expiring(), last.uid if last else NOBODY, now or timezone.now()
    )


def gone() -> list[tuple[str, int]]:
    """Deleted and renamed routes that still have exchanges, and how many. Raises Unavailable."""
    return retention.gone(clickhouse.connect(), list(Route.objects.values_list("name", flat=True)))


def run(now: datetime | None = None) -> Expiry | None:
    """Begin to remove what is due; None when nothing was, or an earlier run is still at work.

    Raises Unavailable; then nothing, or a part, was begun, and the next run goes on.
    """
    now = now or timezone.now()
    _let_looks_go(now)
    found, store = expiring(), clickhouse.connect()
    retention.announce(store, policies(), now)
    if not found or retention.busy(store):
        return None
    one = Expiry()
    retention.hold(store, one.uid, held())
    steps = retention.steps(store, found, one.uid, now)
    items = _expire_items(store, found, now)
    if not steps and not items:
        if last := Expiry.objects.first():
            Expiry.objects.filter(pk=last.pk).update(uid=one.uid)
            retention.let_go(store, one.uid)
        return None
    for step in steps:
        what = f"{step.part} in {step.table}"
        one.removed[what] = one.removed.get(what, 0) + step.rows
    if items:
        one.removed["copies in queues"] = items
    one.save()
    retention.start(store, steps)
    retention.let_go(store, one.uid)
    return one


def _let_looks_go(now: datetime) -> None:
    """Needs no trace store, so it is done also while that is away or at work."""
    if settings.LOOKS_DAYS <= 0 or not (gone := audit.let_go(retention.earliest(settings.LOOKS_DAYS, now))):
        return
    with transaction.atomic():
        # The newest row names what is held, which this changes nothing of.
        one, last = Expiry(removed={LOOKS: gone}), Expiry.objects.first()
        if last is not None:
            one.uid = last.uid
            Expiry.objects.filter(pk=last.pk).update(uid=uuid4())
        one.save()


def _expire_items(store: Store, found: Sequence[Policy], now: datetime) -> int:
    """Empty the copies whose bodies are due and that no dataset uses. Returns how many."""
    cutoffs = [cutoff for policy in found if (cutoff := policy.cutoff(Part.BODIES, now))]
    if not cutoffs:
        return 0
    old = (
        Item.objects.filter(started_at__lt=max(cutoffs), dataset_rows=None)
        .exclude(verdict_rule__in=_RULES)
        .values_list("pk", "exchange_id")
        .iterator()
    )
    emptied = 0
    while part := list(islice(old, _CHUNK)):
        due = retention.expired(store, found, [exchange for _, exchange in part], now)
        pks = [pk for pk, exchange in part if exchange in due]
        for start in range(0, len(pks), 500):
            copies.empty_items(pks[start : start + 500], copies.EXPIRED, copies.EXPIRED_RULE)
        emptied += len(pks)
    return emptied
