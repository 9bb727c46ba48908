"""Filters that people gave names: one's own, and those that others share. Each has an address that stays.

A view is a name for a filter line and columns, nothing more: it asks for no more than its reader may see.
"""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from inference import columns, explorer, filters
from inference.access import is_operator, reader_required
from inference.models import SavedView

MOST = 200
"""Views that a person can have."""


def context(request: HttpRequest) -> dict[str, Any]:
    """What the explorer says of views: all that this person sees, and which one it shows."""
    assert isinstance(request.user, User)
    found = list(SavedView.objects.for_user(request.user).select_related("owner")[: 2 * MOST])
    chosen = request.GET.get("view", "")
    return {
        "views": [one for one in found if one.owner_id == request.user.pk],
        "shared_views": [one for one in found if one.owner_id != request.user.pk],
        "view": next((one for one in found if str(one.pk) == chosen), None),
    }


@require_GET
@reader_required
def saved_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Open a view: the explorer with its filter. Somebody else's that is not shared is not there."""
    assert isinstance(request.user, User)
    found = get_object_or_404(SavedView.objects.for_user(request.user), pk=pk)
    return redirect(explorer.url(filters.parse(found.filter), view=found.pk, columns=found.columns))


@require_POST
@reader_required
def save_view(request: HttpRequest) -> HttpResponse:
    """Keep a filter under a name; one's own of that name is replaced, so twice is once."""
    assert isinstance(request.user, User)
    shown = columns.text(columns.chosen(request.POST.getlist("columns")))
    line, name = request.POST.get("q", ""), " ".join(request.POST.get("name", "").split())[:80]
    try:
        chosen = filters.parse(line)
    except filters.FilterError as error:
        messages.warning(request, f"Not saved. “{error.part}”: {error.message}")
        asked = {"q": line} | ({"columns": shown} if shown else {})
        return redirect(f"{reverse('exchanges')}?{urlencode(asked)}")
    if not name:
        messages.warning(request, "Not saved: give the view a name.")
        return redirect(explorer.url(chosen, columns=shown))
    if SavedView.objects.filter(owner=request.user).exclude(name=name).count() >= MOST:
        messages.warning(request, f"Not saved: you have {MOST} views. Remove one first.")
        return redirect(explorer.url(chosen, columns=shown))
    values = {
        "filter": str(chosen),
        "columns": shown,
        "shared": "shared" in request.POST,
        "changed_at": timezone.now(),
    }
    saved, _ = SavedView.objects.update_or_create(owner=request.user, name=name, defaults=values)
    messages.success(request, f"Saved as “{name}”.")
    return redirect(saved)


@require_POST
@reader_required
def remove_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove one's own view; an operator also a shared one. Its filter stays on the page."""
    assert isinstance(request.user, User)
    seen = SavedView.objects.for_user(request.user)
    may = seen if is_operator(request.user) else seen.filter(owner=request.user)
    found = get_object_or_404(may, pk=pk)
    found.delete()
    messages.success(request, f"Removed “{found.name}”.")
    return redirect(explorer.url(filters.parse(found.filter), columns=found.columns))
