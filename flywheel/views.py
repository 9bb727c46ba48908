"""Placeholders; the owner of this room replaces them."""

from django.http import Http404, HttpRequest, HttpResponse


def overview(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def sign_in(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def sign_in_link(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def sign_out(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def words(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def settings(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def search(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def healthz(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404
