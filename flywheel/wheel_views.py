"""Placeholders; the owner of this room replaces them."""

from django.http import Http404, HttpRequest, HttpResponse


def datasets(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def dataset(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def dataset_new(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def dataset_version(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def training(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def training_run(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def evaluations(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def evaluation(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def rollouts(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def rollout_new(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def rollout(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def route(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def route_back(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def job_progress(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404


def engine_room(request: HttpRequest, **kwargs: object) -> HttpResponse:
    raise Http404
