"""Erasing one user's data everywhere, whatever holds it: a job that is taken up again where it stopped.

Knows the order: first the list by which drains drop what still arrives, then the copies in SQL and files,
then the trace store's rows, then the disk. The user's id is hashed before anything is written: neither the
job nor its receipt holds it. What a place is emptied of is in inference.erasing (trace store),
flywheel.copies (SQL and files) and inference.erased (spools, by their drains).
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from flywheel import copies, forgetting, jobs
from flywheel.models import Erasure, Job
from inference import clickhouse, erased, erasing
from inference.clickhouse import Store, Unavailable

STEPS = (
    "Tells the drains.",
    "Looks for what is theirs.",
    "Empties the copies in queues, datasets and runs.",
    "Deletes from the trace store.",
    "Waits until old parts have left the disk.",
    "Cleans the database's file.",
)
AGAIN_DAYS = 7
"""So long after its end an erasure is looked after: what came in while it ran is erased, too."""
_ROUNDS = 5
_PATIENCE_SECONDS = 1800.0
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be erased, and what was made with it."""

    exchanges: int
    counts: dict[str, int]
    used: dict[str, list[str]]


def salt() -> str:
    """The installation's: one, so that a later receipt for the same user is seen to be for the same."""
    known = Erasure.objects.values_list("salt", flat=True).first()
    return known or secrets.token_hex(32)


def of_user(user_id: str) -> list[Erasure]:
    """Receipts for a user, newest first."""
    found = Erasure.objects.select_related("job", "job__created_by")
    return list(found.filter(hash=erased.digest(salt(), user_id)))


def start(user_id: str, key: str, by: User | None) -> Erasure:
    """Begin to erase what a user did until now; the same key again gives the same erasure.

    Raises jobs.KeyReusedError when the key meant another user, jobs.RefusedError for an empty id.
    """
    if not user_id.strip():
        raise jobs.RefusedError("Say whose data: the user's id, as the application sends it.")
    with transaction.atomic():
        job, new = jobs.start(Job.Kind.ERASURE, key, by, total=len(STEPS))
        made = salt()
        digest = erased.digest(made, user_id)
        if new:
            return Erasure.objects.create(job=job, salt=made, hash=digest, before=timezone.now())
        known: Erasure = job.erasure
        if known.hash != digest:
            raise jobs.KeyReusedError(f"This key already began {known}, for another user.")
        return known


def standing() -> dict[str, int]:
    """How many are ``done``, ``active``, and ``failed`` (or cancelled, which leaves data just as well)."""
    done = Erasure.objects.filter(job__state=Job.State.DONE).count()
    active = Erasure.objects.filter(job__state__in=(Job.State.PENDING, Job.State.RUNNING)).count()
    return {"done": done, "active": active, "failed": Erasure.objects.count() - done - active}


def wish(erasure: Erasure) -> erasing.Wish:
    """The erasure as the trace store has to know it."""
    return erasing.Wish(erasure.uid, erasure.salt, erasure.hash, erasure.before)


def preview(user_id: str) -> Preview:
    """What erasing a user would touch now. Writes nothing. Raises Unavailable."""
    store = clickhouse.connect()
    made = salt()
    asked = erasing.Wish(Erasure().uid, made, erased.digest(made, user_id), timezone.now())
    exchanges = erasing.look(store, asked)
    found = copies.find(exchanges)
    return Preview(len(exchanges), found.counts, copies.used(found))


def run(erasure: Erasure, lease: jobs.Lease) -> None:
    """Do it, from wherever it was. Raises jobs.FailedError."""
    try:
        store = clickhouse.connect()
        for _ in range(_ROUNDS):
            _pass(store, erasure, lease)
            if not any(erasing.count(store, wish(erasure)).values()):
                break
        else:
            raise jobs.FailedError(
                "More of it kept coming in while it was deleted. What was found is gone. Resume once the "
                "drains have caught up."
            )
    except Unavailable as error:
        raise jobs.FailedError(
            f"The trace store does not answer: {error}. What is erased stays so. Resume when it is back."
        ) from error
    _step(lease, 5)
    _clean_database(lease)
    erasure.finished_at = timezone.now()
    with lease.complete("Erased everywhere. What still arrives is dropped."):
        erasure.save(update_fields=["finished_at"])


def _pass(store: Store, erasure: Erasure, lease: jobs.Lease) -> None:
    asked = wish(erasure)
    _step(lease, 0)
    erasing.announce(store, asked)
    _step(lease, 1)
    found = _find(store, erasure)
    _step(lease, 2)
    copies.empty(found, erasure, lambda: _step(lease, 2))
    _step(lease, 3)
    since = erasing.now(store)
    erasing.delete(store, asked)
    _wait(store, since, lease)


def _find(store: Store, erasure: Erasure) -> copies.Copies:
    """Put everything on the list and into the receipt, before anything of it goes."""
    asked = wish(erasure)
    erasing.collect(store, asked)
    found = copies.find(erasing.exchanges(store, asked))
    if exam := copies.exam_exchanges(found):
        erasing.add_exchanges(store, asked, exam)
    rows = {f"{table} rows": number for table, number in erasing.count(store, asked).items()}
    filters = forgetting.forget(erasure, erasing.people(store, asked))
    seen = found.counts | rows | {"filters that named them": filters}
    # A second look sees less: what was there at first counts.
    erasure.counts |= {p: n for p, n in seen.items() if n > erasure.counts.get(p, 0)}
    for kind, names in copies.used(found).items():
        erasure.used[kind] = sorted({*erasure.used.get(kind, []), *names})
    erasure.save(update_fields=["counts", "used"])
    return found


def _wait(store: Store, since: datetime, lease: jobs.Lease) -> None:
    """Until the rows are deleted and the parts that held them are off the disk."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        left = erasing.remaining(store, since)
        if not left.mutations and not left.old_parts:
            return
        if time.monotonic() > deadline:
            raise jobs.FailedError(
                f"The trace store has not deleted everything in {_PATIENCE_SECONDS / 60:.0f} minutes "
                f"({left.mutations} mutations, {left.old_parts} old parts). {left.failure} It goes on by "
                "itself; resume to see it to its end."
            )
        _step(lease, 3 if left.mutations else 4)
        time.sleep(_PAUSE_SECONDS)


def _step(lease: jobs.Lease, number: int) -> None:
    lease.beat(number, len(STEPS), STEPS[number])


def _clean_database(lease: jobs.Lease) -> None:
    """Free pages and the write-ahead log of SQLite's file. PostgreSQL's own vacuum is told to look now."""
    if connection.in_atomic_block:
        return  # neither works in a transaction
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        if connection.vendor != "sqlite":
            return
        for _ in range(60):
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if cursor.fetchone()[0] == 0:
                return
            lease.beat()
            time.sleep(_PAUSE_SECONDS)
    raise jobs.FailedError(
        "Somebody keeps reading the database, so its log can't be emptied. All else is done. Resume later."
    )


def look_again() -> int:
    """Erase what came in while erasures ran or shortly after; returns of how many erasures something had.

    A drain that read the list a moment before may store a batch a moment after, and a queue may have drawn an
    exchange. Raises Unavailable, jobs.FailedError.
    """
    recent = Erasure.objects.filter(finished_at__gt=timezone.now() - timedelta(days=AGAIN_DAYS))
    return sum([_look_again(clickhouse.connect(), erasure) for erasure in recent])


def _look_again(store: Store, erasure: Erasure) -> bool:
    asked = wish(erasure)
    erasing.collect(store, asked)
    found = copies.find(erasing.exchanges(store, asked))
    rows = sum(erasing.count(store, asked).values())
    full = copies.full(found)
    if not rows and not full:
        return False
    copies.empty(found, erasure, lambda: None)
    erasing.delete(store, asked)
    came = erasure.counts.get("came while it ran", 0)
    erasure.counts |= {"came while it ran": came + rows + full}
    erasure.save(update_fields=["counts"])
    return True
