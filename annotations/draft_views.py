"""What a browser kept of what was typed on items that its page no longer holds: what became of each of them.

The words themselves never come here: the page has them. Only of items that we showed to the person, which the
showing's key tells, is anything said.
"""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotations import judging, leases, showing
from annotations.models import Assignment, Item, Queue
from annotations.reading import read
from annotations.views import reviewer_only

_MOST = 50
"""As many as a browser keeps."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An item that something was typed on; ``open``: it can be had again."""

    pk: int
    asked: str
    why: str
    open: bool = False


@require_safe
@reviewer_only
def review_drafts(request: HttpRequest, queue: Queue, user: User) -> HttpResponse:
    """What became of ``?draft=ITEM:KEY``, each: those that come back by themselves are left out."""
    found = [_kept(queue, user, *one.partition(":")[::2]) for one in request.GET.getlist("draft")[:_MOST]]
    kept = [one for one in found if one is not None]
    return render(request, "annotations/drafts.html", {"queue": queue, "kept": kept})


def _kept(queue: Queue, user: User, pk: str, key: str) -> Kept | None:
    item = queue.items.filter(pk=pk).first() if pk.isdecimal() and len(pk) < 19 else None
    if item is None or not leases.known(key, item, user):
        return Kept(int(pk), "", "It is no longer here.") if pk.isdecimal() and len(pk) < 19 else None
    if Assignment.objects.filter(item=item, reviewer=user, done_at=None).exists():
        return None  # reserved for them, or skipped: it comes back
    item.queue = queue
    if item.state == Item.State.FLAGGED:
        return Kept(item.pk, "", "It has left the queue.")
    why, is_open = _why(queue, user, item)
    mask = showing.mask_of(item, queue, user)
    return Kept(item.pk, read((mask.item if mask else item).messages).asked, why, is_open)


def _why(queue: Queue, user: User, item: Item) -> tuple[str, bool]:
    if judging.standing(queue, user).filter(item=item).exists():
        return "You have answered it.", False
    if queue.state != Queue.State.OPEN:
        return f"This queue is {queue.get_state_display()}.", False
    if item.state != Item.State.WAITING:
        return "Someone else has answered it.", False
    if leases.free_items(queue).filter(pk=item.pk).exists():
        return "It is no longer reserved for you, and nobody has answered it yet.", True
    return "It is reserved for another reviewer now.", False
