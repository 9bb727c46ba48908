"""Placeholders; the owner of this room replaces them."""

from django.http import Http404, HttpRequest, HttpResponse


def exchanges(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def exchange(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def exchange_raw(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def session(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404
