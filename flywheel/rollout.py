"""Rollouts: what answers a route is changed, and changed back, in one step that every proxy follows.

Knows targets and shares, the history of a route, and that an adapter is warmed before traffic reaches it. The
gate's verdict is flywheel.gate's; how proxies hear of a change is inference.snapshots'. Back needs neither
ClickHouse nor a worker nor the broker: one transaction.
"""

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import openai
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from flywheel import clients, gate, jobs
from flywheel import evaluation as evaluations
from flywheel.models import Evaluation, Job, Rollout
from inference import snapshots
from inference.models import ModelVersion, Proxy, Route, RouteTarget, Upstream

WARM_SECONDS = 180.0
"""An engine may take this long to load an adapter."""
CHECK_SECONDS = 2.0
PROXY_HEARD = timedelta(seconds=60)
"""A proxy not heard from for longer is not counted."""


class StaleError(RuntimeError):
    """The route changed since the page was drawn; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """A version's share of a route. ``weight`` is relative to the others'."""

    model_version: int
    """Primary key of the ModelVersion."""
    name: str
    weights: str
    """SHA-256 of the weights."""
    weight: int


@dataclass(frozen=True, slots=True)
class Replica:
    """An engine that should serve the candidate, as just asked."""

    upstream: str
    reachable: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout would do: what a page shows before its button."""

    route: Route
    candidate: ModelVersion
    share: int
    revision: int
    """Goes with the form: if the route has another one by then, nothing is done."""
    now: list[Target]
    then: list[Target]
    evaluation: Evaluation | None
    """The newest that compares the candidate with what answers now."""
    decision: gate.Decision | None
    """What the gate makes of it; None without an evaluation."""
    replicas: list[Replica]
    checked_at: datetime
    why_not: str

    @property
    def needs_reason(self) -> bool:
        """Whether it goes against the gate, or without one."""
        return self.decision is None or self.decision.answer != gate.Answer.SHIP


@dataclass(frozen=True, slots=True)
class Live:
    """What answers a route, and since when."""

    route: Route
    targets: list[Target]
    rollout: Rollout | None
    """The one that made it so; None when targets were set otherwise."""
    undoes: Rollout | None
    """The rollout that Back would undo; None: there is nothing to go back to."""


@dataclass(frozen=True, slots=True)
class InForce:
    """How many of the proxies heard from lately follow a rollout."""

    following: int
    proxies: int
    seconds: float | None
    """Until the last one followed; None when not all do, or later changes hide it."""


def targets(route: Route) -> list[Target]:
    """What answers the route now, largest share first."""
    rows = route.targets.select_related("model_version").filter(weight__gt=0).order_by("-weight", "id")
    return [
        Target(row.model_version_id, row.model_version.name, row.model_version.weights, row.weight)
        for row in rows
    ]


def shared(now: list[Target], candidate: ModelVersion, share: int) -> list[Target]:
    """Targets in percent with ``share`` for the candidate; the others keep their proportions in the rest.

    Rest percents go to the largest remainders, so that they add up to 100; who would get none is left out.
    """
    new = Target(candidate.pk, candidate.name, candidate.weights, share)
    others = [target for target in now if target.model_version != candidate.pk]
    room, whole = 100 - share, sum(target.weight for target in others)
    if not room or not whole:
        return [new]
    exact = [target.weight * room / whole for target in others]
    weights = [int(part) for part in exact]
    by_remainder = sorted(range(len(others)), key=lambda i: (weights[i] - exact[i], i))
    for i in by_remainder[: room - sum(weights)]:
        weights[i] += 1
    kept = [
        Target(target.model_version, target.name, target.weights, weight)
        for target, weight in zip(others, weights, strict=True)
        if weight
    ]
    return [new, *kept]


def plan(route: Route, candidate: ModelVersion, share: int) -> Plan:
    """What giving the candidate ``share`` percent would change. Asks the engines, changes nothing."""
    # Read anew, and before the targets: what the caller has in hand may have been changed since.
    route = Route.objects.get(pk=route.pk)
    now = targets(route)
    evaluation = newest_evaluation(route, candidate, now)
    compared = evaluations.comparison(evaluation) if evaluation else None
    replicas = check(candidate)
    return Plan(
        route=route,
        candidate=candidate,
        share=share,
        revision=route.revision,
        now=now,
        then=shared(now, candidate, share),
        evaluation=evaluation,
        decision=gate.decide(compared) if compared else None,
        replicas=replicas,
        checked_at=timezone.now(),
        why_not=_why_not(now, candidate, share, replicas),
    )


def _why_not(now: list[Target], candidate: ModelVersion, share: int, replicas: list[Replica]) -> str:
    if not 1 <= share <= 100:
        return "A share is between 1 and 100 percent."
    if {(t.model_version, t.weight) for t in now} == {
        (t.model_version, t.weight) for t in shared(now, candidate, share)
    }:
        return f"{candidate} has {share} % of it already."
    if share < 100 and all(target.model_version == candidate.pk for target in now):
        return "Nothing else answers this route, so there is nothing to share with."
    if not replicas:
        return f"No engine serves {candidate}."
    if down := [replica.upstream for replica in replicas if not replica.reachable]:
        return f"{', '.join(down)} can't be reached, so {candidate} can't be made ready there."
    return ""


def newest_evaluation(route: Route, candidate: ModelVersion, now: list[Target]) -> Evaluation | None:
    """The newest finished one of the candidate against something that answers the route now."""
    against = [target.model_version for target in now if target.model_version != candidate.pk]
    return Evaluation.objects.filter(
        route=route, candidate=candidate, baseline__in=against, job__state=Job.State.DONE
    ).first()


def check(candidate: ModelVersion) -> list[Replica]:
    """Ask each engine of the candidate whether it is there."""
    upstreams = list(candidate.upstreams.filter(enabled=True).order_by("name"))
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_reach, upstreams))


def _reach(upstream: Upstream) -> Replica:
    try:
        with _engine(upstream, CHECK_SECONDS) as client:
            client.models.list()
    except openai.APIError:
        return Replica(upstream.name, reachable=False)
    return Replica(upstream.name, reachable=True)


def _engine(upstream: Upstream, timeout: float) -> openai.OpenAI:
    secret = os.environ.get(upstream.secret_env, "") if upstream.secret_env else ""
    return clients.client(upstream.base_url, secret, timeout=timeout)


def start(planned: Plan, *, key: str, user: User | None, revision: int, reason: str = "") -> Rollout:
    """Begin what was planned; the same key again gives the same rollout.

    ``revision`` is what the page showed. Raises StaleError when the route has moved on, jobs.RefusedError
    with the plan's reason or for want of one against the gate, jobs.KeyReusedError when the key was used.
    """
    with transaction.atomic():
        job, new = jobs.start(Job.Kind.ROLLOUT, key, user, total=len(planned.replicas) + 1)
        if not new:
            return _again(job, Rollout.Action.FORWARD, planned.route, planned.candidate, planned.share)
        if planned.revision != revision:
            raise StaleError(f"{planned.route} changed meanwhile. Nothing was done; look again, then decide.")
        if planned.why_not:
            raise jobs.RefusedError(planned.why_not)
        if planned.needs_reason and not reason.strip():
            raise jobs.RefusedError("The gate does not say ship: give a reason of a sentence.")
        return Rollout.objects.create(
            route=planned.route,
            action=Rollout.Action.FORWARD,
            candidate=planned.candidate,
            share=planned.share,
            before=_stored(planned.now),
            after=_stored(planned.then),
            evaluation=planned.evaluation,
            decision=planned.decision.answer if planned.decision else "",
            reason=reason.strip(),
            planned_revision=revision,
            job=job,
            created_by=user,
        )


def _again(
    job: Job, action: Rollout.Action, route: Route, candidate: ModelVersion | None = None, share: int = 0
) -> Rollout:
    rollout: Rollout = job.rollout
    same = rollout.action == action and rollout.route_id == route.pk
    if candidate is not None:
        same = same and rollout.candidate_id == candidate.pk and rollout.share == share
    if not same:
        raise jobs.KeyReusedError(f"This key already did something else: {rollout}.")
    return rollout


def roll_out(rollout: Rollout, lease: jobs.Lease) -> None:
    """Warm the candidate on every engine, then switch. Nothing is switched unless all are warm."""
    if rollout.route_revision is None:
        warm(rollout.candidate, lease)
    with lease.complete(f"{rollout.candidate} answers {rollout.share} % of {rollout.route}."):
        try:
            _switch(rollout, rollout.planned_revision)
        except StaleError as error:
            raise jobs.FailedError(str(error)) from error


def warm(candidate: ModelVersion, lease: jobs.Lease) -> None:
    """Have every engine of the version answer with one token, which loads it. Raises jobs.FailedError."""
    upstreams = list(candidate.upstreams.filter(enabled=True))
    with ThreadPoolExecutor(max(len(upstreams), 1)) as pool:
        loading: set[Future[None]] = {pool.submit(_load, candidate.name, upstream) for upstream in upstreams}
        while loading:
            loaded, loading = wait(loading, timeout=1.0)
            for future in loaded:
                future.result()
            done = len(upstreams) - len(loading)
            lease.beat(
                done, len(upstreams) + 1, f"{candidate} is ready on {done} of {len(upstreams)} engines."
            )


def _load(name: str, upstream: Upstream) -> None:
    try:
        with _engine(upstream, WARM_SECONDS) as client:
            client.completions.create(model=name, prompt="Hello", max_tokens=1)
    except openai.APIError as error:
        raise jobs.FailedError(
            f"{upstream} could not make {name} ready: {error.message}. Traffic is answered as before. "
            "Check that the engine sees the adapters' folder, then resume."
        ) from error


def back(route: Route, key: str, user: User | None) -> Rollout:
    """Undo the newest rollout that is not undone yet, at once; the same key again gives the same one.

    Going back twice goes two steps back, never forward again. Raises jobs.RefusedError when there is nothing
    to go back to.
    """
    with transaction.atomic():
        job, new = jobs.done_at_once(Job.Kind.ROLLOUT, key, user, f"{route} went back.")
        if not new:
            return _again(job, Rollout.Action.BACK, route)
        # An update first: it locks the row in PostgreSQL, so what is read next is what is switched.
        Route.objects.filter(pk=route.pk).update(revision=F("revision"))
        revision = Route.objects.values_list("revision", flat=True).get(pk=route.pk)
        undone = undoes(route)
        if undone is None:
            raise jobs.RefusedError(f"{route} has no rollout to go back from.")
        main = max(undone.before, key=lambda target: int(target["weight"]))
        rollout = Rollout.objects.create(
            route=route,
            action=Rollout.Action.BACK,
            candidate_id=main["model_version"],
            share=percent(undone.before)[0],
            before=_stored(targets(route)),
            after=undone.before,
            planned_revision=revision,
            job=job,
            created_by=user,
        )
        _switch(rollout, revision)
        return rollout


def percent(stored: list[dict[str, Any]]) -> list[int]:
    """Shares of stored targets in whole percent, largest first."""
    whole = sum(int(target["weight"]) for target in stored) or 1
    return sorted((round(100 * int(target["weight"]) / whole) for target in stored), reverse=True)


def _switch(rollout: Rollout, revision: int) -> None:
    """Set the targets, if nobody has since the revision; call inside a transaction. Raises StaleError."""
    route = rollout.route
    if not Route.objects.filter(pk=route.pk, revision=revision).update(revision=revision + 1):
        raise StaleError(
            f"{route} changed meanwhile. Traffic is answered as it was; look again, then decide."
        )
    after = {int(target["model_version"]): int(target["weight"]) for target in rollout.after}
    for row in route.targets.exclude(model_version__in=after):
        row.delete()
    for version, weight in after.items():
        RouteTarget.objects.update_or_create(
            route=route, model_version_id=version, defaults={"weight": weight}
        )
    rollout.route_revision = revision + 1
    rollout.routing_version = snapshots.publish()
    rollout.in_force_at = timezone.now()
    rollout.save(update_fields=["route_revision", "routing_version", "in_force_at"])


def history(route: Route) -> list[Rollout]:
    """Rollouts that took effect, oldest first."""
    in_force = route.rollouts.filter(route_revision__isnull=False).select_related("candidate", "created_by")
    return list(in_force.order_by("route_revision"))


def undoes(route: Route) -> Rollout | None:
    """The rollout that Back would undo: each back takes the newest one away."""
    standing: list[Rollout] = []
    for rollout in history(route):
        if rollout.action == Rollout.Action.FORWARD:
            standing.append(rollout)
        elif standing:
            standing.pop()
    return standing[-1] if standing and standing[-1].before else None


def live(route: Route) -> Live:
    """What answers the route, who made it so, and what Back would undo."""
    past = history(route)
    return Live(route, targets(route), past[-1] if past else None, undoes(route))


def give_reason(rollout: Rollout, text: str) -> bool:
    """Say afterwards why; once only. False when a reason stands already or none was given."""
    text = text.strip()
    return bool(text and Rollout.objects.filter(pk=rollout.pk, reason="").update(reason=text))


def in_force(rollout: Rollout) -> InForce:
    """How far the proxies follow. A rollout that has not switched yet is followed by none."""
    heard = list(Proxy.objects.filter(seen_at__gt=timezone.now() - PROXY_HEARD))
    if rollout.routing_version is None or rollout.in_force_at is None:
        return InForce(0, len(heard), None)
    following = [proxy for proxy in heard if proxy.version >= rollout.routing_version]
    seconds = None
    if following and len(following) == len(heard):
        applied = [proxy.applied_at for proxy in following if proxy.applied_at]
        seconds = (max(applied) - rollout.in_force_at).total_seconds() if applied else None
    # A proxy only tells when it took its newest snapshot: much later, that is another change's time.
    if seconds is not None and not 0 <= seconds < PROXY_HEARD.total_seconds():
        seconds = None
    return InForce(len(following), len(heard), seconds)


def _stored(them: Iterable[Target]) -> list[dict[str, Any]]:
    return [asdict(target) for target in them]
