"""The engine room: every process in a sentence, and the work under way."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from flywheel import health
from flywheel.models import Job
from flywheel.pages import jobs, live
from inference.access import engineer_required

NEWEST_JOBS = 12


@require_GET
@engineer_required
def engine_room(request: HttpRequest) -> HttpResponse:
    """Health of every process, refreshed as long as the page is open."""
    checks = health.checks()
    newest = Job.objects.select_related(
        *jobs.RELATED.values(), "created_by", "dataset_version__dataset", "rollout__route"
    )
    rows = [
        {"job": job, "subject": jobs.subject(job), "name": jobs.name(job)}
        for job in newest.order_by("-id")[:NEWEST_JOBS]
    ]
    ailing = [check for check in checks if check.tone != "good"]
    return live.respond(
        request,
        "flywheel/engine.html",
        {"checks": checks, "ailing": ailing, "jobs": rows},
        state=(checks, [jobs.state(row["job"]) for row in rows]),  # type: ignore[arg-type]
        finished=False,
    )
