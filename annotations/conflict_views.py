"""Where judgements differ: a lead sees the sides and decides, one item after another."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from annotations import adjudications, audit, golds, judging, questions
from annotations.access import looks_masked, only
from annotations.adjudications import Stale
from annotations.audit import Act
from annotations.judging import Judgement, NotTaken
from annotations.masks import Mask
from annotations.models import Adjudication, Annotation, Item, Queue, new_key
from annotations.people import Role
from annotations.posts import posted_from
from annotations.questions import MAIN, Kind
from annotations.reading import read
from inference import readers

OPEN = (Item.State.CONFLICT, Item.State.UNJUDGED)
"""What waits for a second opinion."""


@dataclass(frozen=True, slots=True)
class Side:
    """What some of an item's reviewers said alike; the first of them stands for it."""

    judgements: list[Annotation]

    @property
    def first(self) -> Annotation:
        return self.judgements[0]


@require_safe
@only(Role.LEAD)
def queue_conflicts(request: HttpRequest, queue: Queue) -> HttpResponse:
    """The item that has waited longest for a second opinion, or ``?item=``, which may be settled."""
    waiting = queue.items.filter(state__in=OPEN).order_by("settled_at", "id")
    pk = request.GET.get("item", "")
    item: Item | None
    if pk:
        item = get_object_or_404(
            queue.items.exclude(state__in=(Item.State.FLAGGED, Item.State.WAITING)),
            pk=pk if pk.isdecimal() else None,
        )
    else:
        item = waiting.first()
    return _page(request, queue, item, waiting.count())


@posted_from("queue-item", "slug", "pk")
@only(Role.LEAD)
def queue_decide(request: HttpRequest, queue: Queue, pk: int) -> HttpResponse:
    """Take a side, or decide otherwise. 409: it has changed meanwhile; 422: the decision does not fit."""
    assert isinstance(request.user, User)
    item = get_object_or_404(queue.items, pk=pk)
    item.queue = queue
    revision = request.POST.get("revision", "")
    mask = Mask(item) if looks_masked(queue, request.user) else None
    try:
        adjudications.adjudicate(
            item,
            request.user,
            request.POST.get("key", "")[:43],
            _said(request, item, mask),
            revision=int(revision) if revision.isdecimal() else -1,
            why=request.POST.get("why", "").strip()[:5000],
        )
    except (Stale, NotTaken) as told:
        status = 409 if isinstance(told, Stale) else 422
        waiting = queue.items.filter(state__in=OPEN).count()
        item.refresh_from_db()
        wrong = mask.text(str(told)) if mask else str(told)
        return _page(request, queue, item, waiting, wrong=wrong, status=status)
    audit.record(queue, request.user, Act.DECIDED, f"item {item.pk}")
    messages.success(request, f"Item {item.pk} is decided.")
    return redirect("queue-conflicts", queue.slug)


@require_POST
@only(Role.LEAD)
def queue_check(request: HttpRequest, queue: Queue, pk: int) -> HttpResponse:
    """Make a settled item a check question, or stop using it."""
    assert isinstance(request.user, User)
    item = get_object_or_404(queue.items, pk=pk)
    uses = request.POST.get("use") == "yes"
    done = (
        golds.mark(item, request.user, request.POST["note"].strip()[:500] if "note" in request.POST else None)
        if uses
        else golds.end(item)
    )
    if done:
        audit.record(queue, request.user, Act.CHECK, f"item {item.pk}: {'used' if uses else 'ended'}")
        mixed = queue.gold_every or not uses
        more = "" if mixed else " It comes once the settings say how often."
        messages.success(
            request, f"Item {item.pk} {'is' if uses else 'is no longer'} a check question.{more}"
        )
    else:
        messages.warning(request, "Nothing was changed: it is not settled, or no check question.")
    return redirect("queue-item", queue.slug, item.pk)


def _said(request: HttpRequest, item: Item, mask: Mask | None) -> Judgement | Annotation:
    side = request.POST.get("side", "")
    if side:
        standing = item.annotations.standing().exclude(decision=Annotation.Decision.FLAG)
        return get_object_or_404(standing, pk=side if side.isdecimal() else None)
    decision = request.POST.get("decision", "")
    answer = request.POST.get("answer", "") if decision == judging.Decision.CORRECT else ""
    field = item.queue.lead.field
    said = Judgement(decision, answer, given={MAIN: request.POST.getlist(field)})
    return mask.read(said) if mask else said


def _page(
    request: HttpRequest, queue: Queue, item: Item | None, waiting: int, *, wrong: str = "", status: int = 200
) -> HttpResponse:
    context: dict[str, Any] = {"queue": queue, "item": item, "waiting": waiting, "wrong": wrong}
    context["given"] = request.POST
    if item is not None:
        item.queue = queue
        readers.saw(item.exchange_id)
        lead = queue.lead
        mask = Mask(item) if looks_masked(queue, request.user) else None
        context |= {
            "item": mask.item if mask else item,
            "reading": read((mask.item if mask else item).messages),
            "sides": _sides(item, mask),
            "decided": _decided(item, mask),
            "key": new_key(),
            "closed_list": [] if item.tools is not None else queue.closed_list,
            # Marks and words are given on the answer itself: of them only a side can be taken.
            "options": _options(queue) if not queue.by_verdict else [],
            "several": lead.kind == Kind.CHOICES,
        }
    return render(request, "annotations/conflicts.html", context, status=status)


def _options(queue: Queue) -> list[tuple[str, str]]:
    lead = queue.lead
    if lead.kind == Kind.PAIR:
        words = {"left": "The first is better", "right": "The second is better"}
        return [(value, words.get(value, told)) for value, told in lead.pressed]
    return lead.pressed if lead.kind in (*questions.ONE_PRESS, Kind.CHOICES) else []


def _decided(item: Item, mask: Mask | None) -> list[Adjudication]:
    decided = item.adjudications.select_related("decided_by")
    return [mask.adjudication(one) for one in decided] if mask else list(decided)


def _sides(item: Item, mask: Mask | None) -> list[Side]:
    """The commonest first."""
    found: dict[tuple[str, str, str], list[Annotation]] = {}
    for annotation in item.annotations.standing().select_related("reviewer"):
        annotation.item = item
        said = questions.canonical(annotation.values.get(MAIN, ""))
        side = found.setdefault((annotation.decision, annotation.answer.strip(), said), [])
        side.append(mask.annotation(annotation) if mask else annotation)
    return sorted(map(Side, found.values()), key=lambda side: -len(side.judgements))
