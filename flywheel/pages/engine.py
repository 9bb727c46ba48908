"""The engine room: every process in a sentence, and the work under way."""

from django.contrib import messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from flywheel import health, losses
from flywheel.models import Job
from flywheel.pages import alerts, jobs, live, vitals
from inference.access import engineer_required, is_operator, operator_required
from inference.models import Spool

NEWEST_JOBS = 12


@require_GET
@engineer_required
def engine_room(request: HttpRequest) -> HttpResponse:
    """Health of every process, refreshed as long as the page is open."""
    checks, spools = health.checks(), losses.states()
    newest = Job.objects.select_related(
        *jobs.RELATED.values(), "created_by", "dataset_version__dataset", "rollout__route"
    )
    rows = [
        {"job": job, "subject": jobs.subject(job), "name": jobs.name(job)}
        for job in newest.order_by("-id")[:NEWEST_JOBS]
    ]
    alerting, engines = alerts.context(), vitals.now_rows()
    ailing = [check for check in checks if check.tone != "good"]
    return live.respond(
        request,
        "flywheel/engine.html",
        {
            "checks": checks,
            "ailing": ailing,
            "jobs": rows,
            "spools": spools,
            "dropped_unseen": sum(one.spool.dropped_unseen for one in spools),
            "is_operator": is_operator(request.user),
            "engines": engines,
            **({} if live.is_fragment(request) else vitals.cost_rows("24h")),
            **alerting,
        },
        state=(
            checks,
            [(vars(one.spool) | {"_state": None}, one.words) for one in spools],
            engines,
            [(row.alert.pk, row.said) for row in alerting["firing"]],
            [(one.pk, one.error) for one in (*alerting["unsent"],)],
            [one.pk for one in alerting["over"]],
            [jobs.state(row["job"]) for row in rows],  # type: ignore[arg-type]
        ),
        finished=False,
    )


@require_POST
@operator_required
def drops_known(request: HttpRequest) -> HttpResponse:
    """Take the dropped captures that were shown off every page; those that came since stay."""
    shown = request.POST.get("dropped", "")
    if shown != str(sum(one.dropped_unseen for one in Spool.objects.all())):
        messages.warning(request, "More were dropped since this page was drawn.")
    else:
        Spool.objects.update(dropped_seen=F("dropped"))
        messages.success(request, "Known; the count stays in the table.")
    return redirect("engine-room")
