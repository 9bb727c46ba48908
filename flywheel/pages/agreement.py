"""How well a queue's reviewers agree: a section of its page, with a plot and the figures behind it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from annotations import agreeing, masks
from annotations.access import looks_masked, only
from annotations.agreeing import Asked
from annotations.models import Queue
from annotations.people import Role
from flywheel import charts
from flywheel.charts import Dot, Mark

ENOUGH = 0.8
"""Alpha from which conclusions may be drawn; below 0.667 none should be (Krippendorff 2004)."""
TENTATIVE = 0.667


@dataclass(frozen=True, slots=True)
class Row:
    """A person, a pair or a label, for a table."""

    name: str
    count: int
    percent: float
    corrected: float | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A question's agreement in tables."""

    asked: Asked
    people: list[Row]
    pairs: list[Row]
    labels: list[Row]
    matrix: list[tuple[str, list[int]]]


@require_safe
@only(Role.READER)
def queue_agreement(request: HttpRequest, queue: Queue) -> HttpResponse:
    """The queue's agreement; a fragment that was seen already answers 204."""
    fragment = request.headers.get("HX-Request") == "true"
    if fragment and request.GET.get("seen") == agreeing.fingerprint(queue):
        return HttpResponse(status=204)
    found = agreeing.of(queue)
    words = partial(masks.words, queue=queue) if looks_masked(queue, request.user) else str
    shown = [_shown(asked, words) for asked in found.asked]
    context = {
        "queue": queue,
        "agreeing": found,
        "shown": shown,
        "plot": _plot(found.asked),
        "whole": not fragment or "whole" in request.GET,
    }
    page = "annotations/agreement_live.html" if fragment else "annotations/agreement.html"
    return render(request, page, context)


def _plot(asked: list[Asked]) -> SafeString | None:
    dots = [
        Dot(one.question.words, alpha.value, alpha.low, alpha.high)
        for one in asked
        if one.found is not None and (alpha := one.found.alpha) is not None
    ]
    if not dots:
        return None
    marks = [Mark(TENTATIVE, "tentative", "quiet"), Mark(ENOUGH, "enough", "quiet")]
    title = "Krippendorff’s alpha: 1 is full agreement, 0 is what chance gives"
    return charts.dots(dots, title=title, value_format=_two, marks=marks, low=0, high=1)


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _shown(asked: Asked, words: Callable[[str], str]) -> Shown:
    """``words``: how a label is read."""
    found = asked.found
    if found is None:
        return Shown(asked, [], [], [], [])
    keys = [key for key in found.people if isinstance(key, int)]
    names: dict[Hashable, str] = {
        user.pk: user.get_full_name() or user.username for user in User.objects.filter(pk__in=keys)
    }
    return Shown(
        asked,
        [Row(names.get(key, "?"), n, share) for key, (n, share) in sorted(found.people.items(), key=str)],
        [
            Row(
                f"{names.get(pair.one, '?')} and {names.get(pair.other, '?')}",
                pair.items,
                pair.percent,
                pair.kappa,
            )
            for pair in found.pairs[:50]
        ],
        [Row(words(label.label), label.said, label.percent, label.alpha) for label in found.labels],
        [(words(label.label), row) for label, row in zip(found.labels, found.matrix, strict=True)],
    )
