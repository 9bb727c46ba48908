"""The lead's pages: every queue, a new one from a filter, its progress, its settings.

Who gets in where is in annotations.access; reviewing is in annotations.views, only for those a queue lists.
"""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from annotations import (
    audit,
    export,
    flagging,
    leases,
    masks,
    people,
    progress,
    queue_file,
    sampling,
    suggestions,
)
from annotations.access import (
    is_outside,
    looks_masked,
    managed,
    manager_required,
    only,
    reaches,
    role_in,
)
from annotations.audit import Act
from annotations.forms import DrawForm, NewQueueForm, SettingsForm
from annotations.masks import Mask
from annotations.models import Gold, Item, Queue, new_key
from annotations.people import Role
from annotations.posts import posted_from
from annotations.reading import read
from inference import readers
from inference.access import engineer_required, is_engineer
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
@manager_required
def queues(request: HttpRequest) -> HttpResponse:
    """The person's queues, an engineer's all: what waits, what is settled, who reviews."""
    return render(request, "annotations/queues.html", _all_queues(request.user))


def _all_queues(user: User | AnonymousUser) -> dict[str, Any]:
    waiting = Count("items", filter=Q(items__state=Item.State.WAITING))
    settled = Count("items", filter=Q(items__state=Item.State.SETTLED, items__uploaded=False))
    flagged = Count("items", filter=Q(items__state=Item.State.FLAGGED))
    mine = managed(user)
    counted = Queue.objects.filter(pk__in=mine.values("pk")).annotate(
        total=Count("items", filter=Q(items__uploaded=False)),
        waiting=waiting,
        settled=settled,
        flagged=flagged,
    )
    opened = mine.filter(state=Queue.State.OPEN)
    return {
        "queues": list(counted.order_by("name").prefetch_related("reviewers")),
        "waiting": Item.objects.filter(state=Item.State.WAITING, queue__in=opened).count(),
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


@posted_from("queues")
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
        context = _all_queues(request.user) | {"refused": str(told)}
        return render(request, "annotations/queues.html", context, status=422)


@require_safe
@only(Role.READER)
def queue_export(request: HttpRequest, found: Queue) -> HttpResponse:
    """What a queue asks, as a file."""
    assert isinstance(request.user, User)
    if is_outside(request.user):
        found.filter = masks.words(found.filter, found)
    return HttpResponse(
        queue_file.dump(found),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{found.slug}.queue.json"'},
    )


@require_safe
@only(Role.READER)
def queue_annotations(request: HttpRequest, found: Queue, form: str) -> HttpResponseBase:
    """Every judgement as it was given, row by row, however many."""
    assert isinstance(request.user, User)
    if form not in export.FORMS:
        raise Http404
    kind, rows = export.FORMS[form]
    audit.record(found, request.user, Act.EXPORTED, form)
    name = f"{found.slug}.annotations.{form}"
    return StreamingHttpResponse(
        rows(found, masked=looks_masked(found, request.user)),
        content_type=kind,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
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
    audit.record(queue, request.user, Act.CREATED, queue.filter)
    if role_in(queue, request.user) is None:
        people.give(queue, request.user, Role.ADMIN, request.user)
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
@only(Role.READER)
def queue(request: HttpRequest, found: Queue) -> HttpResponse:
    """One queue for its lead, and for who only looks on."""
    overview = progress.overview(found)
    role = role_in(found, request.user)
    if looks_masked(found, request.user):
        found.filter = masks.words(found.filter, found)
        overview.attention[:] = [Mask(item).item for item in overview.attention]
    context = {
        "queue": found,
        "overview": overview,
        "draw_form": DrawForm(),
        "leads": reaches(role, Role.LEAD),
        "suggested": suggestions.agreed(found),
        "asked": found.events.filter(act=Act.ASKED).select_related("who")[:20],
        "others": found.reviewers.order_by("username") if reaches(role, Role.LEAD) else [],
        "reads_exchanges": is_engineer(request.user),
    }
    live = request.headers.get("HX-Request") == "true"
    if live and request.GET.get("seen") == overview.fingerprint:
        return HttpResponse(status=204)
    for item in overview.attention:
        readers.saw(item.exchange_id)
    return render(request, f"annotations/queue{'_live' if live else ''}.html", context)


@only(Role.LEAD)
def queue_settings(request: HttpRequest, found: Queue) -> HttpResponse:
    """Change how a queue is judged. New guidelines get the next number."""
    assert isinstance(request.user, User)
    form = SettingsForm(request.POST or None, instance=found)
    if not is_engineer(request.user):
        # Who is on this server, and which models are, is not a lead's to read: people come by invitation.
        for name in ("reviewers", "suggested_by", "suggested_before"):
            del form.fields[name]
    if is_outside(request.user):
        del form.fields["masked"]
    fits = form.is_valid()
    if request.method == "POST" and fits:
        before = _what_may_change(found)
        form.save_by(request.user)
        after = _what_may_change(found)
        changed = [name for name in form.changed_data if name != "reviewers"]
        changed += [f"{sign}{name}" for sign, name in _differences(before, after)]
        audit.record(found, request.user, Act.CHANGED, ", ".join(changed) or "nothing")
        messages.success(request, "Saved.")
        return redirect(found)
    context = {"queue": found, "form": form, "old": found.old_guidelines.select_related("replaced_by")}
    return render(
        request, "annotations/queue_settings.html", context, status=200 if fits or not form.is_bound else 422
    )


def _what_may_change(queue: Queue) -> set[str]:
    """Reviewers and further questions: lists of which it is told what came and what went."""
    also = Queue.objects.values_list("also", flat=True).get(pk=queue.pk)
    names = {f"reviewer {name}" for name in queue.reviewers.values_list("username", flat=True)}
    return names | {f"question “{question['words']}”" for question in also}


def _differences(before: set[str], after: set[str]) -> list[tuple[str, str]]:
    return [("+", name) for name in sorted(after - before)] + [("−", name) for name in sorted(before - after)]


@require_POST
@only(Role.LEAD)
def queue_state(request: HttpRequest, found: Queue) -> HttpResponse:
    """Pause, close or reopen; refused when somebody else was faster."""
    assert isinstance(request.user, User)
    old, new, said = MOVES.get(request.POST.get("action", ""), (None, None, ""))
    if old and new and found.change_state(old, new, request.user):
        audit.record(found, request.user, Act.STATE, new)
        messages.success(request, said)
    else:
        messages.warning(
            request, "Nothing was changed: the queue's state is no longer what this page showed."
        )
    return redirect(found)


@require_POST
@only(Role.LEAD)
def queue_release(request: HttpRequest, found: Queue, pk: int) -> HttpResponse:
    """Take a reserved place back, so that somebody else gets the item."""
    assert isinstance(request.user, User)
    if leases.release(pk, found):
        audit.record(found, request.user, Act.RELEASED, f"place {pk}")
        messages.success(
            request, "Released. The next reviewer gets it; a late answer counts while it is free."
        )
    else:
        messages.warning(request, "Nothing was released: it has been judged or released meanwhile.")
    return redirect(found)


@require_POST
@only(Role.LEAD)
def queue_reassign(request: HttpRequest, found: Queue, pk: int) -> HttpResponse:
    """Give a reserved place to another reviewer of the queue."""
    assert isinstance(request.user, User)
    to = request.POST.get("to", "")
    person = found.reviewers.filter(pk=to, is_active=True).first() if to.isdecimal() else None
    if person is None:
        messages.warning(request, "Choose one of the queue’s reviewers.")
    elif leases.reassign(pk, found, person):
        audit.record(found, request.user, Act.REASSIGNED, f"place {pk} to {person}")
        messages.success(request, f"Given to {person.get_full_name() or person.username}.")
    else:
        messages.warning(request, "Nothing was changed: it has been judged meanwhile, or they have had it.")
    return redirect(found)


@require_safe
@only(Role.READER)
def queue_item(request: HttpRequest, found: Queue, pk: int) -> HttpResponse:
    """One item: what was asked and answered, what everybody said. A flagged one is for leads only."""
    item = get_object_or_404(found.items, pk=pk)
    leads = reaches(role_in(found, request.user), Role.LEAD)
    flagged = item.state == Item.State.FLAGGED
    if flagged and not leads:
        raise PermissionDenied
    item.queue = found
    if not item.uploaded:
        readers.saw(item.exchange_id)
    said = list(item.annotations.select_related("reviewer", "undoes").order_by("-id"))
    mask = Mask(item) if looks_masked(found, request.user) else None
    gold = Gold.objects.filter(item=item).first()
    shown = mask.item if mask else item
    for n, annotation in enumerate(said):
        annotation.item = item
        said[n] = mask.annotation(annotation) if mask else annotation
    decided = list(item.adjudications.select_related("decided_by"))
    for n, decision in enumerate(decided):
        decision.item = item
        decided[n] = mask.adjudication(decision) if mask else decision
    context = {
        "queue": found,
        "item": shown,
        "decided": decided,
        "leads": leads,
        "gold": gold,
        "known": mask.text(gold.words) if mask and gold else gold and gold.words,
        "reading": read(shown.messages),
        "said": said,
        "flag": flagging.standing().filter(exchange_id=item.exchange_id, upheld=None).first()
        if flagged
        else None,
        "reads_exchanges": is_engineer(request.user),
    }
    return render(request, "annotations/queue_item.html", context)


@require_POST
@only(Role.LEAD)
def queue_flag(request: HttpRequest, found: Queue, pk: int) -> HttpResponse:
    """A lead's word on a flag that was raised in this queue, or on an exchange that it holds."""
    assert isinstance(request.user, User)
    item = get_object_or_404(found.items, pk=pk)
    flag = flagging.standing().filter(exchange_id=item.exchange_id, upheld=None).first()
    upheld = request.POST.get("found") == "yes"
    if (
        request.POST.get("found") in ("yes", "no")
        and flag
        and flagging.decide(flag, request.user, upheld=upheld)
    ):
        words = "It stays out of every queue." if upheld else "It waits again, in every queue that holds it."
        messages.success(request, words)
    else:
        messages.warning(request, "Nothing was changed: somebody has decided it meanwhile.")
    return redirect(found)


@require_POST
@only(Role.LEAD)
def queue_draw(request: HttpRequest, found: Queue) -> HttpResponse:
    """Draw more exchanges by the queue's own filter."""
    assert isinstance(request.user, User)
    form = DrawForm(request.POST)
    if form.is_valid():
        try:
            added = sampling.fill(found, form.cleaned_data["size"])
        except sampling.NotDrawn as told:
            messages.warning(request, str(told))
        else:
            audit.record(found, request.user, Act.DREW, added)
            messages.success(request, f"{added:,} exchanges added." if added else "Nothing new matches.")
    else:
        messages.warning(request, "Write how many to add, from 1 to 5,000.")
    return redirect(found)
