"""Sending exchanges on from the explorer: into a queue, or into the queue that a dataset is built from.

What becomes a dataset's row must have been judged, so adding to a dataset is adding to its queue. Exchanges
that were picked are no sample: a queue that is drawn by chance, whose error rate holds for all traffic, takes
none of them.
"""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from annotations import sampling
from annotations.models import Queue
from annotations.questions import Kind
from flywheel.models import Dataset
from inference.access import engineer_required
from inference.filters import Equals, Filter

MOST_IDS = 100
"""Ticked exchanges that one line can name."""


@dataclass(frozen=True, slots=True)
class Target:
    """A queue that could take them. ``why_not`` says why it can't, as a sentence; "" when it can."""

    queue: Queue
    datasets: list[str]
    why_not: str


@engineer_required
def send(request: HttpRequest) -> HttpResponse:
    """Where the exchanges of ``?q=``, or the ticked ones of ``?id=``, could go; a post adds them there.

    An exchange is in a queue once, so what is sent twice is there once.
    """
    asked = request.POST if request.method == "POST" else request.GET
    line = chosen(asked)
    if request.method == "POST":
        return _add(request, line, asked)
    preview = sampling.preview(line)
    to_dataset = asked.get("to") == "dataset"
    return render(
        request,
        "flywheel/sending.html",
        {
            "line": line,
            "preview": preview,
            "most": min(preview.matching, sampling.MOST),
            "to_dataset": to_dataset,
            "targets": [one for one in targets() if one.datasets or not to_dataset],
            "new_url": f"{reverse('queue-new')}?{urlencode({'filter': line})}",
            "back_url": f"{reverse('exchanges')}?{urlencode({'q': asked.get('q', '')})}",
        },
    )


def chosen(asked: QueryDict) -> str:
    """The filter line that is meant: the ticked exchanges if there are any, else the list's own."""
    ids = asked.getlist("id")[:MOST_IDS]
    return str(Filter((Equals("id", tuple(ids)),))) if ids else asked.get("q", "")


def targets() -> list[Target]:
    """Every queue that is not closed, with the datasets built from it."""
    datasets: dict[int, list[str]] = {}
    for name, queue in Dataset.objects.order_by("name").values_list("name", "queue"):
        datasets.setdefault(queue, []).append(name)
    found = Queue.objects.exclude(state=Queue.State.CLOSED).order_by("name")
    return [Target(queue, datasets.get(queue.pk, []), why_not(queue)) for queue in found]


def why_not(queue: Queue) -> str:
    """Why a queue can't take exchanges that were picked; "" when it can."""
    if queue.state == Queue.State.CLOSED:
        return "It is closed."
    if queue.order != Queue.Order.NEWEST:
        return (
            "It is drawn by chance, and what was picked would spoil its error rate. Its own filter adds more."
        )
    return ""


def _add(request: HttpRequest, line: str, asked: QueryDict) -> HttpResponse:
    queue = get_object_or_404(Queue, slug=asked.get("queue", ""))
    if refused := why_not(queue):
        messages.warning(request, f"Nothing was added to {queue.name}. {refused}")
        return redirect(queue)
    try:
        drawn = sampling.draw(line, sampling.MOST, "newest", 0, calls=queue.kind == Kind.TOOL_CALL)
        added = sampling.add(queue, drawn)
    except sampling.NotDrawn as told:
        messages.warning(request, str(told))
        return redirect(queue)
    there = len(drawn) - added
    more = f" {there:,} more were there already, or don’t fit it." if there else ""
    messages.success(request, f"{added:,} exchange{'' if added == 1 else 's'} added.{more}")
    return redirect(queue)
