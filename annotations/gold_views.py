"""A queue's check questions for its lead: what they are, how people do on them, and more of them from a file.

Who gets in is in annotations.access; what a file must hold, in annotations.gold_file.
"""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_http_methods

from annotations import audit, gold_file, golds
from annotations.access import looks_masked, only
from annotations.audit import Act
from annotations.gold_file import NotGold
from annotations.masks import Mask
from annotations.models import Gold, Queue
from annotations.people import Role
from annotations.questions import COMPARED
from annotations.reading import read
from inference import readers

_SHOWN = 200


@require_http_methods(["GET", "HEAD", "POST"])
@only(Role.LEAD)
def queue_checks(request: HttpRequest, queue: Queue) -> HttpResponse:
    """Every check question; a file posted here adds its own, or nothing at all."""
    assert isinstance(request.user, User)
    if request.method != "POST":
        return render(request, "annotations/checks.html", _context(request, queue))
    upload = request.FILES.get("file")
    try:
        if upload is None:
            raise NotGold("Choose a file first.")
        # Never more in memory than a file may have.
        known = gold_file.load(queue, upload.read(gold_file.LONGEST + 1))
    except NotGold as told:
        context = _context(request, queue) | {"problems": told.problems}
        return render(request, "annotations/checks.html", context, status=422)
    added = gold_file.add(queue, known, request.user)
    audit.record(queue, request.user, Act.CHECK, f"{added.new:,} new, {added.known:,} known, from a file")
    more = f" {added.known:,} here already; what is known is the file’s now." if added.known else ""
    how = "" if queue.gold_every else " They come once the settings say how often."
    messages.success(request, f"{added.new:,} check question{pluralize(added.new)} added.{more}{how}")
    return redirect("queue-checks", queue.slug)


def _context(request: HttpRequest, queue: Queue) -> dict[str, Any]:
    found = Gold.objects.filter(item__queue=queue).select_related("item", "made_by")
    shown = list(found.order_by(F("ended_at").desc(nulls_first=True), "-pk")[:_SHOWN])
    masked = looks_masked(queue, request.user)
    given = golds.answers([gold.item_id for gold in shown])
    rows = []
    for gold in shown:
        gold.item.queue = queue
        if not gold.item.uploaded:
            readers.saw(gold.item.exchange_id)
        mask = Mask(gold.item) if masked else None
        item, known = (mask.item, mask.text(gold.words)) if mask else (gold.item, gold.words)
        rows.append((gold, read(item.messages).asked, item.answer, known, given.get(gold.item_id)))
    return {
        "queue": queue,
        "rows": rows,
        "count": found.count(),
        "live": found.filter(ended_at=None).count(),
        "comparable": queue.kind in COMPARED,
        "fields": gold_file.FIELDS,
        "most": gold_file.MOST,
        "decisions": queue.by_verdict,
    }
