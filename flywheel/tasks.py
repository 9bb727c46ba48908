"""What Celery calls. A task is only a hint: flywheel.jobs decides whether there is anything to do."""

import logging

import redis

from annotations import mirror, sampling
from flywheel import datasets, erasure, evaluation, jobs, retention, rollout, suggesting, training
from flywheel.celery import app
from flywheel.models import Job
from inference import budgets, mode_checks
from inference.clickhouse import Unavailable

log = logging.getLogger(__name__)

WORK: dict[str, jobs.Work] = {
    Job.Kind.DATASET: lambda job, lease: datasets.build(job.dataset_version, lease),
    Job.Kind.TRAINING: lambda job, lease: training.supervise(job.training_run, lease),
    Job.Kind.EVALUATION: lambda job, lease: evaluation.run(job.evaluation, lease),
    Job.Kind.ROLLOUT: lambda job, lease: rollout.roll_out(job.rollout, lease),
    Job.Kind.ERASURE: lambda job, lease: erasure.run(job.erasure, lease),
}


@app.task(name="flywheel.run_job")
def run_job(job_id: int) -> None:
    """Do a job, unless it is done or another worker has it."""
    jobs.run(job_id, WORK)


@app.task(name="flywheel.fill_queues")
def fill_queues() -> None:
    """Let new traffic into the queues that take it."""
    sampling.flow()


@app.task(name="flywheel.suggest")
def suggest() -> None:
    """Ask models about what waits, where a queue wants that."""
    suggesting.run()


@app.task(name="flywheel.mirror_judgements")
def mirror_judgements() -> None:
    """Tell the trace store what people said; with it away, a little later."""
    try:
        mirror.run()
    except Unavailable as error:
        log.warning("judgements were not mirrored: %s", error)


@app.task(name="flywheel.resend_due")
def resend_due() -> None:
    """Hint again at what waits or was left by a dead worker."""
    jobs.resend_due()


@app.task(name="flywheel.rebuild_budgets")
def rebuild_budgets() -> None:
    """Tell Redis what it does not know of the keys' spending; with it or the store away, a minute later."""
    try:
        budgets.rebuild()
    except (redis.RedisError, Unavailable) as error:
        log.warning("budgets were not looked up: %s", error)


@app.task(name="flywheel.check_modes")
def check_modes() -> None:
    """Ask engines for their logprobs mode, each once an hour."""
    mode_checks.check_due()


@app.task(name="flywheel.erase_late_arrivals")
def erase_late_arrivals() -> None:
    """Erase what came in while an erasure ran; with the store away, a few minutes later."""
    try:
        erasure.look_again()
    except Unavailable as error:
        log.warning("erasures were not looked after: %s", error)


@app.task(name="flywheel.expire")
def expire() -> None:
    """Let expire what routes keep no longer; with the store away, an hour later."""
    try:
        retention.run()
    except Unavailable as error:
        log.warning("nothing was let expire: %s", error)
