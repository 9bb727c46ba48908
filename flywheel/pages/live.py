"""Pages of which a part keeps itself fresh: one view, context and template for the page and its fragment.

A live template extends `frame`, draws what changes in its blocks lead, actions and live, and polls its own
address with what it last saw. Nothing changed: 204. Finished: the fragment has no trigger any more.
"""

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

PAGE, FRAGMENT = "base.html", "flywheel/fragment.html"


def is_fragment(request: HttpRequest) -> bool:
    """Whether only the live part is wanted (and not, say, the whole page after going back)."""
    return request.headers.get("HX-Target") == "live"


def unchanged(request: HttpRequest, state: object) -> bool:
    """Whether a poll has seen this state already: then nothing else needs to be read."""
    return is_fragment(request) and request.GET.get("seen") == _digest(state)


def _digest(state: object) -> str:
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def respond(
    request: HttpRequest, template: str, context: dict[str, Any], *, state: object, finished: bool
) -> HttpResponse:
    """The page, its fragment, or 204. ``state``: everything the fragment shows that can change."""
    if unchanged(request, state):
        return HttpResponse(status=204)
    fragment = is_fragment(request)
    context |= {
        "frame": FRAGMENT if fragment else PAGE,
        "oob": fragment,
        "poll": "" if finished else f"{request.path}?seen={_digest(state)}",
    }
    return render(request, template, context)
