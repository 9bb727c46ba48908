"""Erasing a user's data: what it would touch, the button, and the receipts. For operators.

A user's id comes by POST alone: in an address it would stay in histories and logs.
"""

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET

from flywheel import erasure, jobs
from flywheel.models import Erasure
from flywheel.pages import jobs as job_pages
from flywheel.pages import keys, live
from inference import clickhouse, erasing
from inference.access import operator_required
from inference.clickhouse import Unavailable

_SHOWN = 200


@operator_required
def index(request: HttpRequest) -> HttpResponseBase:
    """Ask for a user, show what they have, erase it when told to; and every receipt."""
    found: dict[str, object] = {
        "erasures": Erasure.objects.select_related("job__created_by")[:_SHOWN],
        **erasure.standing(),
    }
    if request.method != "POST":
        return render(request, "flywheel/erasures.html", found)
    user_id = request.POST.get("user", "").strip()
    found |= {"user_id": user_id, "earlier": erasure.of_user(user_id) if user_id else []}
    status = 200
    if request.POST.get("do") == "erase":
        status = 422
        try:
            return _begun(request, user_id)
        except jobs.RefusedError as error:
            found["refused"] = str(error)
        except jobs.KeyReusedError as error:
            found["refused"], status = str(error), 409
    elif user_id:
        found |= {"key": keys.fresh(), **_preview(user_id)}
    return render(request, "flywheel/erasures.html", found, status=status)


def _begun(request: HttpRequest, user_id: str) -> HttpResponseBase:
    by = request.user
    assert isinstance(by, User)
    made = erasure.start(user_id, keys.posted(request), by)
    messages.success(request, "Begun. What this user did until now will be erased everywhere.")
    keys.say_kept(request)
    return redirect(made)


def _preview(user_id: str) -> dict[str, object]:
    try:
        return {"preview": erasure.preview(user_id)}
    except Unavailable:
        return {"down": True}


@require_GET
@operator_required
def receipt(request: HttpRequest, pk: int) -> HttpResponse:
    """What was deleted where, when and by whom; what it had been used for; how far it is."""
    one = get_object_or_404(Erasure.objects.select_related("job__created_by"), pk=pk)
    return live.respond(
        request,
        "flywheel/erasure.html",
        {"erasure": one, "job": one.job, "later": _later(one)},
        state=(job_pages.state(one.job), one.counts, one.used),
        finished=not one.job.active,
    )


def _later(one: Erasure) -> int | None:
    """Records dropped on arrival; None while the trace store can't say."""
    try:
        return erasing.later(clickhouse.connect(), erasure.wish(one))
    except Unavailable:
        return None
