"""Where the wheel stands: a number for each stage, what waits for whom, and the one step that comes next.

Reads SQL and, for the first stage, the trace store; decides nothing. The next step is the one nearest to
users: what is proved is rolled out before more is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from annotations.models import Annotation, Item, Queue
from flywheel import charts, evaluation, gate
from flywheel.models import DatasetVersion, Evaluation, Job, Rollout, TrainingRun
from flywheel.pages import jobs, traffic
from flywheel.pages.datasets import judged_by
from flywheel.pages.evaluations import interval
from flywheel.statistics import Comparison
from flywheel.templatetags.flywheel import number
from inference.models import RouteTarget

ENOUGH_NEW = 100
"""So many new verdicts are worth a new version even while others wait to be judged."""
WORTH_BUILDING = 20


@dataclass(frozen=True, slots=True)
class Now:
    """What the stages are drawn from, read once."""

    exchanges: int | None
    days: list[int] | None
    queue: Queue | None
    waiting: int
    conflicts: int
    settled: int
    fresh: int
    """Verdicts that came after the newest version was built; without one, all."""
    verdicts: int
    """Of the newest version's queue."""
    used: int
    """Of those, how many the newest version holds as rows."""
    version: DatasetVersion | None
    run: TrainingRun | None
    evaluation: Evaluation | None
    comparison: Comparison | None
    decision: gate.Decision | None
    answers: set[int]
    """Model versions that answer some route now."""
    active: list[dict[str, Any]]
    """Jobs under way and what they work on."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next step: a sentence with its number, and a button."""

    sentence: str
    button: str
    url: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the six."""

    name: str
    url: str
    figure: str
    unit: str
    spark: SafeString
    waits: str
    begun: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """What the newest rollout that an evaluation proved has brought, and what it cost."""

    rollout: Rollout
    comparison: Comparison
    difference: str
    minutes: float
    sources: dict[str, int]
    live: bool
    """Whether its version still answers the route."""


def gather(under_way: list[dict[str, Any]]) -> Now:
    """Read everything, in a number of queries that does not grow with the data."""
    done = Job.State.DONE
    version = DatasetVersion.objects.filter(job__state=done).select_related("dataset__queue").first()
    newest = (
        Evaluation.objects.filter(job__state=done)
        .select_related("route", "candidate", "dataset_version")
        .first()
    )
    compared = evaluation.comparison(newest) if newest else None
    counts = dict(Item.objects.values_list("state").annotate(Count("id")))
    verdicts = Item.objects.drawn().filter(state=Item.State.SETTLED)
    if version:
        verdicts = verdicts.filter(queue=version.dataset.queue)
    given = verdicts.count()
    return Now(
        exchanges=traffic.exchanges(),
        days=traffic.a_day(),
        queue=Queue.objects.order_by("-id").first(),
        waiting=counts.get(Item.State.WAITING, 0),
        conflicts=counts.get(Item.State.CONFLICT, 0),
        settled=counts.get(Item.State.SETTLED, 0),
        fresh=verdicts.filter(settled_at__gt=version.created_at).count() if version else given,
        verdicts=given,
        used=verdicts.filter(dataset_rows__version=version).count() if version else 0,
        version=version,
        run=TrainingRun.objects.filter(job__state=done).select_related("adapter").first(),
        evaluation=newest,
        comparison=compared,
        decision=gate.decide(compared) if compared else None,
        answers=set(RouteTarget.objects.filter(weight__gt=0).values_list("model_version_id", flat=True)),
        active=under_way,
    )


def active() -> list[dict[str, Any]]:
    """Jobs under way, oldest first, and what each works on."""
    found = Job.objects.filter(state__in=(Job.State.PENDING, Job.State.RUNNING))
    related = found.select_related(
        *jobs.RELATED.values(), "dataset_version__dataset", "rollout__route", "rollout__candidate"
    )
    return [{"job": job, "subject": jobs.subject(job)} for job in related.order_by("id")[:6]]


def next_step(now: Now, *, operator: bool) -> Step:
    """The one thing to do, the nearest to users first."""
    for ask in (_release, _prove, _learn, _build, _judge):
        if step := ask(now, operator):
            return step
    return _begin(now)


def _release(now: Now, operator: bool) -> Step | None:
    found, decision = now.evaluation, now.decision
    if not found or not decision or not now.comparison or decision.answer != gate.Answer.SHIP:
        return None
    if found.candidate_id in now.answers or found.rollouts.exists():
        return None
    seen = interval(now.comparison.over_baseline)
    if not operator:
        return Step(
            f"A candidate is {seen} better; an operator can roll it out.",
            "See the evaluation",
            found.get_absolute_url(),
        )
    return Step(
        f"A candidate for {found.route} is better by {seen} and waits to answer.",
        "Roll out",
        f"{reverse('rollout-new')}?evaluation={found.pk}",
    )


def _prove(now: Now, operator: bool) -> Step | None:
    run = now.run
    if not run or not run.adapter or run.adapter.evaluations.exists():
        return None
    url = f"{reverse('evaluation-new')}?candidate={run.adapter_id}&version={run.dataset_version_id}"
    return Step(f"Run {run.pk} made an adapter that has not been tested.", "Evaluate", url)


def _learn(now: Now, operator: bool) -> Step | None:
    version = now.version
    if not version or version.training_runs.exists():
        return None
    return Step(
        f"{version.train_rows:,} rows of {version} wait to be learned from.",
        "Train",
        f"{reverse('training-new')}?version={version.pk}",
    )


def _build(now: Now, operator: bool) -> Step | None:
    if now.fresh < (WORTH_BUILDING if not now.waiting else ENOUGH_NEW):
        return None
    what = "are in no dataset yet" if not now.version else f"came after {now.version}"
    return Step(f"{now.fresh:,} verdicts {what}.", "Build a dataset", reverse("dataset-new"))


def _judge(now: Now, operator: bool) -> Step | None:
    if now.waiting:
        wait = f"{now.waiting:,} answer{' waits' if now.waiting == 1 else 's wait'} for review."
        return Step(wait, "Review", reverse("review-home"))
    if now.conflicts and now.queue:
        return Step(
            f"{now.conflicts:,} answers need a second opinion.",
            "Open the queue",
            now.queue.get_absolute_url(),
        )
    return None


def _begin(now: Now) -> Step:
    if now.queue and now.settled:
        return Step("Nothing waits to be judged.", "Find more to judge", reverse("exchanges"))
    if now.queue:
        return Step(f"Nothing is in {now.queue} yet.", "Open the queue", now.queue.get_absolute_url())
    if now.exchanges is None:
        return Step("Exchanges can't be counted now.", "Look into the engine room", reverse("engine-room"))
    if now.exchanges == 0:
        sentence = "No exchange has come yet: point a product at the proxy."
        return Step(sentence, "Send the first request", reverse("exchanges"))
    sentence = f"{now.exchanges:,} exchanges are stored, and nobody judges them yet."
    return Step(sentence, "Make a queue", reverse("queue-new"))


def stages(now: Now) -> list[Stage]:
    """The six, in the order of the wheel."""
    judged = Annotation.objects.exclude(decision=Annotation.Decision.UNDO)
    reference = judged.filter(source=Annotation.Source.REFERENCE).count()
    return [
        _exchanges(now),
        Stage(
            "Review",
            reverse("queues"),
            number(now.settled),
            "settled",
            _spark(judged, "judgements"),
            _review_waits(now, reference),
            now.queue is not None,
        ),
        Stage(
            "Datasets",
            reverse("datasets"),
            number(now.version.train_rows + now.version.exam_rows) if now.version else "–",
            "rows in the newest",
            _spark(DatasetVersion.objects.all(), "versions"),
            _verdicts(now),
            now.version is not None,
        ),
        Stage(
            "Training",
            reverse("training"),
            number(now.run.results.get("loss")) if now.run else "–",
            "loss of the newest",
            _spark(TrainingRun.objects.all(), "runs"),
            f"Run {now.run.pk} gave {now.run.adapter.short}."
            if now.run and now.run.adapter
            else "Needs a dataset version.",
            now.run is not None,
        ),
        _evaluations(now),
        _rollouts(now),
    ]


def _exchanges(now: Now) -> Stage:
    days = now.days or [0] * traffic.DAYS
    today = "" if now.days is None else f"{days[-1]:,} today."
    waits = "Can't be read now; nothing is lost." if now.exchanges is None else today
    return Stage(
        "Exchanges",
        reverse("exchanges"),
        number(now.exchanges),
        "stored",
        charts.spark(days, title=f"{sum(days):,} exchanges in 14 days", labels=_labels()),
        waits,
        bool(now.exchanges),
    )


def _evaluations(now: Now) -> Stage:
    compared, decision = now.comparison, now.decision
    return Stage(
        "Evaluations",
        reverse("evaluations"),
        f"{100 * compared.candidate.value:.0f} %" if compared else "–",
        "right in the newest",
        _spark(Evaluation.objects.all(), "evaluations"),
        f"The gate says {decision.answer.words}." if decision else "Needs an adapter.",
        compared is not None,
    )


def _rollouts(now: Now) -> Stage:
    in_force = Rollout.objects.filter(route_revision__isnull=False)
    newest = in_force.select_related("candidate", "route").first()
    return Stage(
        "Rollouts",
        reverse("rollouts"),
        number(in_force.count()),
        "in force so far",
        _spark(in_force, "rollouts"),
        f"{newest.candidate.short} answers {newest.share} % of {newest.route}."
        if newest
        else "Needs a candidate that is better.",
        newest is not None,
    )


def _review_waits(now: Now, reference: int) -> str:
    if now.queue is None:
        return "Needs a queue of exchanges."
    waits = (
        f"{now.waiting:,} wait{'s' if now.waiting == 1 else ''} for experts."
        if now.waiting
        else "Nothing waits."
    )
    return f"{waits} ▲ {reference:,} by the reference reviewer." if reference else waits


def _labels() -> list[str]:
    today = timezone.localdate()
    days = [today - timedelta(days=back) for back in range(traffic.DAYS - 1, -1, -1)]
    return [f"{day.day} {day:%b}" for day in days]


def _verdicts(now: Now) -> str:
    """What the datasets could be made of: how many verdicts the newest version does not hold, never why."""
    one = "verdict" if now.verdicts == 1 else "verdicts"
    if now.version is None:
        return f"{now.verdicts:,} {one} to build from." if now.verdicts else "Needs verdicts."
    if now.used == now.verdicts and not now.fresh:
        return f"{now.version} holds all {now.verdicts:,} {one}."
    newer = f", {now.fresh:,} {'is' if now.fresh == 1 else 'are'} newer" if now.fresh else ""
    return f"{now.version} holds {now.used:,} of {now.verdicts:,} {one}{newer}."


def _spark(rows: QuerySet[Any], name: str) -> SafeString:
    """Rows made on each of the last fourteen days."""
    first = timezone.localdate() - timedelta(days=traffic.DAYS - 1)
    recent = rows.order_by().filter(created_at__date__gte=first).annotate(day=TruncDate("created_at"))
    counts = dict(recent.values_list("day").annotate(Count("id")))
    days: Sequence[int] = [counts.get(first + timedelta(days=index), 0) for index in range(traffic.DAYS)]
    return charts.spark(days, title=f"{sum(days):,} {name} in 14 days", labels=_labels())


def last_turn() -> Turn | None:
    """The newest rollout in force that rests on an evaluation; expert minutes are those of people alone."""
    found = (
        Rollout.objects.filter(
            action=Rollout.Action.FORWARD, route_revision__isnull=False, evaluation__isnull=False
        )
        .select_related("evaluation__dataset_version__dataset", "candidate", "route")
        .first()
    )
    if found is None or found.evaluation is None:
        return None
    compared = evaluation.comparison(found.evaluation)
    if compared is None:
        return None
    version = found.evaluation.dataset_version
    judged = Annotation.objects.filter(item__dataset_rows__version=version, source=Annotation.Source.PERSON)
    seconds = judged.aggregate(total=Sum("seconds"))["total"] or 0.0
    live = found.route.targets.filter(model_version=found.candidate, weight__gt=0).exists()
    difference = interval(compared.over_baseline)
    return Turn(found, compared, difference, seconds / 60, judged_by(version.sources), live)
