"""The reviewer's pages: the next item, judging it, taking back, what I judged.

Only listed reviewers get in, whatever else they may do; to who may not see its own page either, a queue does
not exist. Each view answers a page or its fragment from the same context. The lead's pages are in
annotations.queue_views.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from annotations import (
    audit,
    golds,
    guidelines,
    judging,
    leases,
    milestones,
    pace,
    progress,
    showing,
    suggestions,
    sureness,
    uses,
)
from annotations.access import managed, reaches, role_in
from annotations.audit import Act
from annotations.judging import Judgement, NotTaken
from annotations.models import Assignment, Item, Queue
from annotations.people import Role
from annotations.posts import posted_from
from annotations.progress import Progress
from annotations.questions import FIELD, MAIN
from annotations.reading import read
from annotations.showing import Showing
from inference.access import is_engineer

ReviewView = Callable[[HttpRequest, Queue, User], HttpResponse]
LONGEST_SECONDS = 3600.0


def is_fragment(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def reviewer_only(view: ReviewView) -> Callable[..., HttpResponse]:
    """Give the view its queue and the person; 404 to who is not listed, 401 to a script whose session ended.
    Who may see the queue's own page is told that they don't review it: 403.

    A post that was written by one person is never taken from another: 403.
    """

    @wraps(view)
    def guarded(request: HttpRequest, slug: str) -> HttpResponse:
        if not isinstance(request.user, User):
            if is_fragment(request):
                return render(request, "annotations/signed_out.html", status=401)
            return redirect_to_login(request.get_full_path())
        queue = Queue.objects.visible_to(request.user).filter(slug=slug).first()
        if queue is None:
            return _not_listed(request, slug)
        written_by = request.POST.get("reviewer")
        if written_by and written_by != str(request.user.pk):
            return render(request, "annotations/somebody_else.html", status=403)
        return view(request, queue, request.user)

    return guarded


def _not_listed(request: HttpRequest, slug: str) -> HttpResponse:
    if is_fragment(request):
        raise Http404
    queue = get_object_or_404(managed(request.user), slug=slug)
    context = {"queue": queue, "leads": reaches(role_in(queue, request.user), Role.LEAD)}
    return render(request, "annotations/not_reviewer.html", context, status=403)


def review_home(request: HttpRequest) -> HttpResponse:
    """Her queues, or straight into the only one (``?all`` stays); who reviews none manages them."""
    if not isinstance(request.user, User):
        return redirect_to_login(request.get_full_path())
    queues = list(Queue.objects.visible_to(request.user).order_by("name"))
    opened = [queue for queue in queues if queue.state == Queue.State.OPEN]
    engineer = is_engineer(request.user)
    manages = engineer or managed(request.user).exists()
    if manages and not queues:
        return redirect("queues")
    if len(queues) == 1 and opened and not manages and "all" not in request.GET:
        return redirect("review", opened[0].slug)
    waits = [(queue, progress.waiting_for(queue, request.user)) for queue in queues]
    waiting = sum(count for queue, count in waits if queue in opened)
    context = {"waits": waits, "waiting": waiting, "manages": manages}
    return render(request, "annotations/home.html", context)


@require_safe
@reviewer_only
def review(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """The next item; a reload gives the same one. ``?open=correct`` opens a panel, ``?done`` ends."""
    finished = "done" in request.GET
    context = _context(queue, user)
    showings = [] if finished else _next(queue, user, context["progress"])
    if showings:
        first = showings[0]
        first.newcomer = showing.is_newcomer(user)
        first.opened = request.GET.get("open", "") if request.GET.get("open") in showing.PANELS else ""
    return _page(request, queue, user, showings, context, finished=finished)


@posted_from("review", "slug")
@reviewer_only
def review_this(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """Judge one item that was found elsewhere, next: it is reserved and shown first."""
    pk = request.POST.get("item", "")
    item = get_object_or_404(queue.items.select_related("queue"), pk=pk if pk.isdecimal() else 0)
    if not leases.reserve_first(item, user):
        messages.warning(request, "This one is with others, or you have judged it. Here is what comes next.")
    return redirect("review", queue.slug)


@require_safe
@reviewer_only
def review_next(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """What the page does not hold yet, or why nothing comes."""
    if not is_fragment(request):
        return redirect("review", queue.slug)
    held = _held(request.GET)
    context = _context(queue, user)
    showings = _next(queue, user, context["progress"], held)
    context |= {"showings": showings, "ending": None}
    if not showings and not held:
        context["ending"] = _ending(queue, user)
    return render(request, "annotations/reply.html", context)


@posted_from("review", "slug")
@reviewer_only
def review_judge(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """Take a judgement in. 409, 410 and 422 bring the item back with what was typed."""
    item = _item(request, queue)
    key, said, mask = request.POST.get("key", ""), _said(request.POST), showing.mask_of(item, queue, user)
    began, judged, settled = timezone.now(), None, item.state == Item.State.SETTLED
    try:
        if said.decision == "skip":
            leases.skip(item, user, key)
        else:
            judged = judging.judge(
                item,
                user,
                key,
                mask.read(said) if mask else said,
                seconds=_seconds(request.POST),
                masked=mask is not None and mask.hides,
            )
    except judging.Unknown as unknown:
        raise Http404(unknown.message) from unknown
    except NotTaken as told:
        back = showing.returned(item, key, said, told, mask)
        return _returned(request, queue, user, back)
    so_far = progress.of(queue, user)
    reached = milestones.reached(queue, user, so_far.mine) if said.decision != "skip" else None
    # Only a check question is settled before it is judged.
    checked = golds.feedback(judged) if judged and settled else None
    if checked and mask:
        checked = replace(checked, words=mask.text(checked.words))
    if not is_fragment(request):
        if checked:
            messages.info(request, checked.words)
        if reached:
            messages.success(request, reached.words)
        return redirect("review", queue.slug)
    # One that was sent again is not always the last.
    now = judged if judged and judged.created_at >= began else None
    last = showing.as_read(now, queue, user) if now else showing.last(queue, user)
    context = {"queue": queue, "progress": so_far, "last": last, "milestone": reached, "checked": checked}
    suggested = suggestions.seen_after(last, queue)
    if last and suggested and (veil := showing.mask_of(last.item, queue, user)):
        suggested = veil.suggestion(suggested)
    context["suggested"] = suggested
    context["showings"] = _next(queue, user, so_far, _held(request.POST))
    return render(request, "annotations/reply.html", context)


@posted_from("review", "slug")
@reviewer_only
def review_undo(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """Take a judgement back; its item is the next one shown."""
    try:
        item = judging.undo(queue, user, request.POST.get("key", ""))
    except judging.Unknown as unknown:
        raise Http404(unknown.message) from unknown
    except NotTaken as told:
        if is_fragment(request):
            context = _context(queue, user) | {"notice": told.message}
            return render(request, "annotations/reply.html", context, status=told.status)
        messages.warning(request, told.message)
        return redirect("review-mine", queue.slug)
    if not is_fragment(request):
        return redirect("review", queue.slug)
    undone = showing.taken_back(item, queue, user, request.POST["key"])
    context = _context(queue, user) | {"undone": undone, "showings": []}
    if place := leases.held(queue, user).filter(item=item).first():
        back = showing.of(place, queue, user, context["progress"].next_number)
        if undone:
            back.said = Judgement(undone.decision, undone.answer, undone.reason, undone.note)
        context["showings"] = [back]
    return render(request, "annotations/reply.html", context)


@posted_from("review", "slug")
@reviewer_only
def review_finish(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """Enough for now: what is reserved is free for others at once, not when its time is over."""
    leases.give_up(queue, user)
    return redirect(reverse("review", args=[queue.slug]) + "?done")


@posted_from("review", "slug")
@reviewer_only
def review_ask(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """Tell the lead that an answer which can't be taken back any more should be corrected."""
    said = get_object_or_404(judging.standing(queue, user), key=request.POST.get("key", ""))
    asked = queue.events.filter(who=user, act=Act.ASKED, about=f"item {said.item_id}")
    if not asked.exists():
        audit.record(queue, user, Act.ASKED, f"item {said.item_id}")
    messages.success(request, "The lead knows. Your answer stands until they correct it.")
    return redirect("review-mine", queue.slug)


@require_safe
@reviewer_only
def review_mine(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """What I judged, newest first; the latest can be changed."""
    page = max(1, int(number)) if (number := request.GET.get("page", "1")).isdecimal() else 1
    start = (page - 1) * 50
    mine = list(judging.standing(queue, user)[start : start + 51])
    for n, annotation in enumerate(mine):
        annotation.item.queue = queue
        if mask := showing.mask_of(annotation.item, queue, user):
            mine[n] = mask.annotation(annotation)
    changeable = judging.UNDO_BACK - start if queue.state != Queue.State.CLOSED else 0
    used = uses.of([a.item_id for a in mine])
    context = {
        "queue": queue,
        "mine": [
            (a, read(a.item.messages), n < changeable, used.get(a.item_id)) for n, a in enumerate(mine[:50])
        ],
        "suggested": suggestions.agreed(queue),
        "speed": pace.speed(queue, user),
        "count": judging.standing(queue, user).count(),
        "undo_back": judging.UNDO_BACK,
        "newer": page - 1,
        "older": page + 1 if len(mine) > 50 else 0,
    }
    return render(request, "annotations/mine.html", context)


@require_safe
@reviewer_only
def review_sureness(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """How sure the model was of ``?item=``, where the queue lets this person see it now."""
    pk = request.GET.get("item", "")
    places = Assignment.objects.filter(queue=queue, reviewer=user, slot__isnull=False).select_related("item")
    place = get_object_or_404(places, item=pk if pk.isdecimal() else None)
    if not sureness.may_see(queue, place):
        raise Http404
    mask = showing.mask_of(place.item, queue, user)
    shown = mask.item if mask else place.item
    context = {"queue": queue, "heat": sureness.show(place, mask), "reading": read(shown.messages)}
    page = "annotations/sureness.html" if is_fragment(request) else "annotations/sureness_page.html"
    return render(request, page, context)


def _next(queue: Queue, user: User, so_far: Progress, held: frozenset[str] = frozenset()) -> list[Showing]:
    if queue.state != Queue.State.OPEN:
        return []
    return showing.reserved(queue, user, so_far.mine, held)


def _context(queue: Queue, user: User) -> dict[str, Any]:
    return {"queue": queue, "progress": progress.of(queue, user), "last": showing.last(queue, user)}


def _page(
    request: HttpRequest,
    queue: Queue,
    user: User,
    showings: list[Showing],
    context: dict[str, Any],
    *,
    finished: bool = False,
    status: int = 200,
) -> HttpResponse:
    context |= {
        "showings": showings,
        "ending": None if showings else _ending(queue, user, finished=finished),
        "guidelines": guidelines.render(queue.guidelines),
        "changes": guidelines.changes_for(queue, context["last"]),
        "undo_back": judging.UNDO_BACK,
    }
    return render(request, "annotations/review.html", context, status=status)


def _returned(request: HttpRequest, queue: Queue, user: User, back: Showing) -> HttpResponse:
    assert back.told is not None
    context = _context(queue, user)
    if is_fragment(request):
        context["showings"] = [back]
        return render(request, "annotations/reply.html", context, status=back.told.status)
    back.number = context["progress"].next_number
    return _page(request, queue, user, [back], context, status=back.told.status)


def _ending(queue: Queue, user: User, *, finished: bool = False) -> dict[str, Any]:
    """Why no item is shown: a word for the template, and its figures."""
    others = (
        Queue.objects.visible_to(user).filter(state=Queue.State.OPEN).exclude(pk=queue.pk).order_by("name")
    )
    found: dict[str, Any] = {
        "others": [(other, n) for other in others if (n := progress.waiting_for(other, user))],
        "sitting": progress.sitting(queue, user),
        "state": queue.state,
    }
    if finished:
        return found | {"why": "done"}
    if queue.state != Queue.State.OPEN:
        return found | {"why": "stopped"}
    elsewhere = progress.elsewhere(queue, user)
    if elsewhere.count:
        return found | {"why": "elsewhere", "elsewhere": elsewhere}
    day_ago = timezone.now() - timedelta(days=1)
    return found | {"why": "empty", "new_a_day": queue.items.drawn().filter(created_at__gt=day_ago).count()}


def _item(request: HttpRequest, queue: Queue) -> Item:
    pk = request.POST.get("item", "")
    if not pk.isdecimal():
        raise Http404
    item = get_object_or_404(queue.items, pk=pk)
    item.queue = queue
    return item


def _said(post: QueryDict) -> Judgement:
    """A button without script carries one value, so a reason may follow the decision: ``reject:Wrong``."""
    given = {name.removeprefix(FIELD): post.getlist(name) for name in post if name.startswith(FIELD)}
    # A button of a question carries its answer, so none is left for the decision.
    decision, _, reason = (post.get("decision") or ("answer" if MAIN in given else "")).partition(":")
    return Judgement(
        decision,
        post.get("answer", "") if decision == "correct" else "",
        post.get("reason", "") or reason,
        post.get("note", "").strip(),
        given,
    )


def _seconds(post: QueryDict) -> float | None:
    try:
        seconds = float(post.get("seconds", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST_SECONDS else None


def _held(query: QueryDict) -> frozenset[str]:
    return frozenset(query.get("held", "").split(",")) - {""}
