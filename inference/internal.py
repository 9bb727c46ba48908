"""What proxies ask of web, and nobody else may: the routing snapshot."""

import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_GET

from inference import snapshots

WAIT_SECONDS = 20.0
_STEP_SECONDS = 0.1


@require_GET
def routing_snapshot(request: HttpRequest) -> HttpResponse:
    """The snapshot if it is another than ``after``, as soon as it is; 204 when it stays the same for long."""
    if not _is_proxy(request):
        return HttpResponse(status=403)
    try:
        after = int(request.GET.get("after", "0"))
    except ValueError:
        return HttpResponse("after is not a number", status=400)
    if name := request.GET.get("proxy", "")[:100]:
        snapshots.heard_from(name, after)
    deadline = time.monotonic() + WAIT_SECONDS
    # Unequal, not greater: a database restored from a backup counts on from a lower number.
    while snapshots.number() == after:
        if time.monotonic() > deadline:
            return HttpResponse(status=204)
        time.sleep(_STEP_SECONDS)
    return JsonResponse(snapshots.build())


def _is_proxy(request: HttpRequest) -> bool:
    expected = settings.INTERNAL_TOKEN
    shown = request.headers.get("authorization", "").removeprefix("Bearer ")
    return bool(expected) and constant_time_compare(shown, expected)
