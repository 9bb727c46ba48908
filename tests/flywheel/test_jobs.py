"""A job is done once, by whoever holds its lease, however often it is hinted at and whoever dies."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from flywheel import jobs
from flywheel.celery import app
from flywheel.jobs import Lease
from flywheel.models import Job
from tests import people
from tests.flywheel.desk import Desk

DATASET = Job.Kind.DATASET


def begin(key: str = "k") -> Job:
    return jobs.start(DATASET, key, None, total=4)[0]


def lapse(job: Job) -> None:
    """Time goes by without a sign of life."""
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def run(job: Job, work: Callable[[Job, Lease], None]) -> Job:
    jobs.run(job.pk, {DATASET: work})
    job.refresh_from_db()
    return job


def finish(job: Job, lease: Lease) -> None:
    with lease.complete("Built."):
        pass


@pytest.mark.django_db
def test_pressed_twice_is_begun_once(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks() as hints:
        (first, new), (second, again) = (jobs.start(DATASET, "k", None) for _ in range(2))
    assert (first.pk, new, again) == (second.pk, True, False)
    assert len(hints) == 1
    with pytest.raises(jobs.KeyReusedError):
        jobs.start(Job.Kind.TRAINING, "k", None)


@pytest.mark.django_db
def test_work_ends_done_with_its_message() -> None:
    job = run(begin(), finish)
    assert (job.state, job.message, job.done, job.attempts) == (Job.State.DONE, "Built.", 4, 1)
    assert job.finished_at is not None
    assert jobs.claim(job.pk) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_gets_it() -> None:
    job = begin()

    def claim(_: int) -> bool:
        try:
            return jobs.claim(job.pk) is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(claim, range(12))) == 1


@pytest.mark.django_db
def test_an_abandoned_job_is_taken_over_and_the_first_worker_notices() -> None:
    job = begin()
    first = jobs.claim(job.pk)
    assert first is not None
    assert jobs.claim(job.pk) is None
    lapse(job)
    second = jobs.claim(job.pk)
    assert second is not None
    with pytest.raises(jobs.LeaseLostError):
        first.beat(1)
    with pytest.raises(jobs.LeaseLostError), first.complete("Mine."):
        Job.objects.filter(pk=job.pk).update(message="written by the loser")
    job.refresh_from_db()
    assert job.message == "Begins."
    with second.complete("Done by the second."):
        pass
    job.refresh_from_db()
    assert (job.state, job.message, job.attempts) == (Job.State.DONE, "Done by the second.", 2)


@pytest.mark.django_db
def test_a_sign_of_life_prolongs_the_lease_and_tells_progress() -> None:
    job = begin()
    lease = jobs.claim(job.pk)
    assert lease is not None
    lapse(job)
    lease.beat(2, 5, "Half way.")
    job.refresh_from_db()
    assert (job.done, job.total, job.message) == (2, 5, "Half way.")
    assert jobs.claim(job.pk) is None


@pytest.mark.django_db
def test_what_was_begun_too_often_fails_in_words() -> None:
    job = begin()
    for _ in range(jobs.MAX_ATTEMPTS):
        assert jobs.claim(job.pk) is not None
        lapse(job)
    assert jobs.claim(job.pk) is None
    assert jobs.resend_due() == 0
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert "3 times" in job.error
    assert "resume" in job.error


@pytest.mark.django_db
def test_beat_sends_again_what_waits_and_what_was_abandoned() -> None:
    waits, abandoned, running, fresh = (begin(key) for key in ("waits", "abandoned", "running", "fresh"))
    Job.objects.exclude(pk=fresh.pk).update(created_at=timezone.now() - timedelta(minutes=1))
    assert jobs.claim(abandoned.pk)
    assert jobs.claim(running.pk)
    lapse(abandoned)
    assert list(jobs.due()) == [waits, abandoned]
    assert jobs.resend_due() == 2


@pytest.mark.django_db
def test_a_broker_that_is_down_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    job = begin()
    with app.connection_for_write("redis://127.0.0.1:9/0") as nobody:
        monkeypatch.setattr(app, "send_task", partial(app.send_task, connection=nobody))
        assert jobs.hint(job.pk) is False


@pytest.mark.django_db
def test_waiting_work_is_cancelled_at_once() -> None:
    job = begin()
    assert jobs.cancel(job)
    assert run(job, finish).state == Job.State.CANCELLED
    assert not jobs.cancel(job)


@pytest.mark.django_db
def test_running_work_is_cancelled_at_its_next_sign_of_life() -> None:
    def work(job: Job, lease: Lease) -> None:
        assert jobs.cancel(job)
        lease._next_beat = 0.0  # as if the pause between two signs had gone by
        lease.beat(1)

    job = run(begin(), work)
    assert job.state == Job.State.CANCELLED
    assert "kept" in job.message


@pytest.mark.django_db
def test_failed_work_says_why_and_can_be_resumed() -> None:
    def work(job: Job, lease: Lease) -> None:
        raise jobs.FailedError("The rows are gone. Nothing was changed. Build again.")

    job = run(begin(), work)
    assert (job.state, job.error) == (
        Job.State.FAILED,
        "The rows are gone. Nothing was changed. Build again.",
    )
    assert jobs.resume(job)
    assert not jobs.resume(job)
    job = run(job, finish)
    assert (job.state, job.error, job.attempts) == (Job.State.DONE, "", 1)


@pytest.mark.django_db
def test_a_fault_is_told_in_a_sentence() -> None:
    def work(job: Job, lease: Lease) -> None:
        raise OSError("no space left on device")

    error = run(begin(), work).error
    assert error.startswith("OSError: no space left on device. ")
    assert "Resume tries it again." in error


@pytest.mark.django_db
def test_results_and_the_end_come_together_or_not_at_all() -> None:
    def work(job: Job, lease: Lease) -> None:
        with lease.complete("Built."):
            jobs.start(DATASET, "the result", None)
            raise ValueError("half way")

    assert run(begin(), work).state == Job.State.FAILED
    assert not Job.objects.filter(key="the result").exists()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_hinted_at_when_the_transaction_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    hinted: list[int] = []
    monkeypatch.setattr(jobs, "hint", hinted.append)
    with transaction.atomic():
        begin()
        transaction.set_rollback(True)
    assert hinted == []
    with transaction.atomic():
        job = begin()
    assert hinted == [job.pk]


def test_a_jobs_address_leads_to_what_it_works_on(desk: Desk) -> None:
    desk.fill(6)
    version = desk.build()
    address = f"/jobs/{version.job_id}/"
    engineer = people.client(desk.engineer)
    assert engineer.post(address, {"do": "cancel"}).status_code == 409
    assert engineer.get(address)["Location"] == version.get_absolute_url()
    assert people.client(desk.reviewer).get(address).status_code == 403
    assert people.client(None).get(address)["Location"].startswith("/sign-in/")
