"""Evaluations: the list, what one would cost, the comparison, and every case behind a number."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.views.decorators.http import require_GET

from flywheel import charts, evaluation, gate, jobs, statistics
from flywheel.models import DatasetVersion, Evaluation, EvaluationCase
from flywheel.pages import copied, keys, lineage, live
from flywheel.pages import datasets as dataset_pages
from flywheel.pages import jobs as job_pages
from flywheel.templatetags.flywheel import percent, percent_range
from inference import readers
from inference.access import engineer_required
from inference.models import ModelVersion, Route, RouteTarget

CASES_A_PAGE = 50
WORST_SLICES = 8


class EvaluationForm(forms.Form):
    """Who sits which exam, against whom, for which route."""

    candidate = forms.ModelChoiceField(ModelVersion.objects.order_by("-id"), empty_label=None)
    route = forms.ModelChoiceField(Route.objects.order_by("name"), to_field_name="name", empty_label=None)
    baseline = forms.ModelChoiceField(
        ModelVersion.objects.order_by("-id"),
        label="Against",
        empty_label=None,
        help_text="Usually what answers the route now.",
    )
    version = forms.ModelChoiceField(
        DatasetVersion.objects.none(),
        label="Exam of",
        empty_label=None,
        help_text="Questions that either has learned from, or siblings of them, are left out.",
    )

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        versions = self.fields["version"]
        assert isinstance(versions, forms.ModelChoiceField)
        versions.queryset = dataset_pages.done_versions()


@require_GET
@engineer_required
def index(request: HttpRequest) -> HttpResponse:
    """Every evaluation with its verdict, newest first."""
    found = Evaluation.objects.select_related(
        "dataset_version__dataset", "baseline", "candidate", "route", "job", "job__created_by"
    )[:100]
    rows = [{"evaluation": each, **_verdict(each)} for each in found]
    context = {"rows": rows, "adapters": ModelVersion.objects.filter(kind=ModelVersion.Kind.ADAPTER).exists()}
    return render(request, "flywheel/evaluations.html", context)


def _verdict(found: Evaluation) -> dict[str, Any]:
    compared = evaluation.comparison(found)
    return {"comparison": compared, "decision": gate.decide(compared) if compared else None}


@engineer_required
def evaluation_new(request: HttpRequest) -> HttpResponseBase:
    """Show what an exam would take; begin it when asked."""
    user = request.user
    assert isinstance(user, User)
    form = EvaluationForm(request.POST.dict() if request.method == "POST" else _asked(request))
    refused, status = "", 200
    if request.method == "POST":
        key = keys.posted(request)
        status = 422
        if form.is_valid():
            try:
                begun = evaluation.start(
                    **_chosen(form), route=form.cleaned_data["route"], key=key, user=user
                )
            except jobs.RefusedError as error:
                refused = str(error)
            except jobs.KeyReusedError as error:
                refused, status = str(error), 409
            else:
                keys.say_kept(request)
                return redirect(begun)
    context = {"form": form, "refused": refused, "key": keys.fresh()}
    context["versions"] = dataset_pages.done_versions().exists()
    if form.is_valid():
        context |= _chosen(form) | {
            "plan": evaluation.plan(**_chosen(form)),
            "route": form.cleaned_data["route"],
        }
    return render(request, "flywheel/evaluation_new.html", context, status=status)


def _chosen(form: EvaluationForm) -> dict[str, Any]:
    return {name: form.cleaned_data[name] for name in ("version", "baseline", "candidate")}


def _asked(request: HttpRequest) -> dict[str, Any]:
    """The query string over: the newest other adapter against what answers now, on the newest exam."""
    asked = request.GET.dict()
    route = Route.objects.filter(name=asked["route"]).first() if "route" in asked else Route.objects.first()
    now = RouteTarget.objects.filter(route=route).order_by("-weight").first()
    others = ModelVersion.objects.order_by("-id")
    if now is not None:
        others = others.exclude(pk=now.model_version_id)
    other = others.filter(kind=ModelVersion.Kind.ADAPTER).first() or others.first()
    version = dataset_pages.done_versions().first()
    found = {
        "route": route.name if route else "",
        "baseline": now.model_version_id if now else "",
        "candidate": other.pk if other else "",
        "version": version.pk if version else "",
    }
    return found | asked


@require_GET
@engineer_required
def evaluation_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One evaluation: the sentence, both charts, what was gained and lost, the worst slices."""
    found = get_object_or_404(
        Evaluation.objects.select_related(
            "dataset_version__dataset__queue", "baseline", "candidate", "route", "job__created_by"
        ),
        pk=pk,
    )
    context: dict[str, Any] = {"evaluation": found, "job": found.job, **_verdict(found)}
    if not live.is_fragment(request):
        context["lineage"] = lineage.of_evaluation(found)
        if context["comparison"]:
            hidden = copied.hidden_from(request.user, found.dataset_version.dataset.queue)
            context |= _pictures(found, context["comparison"], context["decision"], hidden=hidden)
    return live.respond(
        request,
        "flywheel/evaluation.html",
        context,
        state=job_pages.state(found.job),
        finished=not found.job.active,
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """One of the four outcomes of a case, and the list behind it."""

    show: str
    name: str
    count: int
    tone: str
    glyph: str


def cells(difference: statistics.Difference) -> list[Cell]:
    """What changed first, and what was lost before what was gained."""
    return [
        Cell("lost", "lost", difference.lost, "bad", "✕"),
        Cell("gained", "gained", difference.gained, "good", "✓"),
        Cell("both-right", "both right", difference.both_right, "", "="),
        Cell("both-wrong", "both wrong", difference.both_wrong, "", "="),
    ]


def _pictures(
    found: Evaluation, compared: statistics.Comparison, decision: gate.Decision, *, hidden: bool
) -> dict[str, Any]:
    """``hidden``: without the right answers, which are texts."""
    return {
        "hidden": hidden,
        "queue": found.dataset_version.dataset.queue,
        "rates_chart": rates_chart(compared, "" if hidden else compared.majority_answer),
        "difference_chart": difference_chart(decision, compared),
        "cells": cells(compared.over_baseline),
        "slices": [] if hidden else evaluation.slices(found)[:WORST_SLICES],
        "sources": dataset_pages.judged_by(found.dataset_version.sources),
        "rolled_out": found.rollouts.exists(),
        "more_exam_rows": found.dataset_version.exam_rows + (decision.cases_needed or 0),
    }


def rates_chart(compared: statistics.Comparison, majority: str) -> SafeString:
    """Majority class, base and candidate on one axis from 0 to 100 %. ``majority``: its answer, or ""."""
    always = f"always “{Truncator(majority).chars(18)}”" if majority else "always the same"
    named = [
        (always, compared.majority, "quiet"),
        ("what answers now", compared.baseline, "current"),
        ("candidate", compared.candidate, "second"),
    ]
    return charts.dots(
        [
            charts.Dot(
                name,
                100 * rate.value,
                100 * rate.low,
                100 * rate.high,
                f"{percent(rate.value)} ({percent_range(rate.low, rate.high)})",
                style,
            )
            for name, rate, style in named
        ],
        title="Right answers, with 95 % intervals",
        low=0,
        high=100,
        value_format=lambda v: f"{v:.0f} %",
    )


def difference_chart(decision: gate.Decision, compared: statistics.Comparison) -> SafeString:
    """Every rule's difference against the line that its whole interval must clear."""
    tones = {gate.Answer.SHIP: "good", gate.Answer.BLOCK: "bad", gate.Answer.MORE_DATA: "warn"}
    now = compared.over_baseline
    lines = sorted({rule.line for rule in decision.rules})
    return charts.dots(
        [
            charts.Dot(
                "over what answers now" if rule.difference is now else "over one fixed answer",
                100 * rule.difference.value,
                100 * rule.difference.low,
                100 * rule.difference.high,
                interval(rule.difference).replace(" points", ""),
                tones[rule.answer],
            )
            for rule in decision.rules
        ],
        title="Difference in points; the whole interval must lie right of the line",
        marks=[charts.Mark(100 * at, f"must beat {100 * at:g}") for at in lines],
        low=min(0.0, *(100 * at for at in lines)) - 5,
    )


def interval(difference: statistics.Difference) -> str:
    """+42.6 points (38.1–47.0), the way the first line of a page has it."""
    return f"{gate.points(difference.value)} ({_point(difference.low)}–{_point(difference.high)})"


def _point(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


SHOWN = {
    "lost": Q(baseline_right=True, candidate_right=False),
    "gained": Q(baseline_right=False, candidate_right=True),
    "both-right": Q(baseline_right=True, candidate_right=True),
    "both-wrong": Q(baseline_right=False, candidate_right=False),
    "changed": Q(baseline_right=True, candidate_right=False) | Q(baseline_right=False, candidate_right=True),
    "all": Q(),
}


@require_GET
@engineer_required
def cases(request: HttpRequest, pk: int) -> HttpResponse:
    """The cases behind a number, by outcome and by right answer."""
    found = get_object_or_404(
        Evaluation.objects.select_related(
            "route", "baseline", "candidate", "dataset_version__dataset__queue"
        ),
        pk=pk,
    )
    if copied.hidden_from(request.user, found.dataset_version.dataset.queue):
        raise PermissionDenied("Its cases are copies from a queue that you may not read.")
    show = request.GET.get("show", "all")
    show = show if show in SHOWN else "all"
    expected = request.GET.get("expected", "")
    chosen = found.cases.filter(SHOWN[show])
    chosen = chosen.filter(expected=expected) if expected else chosen
    after = request.GET.get("after", "")
    page, older = _page(chosen, int(after) if after.isdecimal() else 0)
    for case in page:
        for answered in (case.baseline_exchange, case.candidate_exchange):
            if answered:
                readers.saw(answered, found.route.name)
    context = {
        "evaluation": found,
        "cases": page,
        "count": chosen.count(),
        "show": show,
        "shows": list(SHOWN),
    }
    return render(request, "flywheel/evaluation_cases.html", context | {"expected": expected, "older": older})


def _page(chosen: QuerySet[EvaluationCase], after: int) -> tuple[list[EvaluationCase], int]:
    """(a page of cases in order of age, the id to go on after or 0)."""
    ordered = chosen.filter(pk__gt=after).order_by("id")
    page = list(ordered[: CASES_A_PAGE + 1])
    more = len(page) > CASES_A_PAGE
    return page[:CASES_A_PAGE], page[CASES_A_PAGE - 1].pk if more else 0
