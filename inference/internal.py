"""Placeholders; the owner of this room replaces them."""

from django.http import Http404, HttpRequest, HttpResponse


def routing_snapshot(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404
