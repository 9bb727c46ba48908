"""Long work as pages name it, and what can be done to it: cancel and resume."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from flywheel import jobs
from flywheel.models import DatasetVersion, Erasure, Evaluation, Job, Rollout, TrainingRun
from flywheel.pages import keys
from inference.access import engineer_required, is_operator

RELATED = {
    Job.Kind.DATASET: "dataset_version",
    Job.Kind.TRAINING: "training_run",
    Job.Kind.EVALUATION: "evaluation",
    Job.Kind.ROLLOUT: "rollout",
    Job.Kind.ERASURE: "erasure",
}
OPERATORS = (Job.Kind.ROLLOUT, Job.Kind.ERASURE)
Subject = DatasetVersion | TrainingRun | Evaluation | Rollout | Erasure


def subject(job: Job) -> Subject | None:
    """What the job works on; None if nothing was made of it."""
    found: Subject | None = getattr(job, RELATED[Job.Kind(job.kind)], None)
    return found


def name(job: Job) -> str:
    """What the job works on, as a link says it."""
    found = subject(job)
    if isinstance(found, Rollout):
        return f"rollout {found.pk} of {found.route}"
    return str(found or f"job {job.pk}")


def state(job: Job) -> tuple[object, ...]:
    """What of a job can change while a page shows it."""
    return (job.state, job.done, job.total, job.message, job.error, job.cancel_requested)


@require_http_methods(["GET", "HEAD", "POST"])
@engineer_required
def job_act(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Cancel or resume; asked twice does it once. Rollouts and erasures are the operators'.

    Looked at, as after a refusal: the page of what it works on.
    """
    job = get_object_or_404(Job, pk=pk)
    if job.kind in OPERATORS and not is_operator(request.user):
        raise PermissionDenied
    page = found.get_absolute_url() if (found := subject(job)) else reverse("overview")
    if request.method != "POST":
        return redirect(page)
    done, sentence = _act(job, request.POST.get("do", ""))
    if not done:
        return render(request, "flywheel/job_refused.html", {"job": job, "subject": found}, status=409)
    messages.success(request, sentence)
    if sentence.startswith("Resumed"):
        keys.say_kept(request)
    return redirect(page)


def _act(job: Job, what: str) -> tuple[bool, str]:
    if what == "cancel":
        return jobs.cancel(job), "Cancelling: it stops at its next sign of life. What was finished is kept."
    if what == "resume":
        return jobs.resume(job), "Resumed. What was finished is not done again."
    return False, ""
