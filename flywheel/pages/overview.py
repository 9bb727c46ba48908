"""The overview: the wheel's six stages, the one next step, what is live, and what the last turn brought."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_GET

from flywheel.pages import jobs, live, stages
from flywheel.pages.rollouts import standing
from inference.access import is_engineer, is_operator
from inference.models import Route


@require_GET
@login_required
def overview(request: HttpRequest) -> HttpResponseBase:
    """Where the wheel stands; a reviewer goes to her queues."""
    if not is_engineer(request.user):
        return redirect("review-home")
    under_way = stages.active()
    state = [(row["job"].pk, *jobs.state(row["job"])) for row in under_way]
    if live.unchanged(request, state):
        return HttpResponse(status=204)
    now = stages.gather(under_way)
    context = {
        "step": stages.next_step(now, operator=is_operator(request.user)),
        "stages": stages.stages(now),
        "active": now.active,
        "routes": [standing(route) for route in Route.objects.order_by("name")],
        "turn": stages.last_turn(),
        "is_operator": is_operator(request.user),
    }
    return live.respond(request, "flywheel/overview.html", context, state=state, finished=not under_way)
