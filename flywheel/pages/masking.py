"""What masking would do: to a pasted text, or to what a route was asked and answered last. For operators.

Nothing is kept. Placeholders are made with a key of this page's own, so they are others than a drain's.
"""

import secrets
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from inference import masking, queries
from inference.access import operator_required
from inference.clickhouse import Unavailable
from inference.filters import Equals, Filter
from inference.models import Route

LONGEST = 200_000
RECENT = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """A text in pieces: whether each is a placeholder."""

    label: str
    pieces: list[tuple[str, bool]]
    kinds: list[str]
    link: str = ""


@operator_required
def preview(request: HttpRequest) -> HttpResponse:
    """A text comes by POST, so that it stands in no address; a route by GET."""
    routes = list(Route.objects.order_by("name"))
    context: dict[str, object] = {"routes": routes, "masked": [route for route in routes if route.mask]}
    name = request.GET.get("route", "")
    if request.method == "POST":
        text = request.POST.get("text", "")[:LONGEST]
        context |= {"text": text, "shown": [_shown("Your text", text, "")]}
    elif any(route.name == name for route in routes):
        context |= {"chosen": name, **_recent(name)}
    return render(request, "flywheel/masking.html", context)


def _recent(route: str) -> dict[str, object]:
    try:
        rows = queries.explore(Filter((Equals("route", (route,)),)), limit=RECENT).rows
    except Unavailable:
        return {"down": True}
    shown = [
        _shown(label, text, row.exchange_id)
        for row in rows
        for label, text in (("asked", row.question), ("answered", row.answer))
    ]
    return {"shown": [one for one in shown if one.kinds], "looked": len(rows)}


def _shown(label: str, text: str, link: str) -> Shown:
    finder = masking.finder()
    masker = masking.Masking(finder, secrets.token_bytes(32)).masker(link)
    pieces: list[tuple[str, bool]] = []
    at = 0
    for one in finder.find(text):
        pieces += [(text[at : one.start], False), (masker.placeholder(one, text), True)]
        at = one.end
    return Shown(label, [*pieces, (text[at:], False)], [kind for kind, _ in masker.found], link)
