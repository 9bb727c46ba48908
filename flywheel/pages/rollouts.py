"""Rollouts: what answers a route, what would, what decides, and the way back."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST

from flywheel import charts, evaluation, gate, jobs, rollout
from flywheel.models import Evaluation, Job, Rollout
from flywheel.pages import datasets as dataset_pages
from flywheel.pages import jobs as job_pages
from flywheel.pages import keys, lineage, live, traffic
from inference.access import engineer_required, is_operator, operator_required
from inference.models import ModelVersion, Proxy, Route

SHARES = ((5, "5 %, a canary"), (25, "25 %"), (50, "half"), (100, "all of it"))


class RolloutForm(forms.Form):
    """Which version answers how much of which route."""

    route = forms.ModelChoiceField(Route.objects.order_by("name"), to_field_name="name", empty_label=None)
    candidate = forms.ModelChoiceField(ModelVersion.objects.order_by("-id"), empty_label=None)
    share = forms.TypedChoiceField(choices=SHARES, coerce=int, label="Answers")


class ConfirmForm(RolloutForm):
    """What is posted: the same, with what the page had shown."""

    revision = forms.IntegerField(min_value=0)
    reason = forms.CharField(required=False, max_length=2000)


@dataclass(frozen=True, slots=True)
class Standing:
    """A route with what answers it now, drawn, and the key of its Back button."""

    live: rollout.Live
    shares: list[tuple[str, str, int]]
    """name, hash, percent"""
    bar: SafeString
    key: str


def standing(route: Route) -> Standing:
    """What a page shows of a route, with Back."""
    found = rollout.live(route)
    shares = in_percent(found.targets)
    return Standing(found, shares, share_bar(shares), keys.fresh())


def in_percent(targets: list[rollout.Target]) -> list[tuple[str, str, int]]:
    """(name, hash, percent), largest first."""
    whole = sum(target.weight for target in targets) or 1
    found = [(target.name, target.weights, round(100 * target.weight / whole)) for target in targets]
    return sorted(found, key=lambda share: -share[2])


def share_bar(shares: list[tuple[str, str, int]], candidate: str = "") -> SafeString:
    """A route's shares as one bar; the candidate's part as candidates are drawn everywhere."""
    parts = [
        charts.Part(percent, name, "second" if name == candidate else "current")
        for name, _, percent in shares
    ]
    said = ", ".join(f"{percent} % {name}" for name, _, percent in shares)
    return charts.bar(parts, 100, label=said or "nothing answers", height=12)


@require_GET
@engineer_required
def index(request: HttpRequest) -> HttpResponse:
    """What is live on each route, and every change so far."""
    routes = [standing(route) for route in Route.objects.order_by("name")]
    past = Rollout.objects.select_related("route", "candidate", "job", "created_by")[:100]
    return render(request, "flywheel/rollouts.html", {"routes": routes, "rollouts": past})


@engineer_required
def rollout_new(request: HttpRequest) -> HttpResponseBase:
    """Show what a rollout would change and what decides; do it when an operator says so."""
    if request.method == "POST":
        return _roll_out(request)
    asked = _asked(request)
    form = RolloutForm(asked)
    context = {"form": form, "posted": {}, "routes": Route.objects.exists()}
    return _draw(request, form, context)


def _roll_out(request: HttpRequest) -> HttpResponseBase:
    user = request.user
    if not isinstance(user, User) or not is_operator(user):
        raise PermissionDenied
    key = keys.posted(request)
    form = ConfirmForm(request.POST)
    if not form.is_valid():
        return _draw(request, form, {"refused": "Something was missing: look again, then decide."}, 422)
    chosen = form.cleaned_data
    planned = rollout.plan(chosen["route"], chosen["candidate"], chosen["share"])
    try:
        begun = rollout.start(
            planned, key=key, user=user, revision=chosen["revision"], reason=chosen["reason"]
        )
    except (rollout.StaleError, jobs.KeyReusedError) as error:
        return _draw(request, form, {"refused": str(error), "reason": chosen["reason"]}, 409)
    except jobs.RefusedError as error:
        return _draw(request, form, {"refused": str(error), "reason": chosen["reason"]}, 422)
    keys.say_kept(request)
    return redirect(begun)


def _draw(request: HttpRequest, form: forms.Form, context: dict[str, Any], status: int = 200) -> HttpResponse:
    context |= {"form": RolloutForm(form.data), "key": keys.fresh(), "routes": Route.objects.exists()}
    chosen = getattr(form, "cleaned_data", {}) if form.is_bound and form.is_valid() else {}
    if chosen:
        # Read again: what a refused post had in hand is what it was refused for.
        route = Route.objects.get(pk=chosen["route"].pk)
        planned = rollout.plan(route, chosen["candidate"], chosen["share"])
        context |= planned_context(planned)
    return render(request, "flywheel/rollout_new.html", context, status=status)


def _asked(request: HttpRequest) -> dict[str, Any]:
    """The query string, or what the newest evaluation suggests."""
    asked = request.GET.dict()
    number = asked.pop("evaluation", "")
    chosen = Evaluation.objects.select_related("route")
    if number.isdecimal():
        evaluation = chosen.filter(pk=int(number)).first()
    else:
        evaluation = chosen.filter(job__state=Job.State.DONE).first()
    route = evaluation.route if evaluation else Route.objects.first()
    candidate = evaluation.candidate if evaluation else ModelVersion.objects.order_by("-id").first()
    found = {
        "route": route.name if route else "",
        "candidate": candidate.pk if candidate else "",
        "share": 100,
    }
    return found | asked


def planned_context(planned: rollout.Plan) -> dict[str, Any]:
    """A plan as the page tells it: before, after, traffic, replicas, what decides."""
    now, then = in_percent(planned.now), in_percent(planned.then)
    ready = sum(replica.reachable for replica in planned.replicas)
    return {
        "plan": planned,
        "now": now,
        "then": then,
        "now_bar": share_bar(now, planned.candidate.name),
        "then_bar": share_bar(then, planned.candidate.name),
        "share_now": next((p for n, _, p in now if n == planned.candidate.name), 0),
        "an_hour": traffic.requests_an_hour(planned.route),
        "ready": ready,
        "sources": dataset_pages.judged_by(planned.evaluation.dataset_version.sources)
        if planned.evaluation
        else None,
    }


@engineer_required
def rollout_page(request: HttpRequest, pk: int) -> HttpResponseBase:
    """One rollout: how far it is in force, why it was decided, and the way back; a post says why."""
    found = get_object_or_404(
        Rollout.objects.select_related("route", "candidate", "evaluation", "job", "created_by"), pk=pk
    )
    if request.method == "POST":
        return _reason(request, found)
    force = rollout.in_force(found)
    now = rollout.live(found.route)
    old = found.in_force_at is None or timezone.now() - found.in_force_at > rollout.PROXY_HEARD
    context: dict[str, Any] = {
        "rollout": found,
        "job": found.job,
        "force": force,
        "is_live": bool(now.rollout and now.rollout.pk == found.pk),
        "spreading": not old or force.following < force.proxies or not force.proxies,
        "standing": standing(found.route),
        "before": stored_percent(found.before),
        "after": stored_percent(found.after),
    }
    context |= {
        "before_bar": share_bar(context["before"], _new(found)),
        "after_bar": share_bar(context["after"], _new(found)),
        "lineage": lineage.of_rollout(found),
        "answers_url": lineage.exchanges_of(found.candidate),
        "is_operator_here": is_operator(request.user),
        "decided_by": _decided_by(found),
    }
    settled = found.job.state not in (Job.State.PENDING, Job.State.RUNNING)
    return live.respond(
        request,
        "flywheel/rollout.html",
        context,
        state=(job_pages.state(found.job), force, context["is_live"], found.reason),
        finished=settled and (old or force.following == force.proxies),
    )


def _decided_by(found: Rollout) -> gate.Decision | None:
    """What the gate had said, rule by rule; None when it was not asked."""
    compared = evaluation.comparison(found.evaluation) if found.evaluation else None
    return gate.decide(compared) if compared else None


def _new(found: Rollout) -> str:
    """The version that a rollout brought; none when it went back."""
    return found.candidate.name if found.action == Rollout.Action.FORWARD else ""


def stored_percent(targets: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """As ``in_percent``, of targets that a rollout remembers."""
    return in_percent([rollout.Target(**target) for target in targets])


def _reason(request: HttpRequest, found: Rollout) -> HttpResponseBase:
    if not is_operator(request.user):
        raise PermissionDenied
    if rollout.give_reason(found, request.POST.get("reason", "")[:2000]):
        messages.success(request, "Reason kept.")
    return redirect(found)


@require_GET
@engineer_required
def route(request: HttpRequest, name: str) -> HttpResponse:
    """One route: what answers it, its traffic, its history, its way back."""
    found = get_object_or_404(Route, name=name)
    newest = found.rollouts.select_related("candidate", "job", "created_by")[:50]
    return render(
        request,
        "flywheel/route.html",
        {
            "route": found,
            "standing": standing(found),
            "rollouts": newest,
            "an_hour": traffic.requests_an_hour(found),
            "by_weights": traffic.by_weights(found),
            "evaluations": found.evaluations.select_related("candidate", "job")[:10],
            "proxies": Proxy.objects.count(),
        },
    )


@require_POST
@operator_required
def route_back(request: HttpRequest, name: str) -> HttpResponseBase:
    """Go back at once; asks nothing. The rollout's page asks the reason afterwards."""
    found = get_object_or_404(Route, name=name)
    user = request.user
    assert isinstance(user, User)
    key = keys.posted(request)
    try:
        with transaction.atomic():
            gone_back = rollout.back(found, key, user)
    except jobs.RefusedError as error:
        messages.error(request, str(error))
        return redirect("route", name=name)
    return redirect(gone_back)
