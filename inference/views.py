"""Pages about exchanges: the explorer, one exchange, its bytes, a conversation. For who may read any."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from inference import (
    diff_page,
    exchange_page,
    explorer,
    filters,
    neighbours,
    queries,
    readers,
    saved_views,
    session_list,
    session_page,
)
from inference.access import is_engineer, reader_required
from inference.clickhouse import Unavailable
from inference.filters import Equals, Filter
from inference.queries import StoredExchange
from inference.readers import HiddenError

BYTES_SHOWN = 200_000


@require_GET
@reader_required
def exchanges(request: HttpRequest) -> HttpResponse:
    """What products asked and the model answered, filtered by a line of text.

    With ``newest``, the place of the list's first row: only how many are newer; 204 while there are none.
    """
    if "newest" in request.GET:
        return _newer(request)
    if request.headers.get("HX-Target") == "peek":
        return _peek(request)
    if bounded := explorer.between(request.GET):
        return redirect(bounded)
    try:
        if pasted := explorer.pasted(request.GET.get("q", "")):
            return redirect(pasted)
        found = explorer.context(request.GET) | peeked(request.GET) | saved_views.context(request)
        found["may_send"] = is_engineer(request.user) and not readers.rights().numbers_only
    except Unavailable:
        found = {"down": True, "line": request.GET.get("q", "")}
    return render(request, "inference/exchanges.html", found)


def _peek(request: HttpRequest) -> HttpResponse:
    """Only the side panel, for a list that is already there."""
    try:
        found = peeked(request.GET)
    except Unavailable:
        return HttpResponse(status=503)
    return render(request, "inference/peek.html", found)


def peeked(asked: QueryDict) -> dict[str, Any]:
    """What the explorer's side panel shows; nothing where no exchange is asked for. Raises Unavailable."""
    place = explorer.Place.of(asked)
    if not place.peek:
        return {}
    try:
        chosen = filters.parse(asked.get("q", ""))
        close = place.url(chosen)
    except filters.FilterError:
        chosen, close = filters.Filter(), reverse("exchanges")
    x = queries.exchange(place.peek, place.attempt)
    return {
        "peek": exchange_page.peek(x) if x else None,
        "peek_id": place.peek,
        "close_url": close,
        "open_url": explorer.exchange_url(place.peek, place.attempt, chosen),
    }


def _newer(request: HttpRequest) -> HttpResponse:
    try:
        found = explorer.newer(request.GET)
    except Unavailable:
        return HttpResponse(status=503)
    if not found["new"]:
        return HttpResponse(status=204)
    return render(request, "inference/newer.html", found)


@require_GET
@reader_required
def exchange(request: HttpRequest, exchange_id: UUID) -> HttpResponse:
    """One exchange, as a person reads it."""
    attempt = _whole(request.GET.get("attempt", ""))
    try:
        x = queries.exchange(exchange_id, attempt)
        if x is None:
            return _not_stored(request, exchange_id)
        view, start = request.GET.get("view", ""), _whole(request.GET.get("from", "")) or 0
        found = exchange_page.context(x, view, start) | {"along": neighbours.of(x, request.GET)}
        if not is_engineer(request.user):
            # Their pages of the exchange's route are those of its exchanges.
            found["route_url"] = explorer.url(Filter((Equals("route", (x.route,)),)))
    except Unavailable:
        return _unavailable(request)
    return render(request, "inference/exchange.html", found)


@require_GET
@reader_required
def exchange_raw(request: HttpRequest, exchange_id: UUID) -> HttpResponse:
    """The client's body and the engine's answer as they were; ``?part=`` downloads one."""
    try:
        found = queries.raw(exchange_id, _whole(request.GET.get("attempt", "")))
    except Unavailable:
        return _unavailable(request)
    except HiddenError as error:
        raise PermissionDenied("You may see numbers only of this route.") from error
    if found is None:
        return _not_stored(request, exchange_id)
    parts = dict(zip(("request", "response"), found, strict=True))
    part = request.GET.get("part", "")
    if part in parts:
        return _download(parts[part], f"{exchange_id}.{part}")
    shown = [(name, body[:BYTES_SHOWN].decode("utf-8", "replace"), len(body)) for name, body in parts.items()]
    context = {"exchange_id": exchange_id, "parts": shown, "most": BYTES_SHOWN}
    return render(request, "inference/exchange_raw.html", context)


@require_GET
@reader_required
def diff(request: HttpRequest) -> HttpResponse:
    """Two exchanges, ``?a=`` and ``?b=`` (or two of ``?id=``); without both, asks for them."""
    first, second = pair(request.GET)
    found: dict[str, Any] = {"a": first, "b": second}
    if not (first and second):
        return render(request, "inference/diff.html", found)
    try:
        both = [_named(one) for one in (first, second)]
    except Unavailable:
        return _unavailable(request)
    if both[0] is None or both[1] is None:
        found["missing"] = first if both[0] is None else second
        found["fresh"] = diff_page.is_fresh(found["missing"])
        return render(request, "inference/diff.html", found, status=404)
    found |= diff_page.context(both[0], both[1])
    found["swapped_url"] = f"{reverse('exchange-diff')}?{urlencode({'a': second, 'b': first})}"
    return render(request, "inference/diff.html", found)


def pair(asked: QueryDict) -> tuple[str, str]:
    """The ids of the two, "" for one that was not given. Each is whole, or its end as pages show it."""
    ids = [asked.get("a", "").strip(), asked.get("b", "").strip()]
    ticked = [*asked.getlist("id"), "", ""]
    return (ids[0] or ticked[0], ids[1] or ticked[1])


def _named(text: str) -> StoredExchange | None:
    """The exchange of an id as it is written here: with ``.1`` behind it, its second attempt."""
    name, _, attempt = text.partition(".")
    try:
        whole: UUID | str = UUID(name)
    except ValueError:
        found = queries.find(name, limit=2)
        if len(found) != 1:
            return None
        whole = found[0]
    return queries.exchange(whole, _whole(attempt))


@require_GET
@reader_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Conversations, the one last spoken in first, filtered by the explorer's line."""
    try:
        if pasted := explorer.pasted(request.GET.get("q", "")):
            return redirect(pasted)
        found = session_list.context(request.GET)
    except Unavailable:
        found = {"down": True, "line": request.GET.get("q", "")}
    return render(request, "inference/sessions.html", found)


@require_GET
@reader_required
def session(request: HttpRequest, session: str) -> HttpResponse:
    """A conversation's turns, oldest first, a page at a time."""
    try:
        found = session_page.context(session, explorer.cursor(request.GET.get("after", "")))
    except Unavailable:
        return _unavailable(request)
    if found is None:
        raise Http404
    return render(request, "inference/session.html", found)


def _whole(text: str) -> int | None:
    """A small whole number of an address, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _download(body: bytes, name: str) -> HttpResponse:
    """As a file, never as a page: nothing in it may run."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(body, content_type="application/octet-stream", headers=headers)


def _not_stored(request: HttpRequest, exchange_id: UUID) -> HttpResponse:
    return render(request, "inference/not_stored.html", {"exchange_id": exchange_id}, status=404)


def _unavailable(request: HttpRequest) -> HttpResponse:
    return render(request, "inference/unavailable.html", status=503)
