"""Long work that survives its workers: rows claimed by compare-and-set, leases, heartbeats, attempts.

Knows the Job row's life and nothing of what the work is. Celery only carries hints: a hint that is lost,
late, doubled or sent to a dead worker changes nothing but when the work begins, since beat sends what is due
again. No row lock is relied on (SQLite has none): every change of state is one UPDATE that names the state
it expects.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone
from kombu.exceptions import OperationalError

from flywheel.celery import app
from flywheel.models import Job
from inference import readers

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""Without a sign of life for this long, the work is another worker's."""
BEAT_SECONDS = 2.0
"""Signs of life and progress are written at most this often."""
MAX_ATTEMPTS = 3
"""So often is work begun; then it fails instead of killing a fourth worker."""
HINT_SECONDS = 60
"""An older hint is thrown away unread: newer ones have been sent since."""
UNHEARD = timedelta(seconds=10)
"""A waiting job this old gets another hint."""


class KeyReusedError(ValueError):
    """The key of a form was posted again with something else in it."""


class RefusedError(ValueError):
    """What was asked for can't be started as things are; the text says why, as a sentence."""


class LeaseLostError(RuntimeError):
    """The row is no longer ours: the worker paused too long and another took over. Leave everything alone."""


class CancelledError(RuntimeError):
    """Somebody asked to stop."""


class FailedError(RuntimeError):
    """The work can't be done; the text says what happened, what is safe and what to do, in sentences."""


def start(kind: Job.Kind, key: str, user: User | None, total: int = 0) -> tuple[Job, bool]:
    """The job of this key, and whether it is new. Call inside the transaction that makes what it works on.

    A second call with the same key gives the first's job. Raises KeyReusedError when it is of another kind.
    """
    job, new = Job.objects.get_or_create(
        key=key, defaults={"kind": kind, "created_by": user, "total": total, "message": "Waits for a worker."}
    )
    if job.kind != kind:
        raise KeyReusedError(f"This key started something else: {job.get_kind_display()}.")
    if new:
        transaction.on_commit(partial(hint, job.pk))
    return job, new


def done_at_once(kind: Job.Kind, key: str, user: User | None, message: str) -> tuple[Job, bool]:
    """A job whose work is the caller's own transaction; keeps the key, who and when. Else as ``start``."""
    now = timezone.now()
    job, new = Job.objects.get_or_create(
        key=key,
        defaults={
            "kind": kind,
            "created_by": user,
            "state": Job.State.DONE,
            "done": 1,
            "total": 1,
            "message": message,
            "attempts": 1,
            "started_at": now,
            "finished_at": now,
        },
    )
    if job.kind != kind:
        raise KeyReusedError(f"This key started something else: {job.get_kind_display()}.")
    return job, new


def hint(job_id: int) -> bool:
    """Tell the workers that there is something to do. False when the broker can't be reached: beat will."""
    try:
        app.send_task("flywheel.run_job", [job_id], expires=HINT_SECONDS, retry=False)
    except OperationalError as error:
        log.warning("job %s waits for beat: the broker can't be reached (%s)", job_id, error)
        return False
    return True


def due() -> QuerySet[Job]:
    """Jobs that wait for a worker, or whose worker has not been heard from."""
    now = timezone.now()
    waiting = Q(state=Job.State.PENDING, created_at__lt=now - UNHEARD)
    abandoned = Q(state=Job.State.RUNNING, lease_until__lt=now)
    return Job.objects.filter(waiting | abandoned).order_by("id")


def resend_due() -> int:
    """Hint again at everything due; end what was begun too often. Returns how many hints were sent."""
    worn_out = Q(state=Job.State.RUNNING, lease_until__lt=timezone.now(), attempts__gte=MAX_ATTEMPTS)
    Job.objects.filter(worn_out).update(
        state=Job.State.FAILED,
        finished_at=timezone.now(),
        lease_token="",
        error=f"Its worker ended {MAX_ATTEMPTS} times without a word, perhaps for want of memory. "
        "What was finished is kept. Look into the worker's log, then resume.",
    )
    return sum(hint(pk) for pk in due().values_list("pk", flat=True))


def cancel(job: Job) -> bool:
    """Ask to stop: at once when waiting, else at the next sign of life. False when it had ended."""
    now = timezone.now()
    waiting = Job.objects.filter(pk=job.pk, state=Job.State.PENDING)
    if waiting.update(state=Job.State.CANCELLED, finished_at=now, message="Cancelled before it began."):
        return True
    return bool(Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).update(cancel_requested=True))


def resume(job: Job) -> bool:
    """Begin failed or cancelled work again, with what was finished kept. False when it had not ended so."""
    ended = Job.objects.filter(pk=job.pk, state__in=(Job.State.FAILED, Job.State.CANCELLED))
    again = ended.update(
        state=Job.State.PENDING,
        attempts=0,
        error="",
        cancel_requested=False,
        finished_at=None,
        lease_token="",
        message="Waits for a worker.",
    )
    if again:
        transaction.on_commit(partial(hint, job.pk))
    return bool(again)


class Lease:
    """The right to work on one job, as long as signs of life are given."""

    def __init__(self, job_id: int, token: str) -> None:
        self.job_id = job_id
        self.completed = False
        self._mine = Q(pk=job_id, state=Job.State.RUNNING, lease_token=token)
        self._next_beat = 0.0

    def beat(self, done: int | None = None, total: int | None = None, message: str = "") -> None:
        """Sign of life and progress; call often, written seldom. Raises LeaseLostError or CancelledError."""
        if time.monotonic() < self._next_beat:
            return
        now = timezone.now()
        progress: dict[str, object] = {"heartbeat_at": now, "lease_until": now + LEASE}
        progress |= {} if done is None else {"done": done}
        progress |= {} if total is None else {"total": total}
        progress |= {"message": message[:300]} if message else {}
        if not Job.objects.filter(self._mine).update(**progress):
            raise LeaseLostError(f"job {self.job_id} was taken over")
        if Job.objects.filter(self._mine, cancel_requested=True).exists():
            raise CancelledError(f"job {self.job_id} was cancelled")
        self._next_beat = time.monotonic() + BEAT_SECONDS

    @contextmanager
    def complete(self, message: str) -> Iterator[None]:
        """Write the results and end the job in one transaction: both or neither. Raises LeaseLostError."""
        with transaction.atomic():
            yield
            now = timezone.now()
            ended = Job.objects.filter(self._mine).update(
                state=Job.State.DONE,
                message=message[:300],
                finished_at=now,
                heartbeat_at=now,
                done=F("total"),
            )
            if not ended:
                raise LeaseLostError(f"job {self.job_id} was taken over")
        self.completed = True

    def end(self, state: Job.State, message: str = "", error: str = "") -> bool:
        """End without results. False when the row is no longer ours."""
        ended = Job.objects.filter(self._mine)
        return bool(ended.update(state=state, message=message[:300], error=error, finished_at=timezone.now()))


def claim(job_id: int) -> Lease | None:
    """Take a waiting job, or one whose worker is gone; None when there is nothing to take."""
    now, token = timezone.now(), secrets.token_hex(16)
    free = Q(state=Job.State.PENDING) | Q(state=Job.State.RUNNING, lease_until__lt=now)
    taken = Job.objects.filter(free, pk=job_id, attempts__lt=MAX_ATTEMPTS).update(
        state=Job.State.RUNNING,
        lease_token=token,
        lease_until=now + LEASE,
        heartbeat_at=now,
        started_at=Coalesce(F("started_at"), now),
        attempts=F("attempts") + 1,
        message="Begins.",
    )
    return Lease(job_id, token) if taken else None


Work = Callable[[Job, Lease], None]


@readers.as_the_system()
def run(job_id: int, work: Mapping[str, Work]) -> None:
    """Claim a job and do its kind's work, which ends with ``lease.complete``. Never raises: the row tells.

    It reads what it needs, whoever asked for it: what they may read was settled when the job was made.
    """
    lease = claim(job_id)
    if lease is None:
        return
    job = Job.objects.get(pk=job_id)
    try:
        lease.beat()
        work[job.kind](job, lease)
        if not lease.completed:
            raise AssertionError(f"the work of {job} ended without completing it")
    except LeaseLostError as error:
        log.warning("%s; what this worker did is dropped", error)
    except CancelledError:
        lease.end(Job.State.CANCELLED, "Cancelled. What was finished is kept.")
    except FailedError as error:
        lease.end(Job.State.FAILED, "Failed.", str(error))
    except Exception as error:
        log.exception("%s failed", job)
        cause = f"{type(error).__name__}: {error}".rstrip(".")
        safe = "What was finished is kept, and nothing that takes traffic was changed."
        lease.end(Job.State.FAILED, "Failed.", f"{cause}. {safe} Resume tries it again.")
