"""The lead's pages: every queue, a new one from a filter, its progress, its settings.

Engineers and operators manage queues; reviewing is in annotations.views and only for those a queue lists.
"""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from annotations import leases, progress, queue_file, sampling
from annotations.forms import DrawForm, NewQueueForm, SettingsForm
from annotations.models import Item, Queue, new_key
from inference.access import engineer_required
from inference.queries import Candidate

MOVES = {
    "pause": (Queue.State.OPEN, Queue.State.PAUSED, "Paused. Reviewers can finish what is on their screen."),
    "close": (Queue.State.OPEN, Queue.State.CLOSED, "Closed. What was judged counts."),
    "close_paused": (Queue.State.PAUSED, Queue.State.CLOSED, "Closed. What was judged counts."),
    "reopen": (Queue.State.CLOSED, Queue.State.OPEN, "Open again."),
    "resume": (Queue.State.PAUSED, Queue.State.OPEN, "Open again."),
}
"""Action → state it needs, state it makes, what is said afterwards."""


@require_safe
@engineer_required
def queues(request: HttpRequest) -> HttpResponse:
    """All queues: what waits, what is settled, who reviews."""
    return render(request, "annotations/queues.html", _all_queues())


def _all_queues() -> dict[str, Any]:
    waiting = Count("items", filter=Q(items__state=Item.State.WAITING))
    settled = Count("items", filter=Q(items__state=Item.State.SETTLED))
    found = Queue.objects.annotate(total=Count("items"), waiting=waiting, settled=settled).order_by("name")
    return {
        "queues": list(found.prefetch_related("reviewers")),
        "waiting": Item.objects.filter(state=Item.State.WAITING, queue__state=Queue.State.OPEN).count(),
    }


@engineer_required
def queue_new(request: HttpRequest) -> HttpResponse:
    """A queue from a filter. ``?filter=`` says which; a fragment answers with the preview only."""
    if request.method == "POST":
        return _create(request)
    begun: dict[str, Any] = {}
    if "copy" in request.GET:
        begun = queue_file.definition(get_object_or_404(Queue, slug=request.GET["copy"]))
        begun["name"] = f"{begun['name']} (copy)"
    if "filter" in request.GET:
        begun["filter"] = request.GET["filter"]
    if request.headers.get("HX-Request") == "true":
        return render(
            request, "annotations/preview.html", {"preview": sampling.preview(begun.get("filter", ""))}
        )
    return _begin(request, begun)


def _begin(request: HttpRequest, begun: dict[str, Any]) -> HttpResponse:
    """The form of a new queue, filled with what it begins with."""
    preview = sampling.preview(begun.get("filter", ""))
    form = NewQueueForm(initial={**begun, "key": new_key(), "size": preview.suggested})
    return render(request, "annotations/queue_new.html", {"form": form, "preview": preview})


@require_POST
@engineer_required
def queue_import(request: HttpRequest) -> HttpResponse:
    """Fill the form of a new queue from an uploaded file; nothing is made before it is sent."""
    upload = request.FILES.get("file")
    try:
        if upload is None:
            raise queue_file.NotAQueue("Choose a file first.")
        if (upload.size or 0) > queue_file.LONGEST:
            raise queue_file.NotAQueue("This file is larger than 1 MiB: no queue is.")
        return _begin(request, queue_file.load(upload.read()))
    except queue_file.NotAQueue as told:
        context = _all_queues() | {"refused": str(told)}
        return render(request, "annotations/queues.html", context, status=422)


@require_safe
@engineer_required
def queue_export(request: HttpRequest, slug: str) -> HttpResponse:
    """What a queue asks, as a file."""
    found = get_object_or_404(Queue, slug=slug)
    return HttpResponse(
        queue_file.dump(found),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{found.slug}.queue.json"'},
    )


def _create(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    form = NewQueueForm(request.POST)
    fits = form.is_valid()
    if fits and "preview" not in request.POST:
        made = Queue.objects.filter(key=form.cleaned_data["key"]).first()
        if made is not None:
            return redirect(made)
        drawn = form.draw()
        if drawn is not None:
            return redirect(_made(request, form, drawn))
    preview = sampling.preview(request.POST.get("filter", ""))
    refused = not fits or bool(form.errors)
    status = 422 if refused and "preview" not in request.POST else 200
    context = {"form": form, "preview": preview}
    return render(request, "annotations/queue_new.html", context, status=status)


def _made(request: HttpRequest, form: NewQueueForm, drawn: list[Candidate]) -> Queue:
    assert isinstance(request.user, User)
    queue = form.create(request.user)
    try:
        added = sampling.add(queue, drawn)
    except sampling.NotDrawn as told:
        messages.warning(request, f"Created, but empty. {told}")
        return queue
    lacking = len(drawn) - added
    more = f" {lacking:,} more match, but have no second answer." if lacking else ""
    messages.success(request, f"Created with {added:,} exchanges.{more}")
    return queue


@require_safe
@engineer_required
def queue(request: HttpRequest, slug: str) -> HttpResponse:
    """One queue for its lead."""
    found = get_object_or_404(Queue.objects.select_related("state_changed_by"), slug=slug)
    overview = progress.overview(found)
    context = {"queue": found, "overview": overview, "draw_form": DrawForm()}
    if request.headers.get("HX-Request") != "true":
        return render(request, "annotations/queue.html", context)
    if request.GET.get("seen") == overview.fingerprint:
        return HttpResponse(status=204)
    return render(request, "annotations/queue_live.html", context)


@engineer_required
def queue_settings(request: HttpRequest, slug: str) -> HttpResponse:
    """Change how a queue is judged. New guidelines get the next number."""
    found = get_object_or_404(Queue, slug=slug)
    assert isinstance(request.user, User)
    form = SettingsForm(request.POST or None, instance=found)
    fits = form.is_valid()
    if request.method == "POST" and fits:
        form.save_by(request.user)
        messages.success(request, "Saved.")
        return redirect(found)
    context = {"queue": found, "form": form, "old": found.old_guidelines.select_related("replaced_by")}
    return render(
        request, "annotations/queue_settings.html", context, status=200 if fits or not form.is_bound else 422
    )


@require_POST
@engineer_required
def queue_state(request: HttpRequest, slug: str) -> HttpResponse:
    """Pause, close or reopen; refused when somebody else was faster."""
    found = get_object_or_404(Queue, slug=slug)
    assert isinstance(request.user, User)
    old, new, said = MOVES.get(request.POST.get("action", ""), (None, None, ""))
    if old and new and found.change_state(old, new, request.user):
        messages.success(request, said)
    else:
        messages.warning(
            request, "Nothing was changed: the queue's state is no longer what this page showed."
        )
    return redirect(found)


@require_POST
@engineer_required
def queue_release(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Take a reserved place back, so that somebody else gets the item."""
    found = get_object_or_404(Queue, slug=slug)
    if leases.release(pk, found):
        messages.success(
            request, "Released. The next reviewer gets it; a late answer counts while it is free."
        )
    else:
        messages.warning(request, "Nothing was released: it has been judged or released meanwhile.")
    return redirect(found)


@require_POST
@engineer_required
def queue_draw(request: HttpRequest, slug: str) -> HttpResponse:
    """Draw more exchanges by the queue's own filter."""
    found = get_object_or_404(Queue, slug=slug)
    form = DrawForm(request.POST)
    if form.is_valid():
        try:
            added = sampling.fill(found, form.cleaned_data["size"])
        except sampling.NotDrawn as told:
            messages.warning(request, str(told))
        else:
            messages.success(request, f"{added:,} exchanges added." if added else "Nothing new matches.")
    else:
        messages.warning(request, "Write how many to add, from 1 to 5,000.")
    return redirect(found)
