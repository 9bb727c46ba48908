"""Placeholders; the owner of this room replaces them."""

from django.http import Http404, HttpRequest, HttpResponse


def review_home(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def review(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def review_mine(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def review_judge(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def review_undo(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def review_next(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def queues(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def queue_new(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def queue(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def queue_settings(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404
