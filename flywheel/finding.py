"""What a few typed characters mean: a page, a route, a version, a run, or any id or part of one.

The search box's other half. Leaves filters over exchanges to inference.filters.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from annotations.models import Queue
from flywheel.context import STAGES
from flywheel.models import Dataset, DatasetVersion, Evaluation, Rollout, TrainingRun
from inference import queries
from inference.clickhouse import Unavailable
from inference.models import ModelVersion, Route

NUMBERED = {
    "training": (TrainingRun, "training-run"),
    "run": (TrainingRun, "training-run"),
    "evaluation": (Evaluation, "evaluation"),
    "rollout": (Rollout, "rollout"),
}
AN_ID = re.compile(r"[0-9a-f-]{6,36}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing that was meant. ``kind`` is a word for people."""

    kind: str
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Findings:
    """``readable`` is False when the exchanges could not be searched."""

    hits: list[Hit]
    readable: bool


def find(text: str) -> Findings:
    """Everything that ``text`` names. Exact names first; then ids."""
    hits = [*_pages(text), *_named(text), *_numbered(text), *_versions(text)]
    if not AN_ID.fullmatch(text):
        return Findings(hits, readable=True)
    try:
        return Findings([*hits, *_exchanges(text)], readable=True)
    except Unavailable:
        return Findings(hits, readable=False)


def _pages(text: str) -> Iterator[Hit]:
    extra = (("Words", "words", ()), ("Settings", "settings", ()), ("Queues", "queues", ()))
    for label, name, _ in (*STAGES, *extra):
        if label.lower() == text.lower():
            yield Hit("page", label, reverse(name))


def _named(text: str) -> Iterator[Hit]:
    for route in Route.objects.filter(name__iexact=text):
        yield Hit("route", route.name, reverse("route", args=[route.name]))
    for queue in Queue.objects.filter(slug__iexact=text):
        yield Hit("queue", queue.name, queue.get_absolute_url())
    for dataset in Dataset.objects.filter(name__iexact=text):
        yield Hit("dataset", dataset.name, reverse("dataset", args=[dataset.name]))


def _numbered(text: str) -> Iterator[Hit]:
    """``run 14``, ``evaluation 3``, ``rollout 2``, ``icd v3`` or ``icd/3``."""
    match = re.fullmatch(r"(\S+?)[\s/]+[v#]?(\d{1,9})", text.lower())
    if not match:
        return
    name, number = match[1], int(match[2])
    model, address = NUMBERED.get(name, (None, ""))
    if model is not None and model._default_manager.filter(pk=number).exists():
        kind = address.replace("-", " ")
        yield Hit(kind, f"{kind} {number}", reverse(address, args=[number]))
    for version in DatasetVersion.objects.filter(dataset__name__iexact=name, number=number):
        yield Hit("dataset version", str(version), version.get_absolute_url())


def _versions(text: str) -> Iterator[Hit]:
    """Versions by name or the beginning of their hash: the run that made one, else its exchanges."""
    matches = Q(name__iexact=text)
    if re.fullmatch(r"[0-9a-f]{6,64}", text):
        matches |= Q(weights__startswith=text)
    for version in ModelVersion.objects.filter(matches):
        run = TrainingRun.objects.filter(adapter=version).first()
        exchanges = f"{reverse('exchanges')}?{urlencode({'q': f'version:{version.name}'})}"
        yield Hit("version", version.name, run.get_absolute_url() if run else exchanges)


def _exchanges(text: str) -> Iterator[Hit]:
    for exchange_id in queries.find(text):
        yield Hit("exchange", str(exchange_id), reverse("exchange", args=[exchange_id]))
