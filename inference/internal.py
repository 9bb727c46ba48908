"""What proxies ask of web and drains tell it, and nobody else may: the routing snapshot, a spool's state."""

import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from inference import snapshots, spools
from inference.report import Report

WAIT_SECONDS = 20.0
_STEP_SECONDS = 0.1


@require_GET
def routing_snapshot(request: HttpRequest) -> HttpResponse:
    """The snapshot if it is another than ``after``, as soon as it is; 204 when it stays the same for long."""
    if not is_internal(request):
        return HttpResponse(status=403)
    try:
        after = int(request.GET.get("after", "0"))
    except ValueError:
        return HttpResponse("after is not a number", status=400)
    if name := request.GET.get("proxy", "")[:100]:
        snapshots.heard_from(name, after)
        spools.heard_from_proxy(name, request.GET.dict())
    deadline = time.monotonic() + WAIT_SECONDS
    # Unequal, not greater: a database restored from a backup counts on from a lower number.
    while snapshots.number() == after:
        if time.monotonic() > deadline:
            return HttpResponse(status=204)
        time.sleep(_STEP_SECONDS)
    return JsonResponse(snapshots.build())


@csrf_exempt
@require_POST
def spool(request: HttpRequest) -> HttpResponse:
    """A drain's report of its spool."""
    if not is_internal(request):
        return HttpResponse(status=403)
    try:
        spools.heard_from_drain(Report.parse(request.body))
    except ValueError as error:
        return HttpResponse(f"no report: {error}", status=400, content_type="text/plain")
    return HttpResponse(status=204)


def is_internal(request: HttpRequest) -> bool:
    """Whether whoever asks has the internal token; nobody has, where none is set."""
    expected = settings.INTERNAL_TOKEN
    shown = request.headers.get("authorization", "").removeprefix("Bearer ")
    return bool(expected) and constant_time_compare(shown, expected)
