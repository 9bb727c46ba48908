"""Where a thing came from and what came of it: queue → dataset → run → version → evaluation → rollout."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from flywheel.models import DatasetVersion, Evaluation, Rollout, TrainingRun
from inference.models import ModelVersion

MOST_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Kin:
    """One thing in the line. ``here``: the page shown."""

    name: str
    url: str
    here: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the line: the newest few things of a kind, and how many more there are."""

    kind: str
    kin: list[Kin]
    more: int = 0


def of_version(version: DatasetVersion) -> list[Step]:
    """Up to the queue, down to rollouts."""
    runs = list(TrainingRun.objects.filter(dataset_version=version))
    evaluations = list(Evaluation.objects.filter(dataset_version=version))
    return _line(version, runs, _adapters(runs), evaluations, version)


def of_run(run: TrainingRun) -> list[Step]:
    """Up to the queue through its dataset version, down to rollouts of its adapter."""
    evaluations = list(Evaluation.objects.filter(candidate=run.adapter)) if run.adapter else []
    return _line(run.dataset_version, [run], _adapters([run]), evaluations, run)


def of_evaluation(evaluation: Evaluation) -> list[Step]:
    """Up through the candidate's run, down to rollouts that relied on it."""
    runs = list(TrainingRun.objects.filter(adapter=evaluation.candidate))
    return _line(evaluation.dataset_version, runs, [evaluation.candidate], [evaluation], evaluation)


def of_rollout(rollout: Rollout) -> list[Step]:
    """Up through the candidate's run to the queue; only itself below."""
    runs = list(
        TrainingRun.objects.filter(adapter=rollout.candidate).select_related("dataset_version__dataset")
    )
    evaluations = [rollout.evaluation] if rollout.evaluation else []
    version = runs[0].dataset_version if runs else None
    return _line(version, runs, [rollout.candidate], evaluations, rollout)


def _adapters(runs: Iterable[TrainingRun]) -> list[ModelVersion]:
    return [run.adapter for run in runs if run.adapter]


def _line(
    version: DatasetVersion | None,
    runs: list[TrainingRun],
    adapters: list[ModelVersion],
    evaluations: list[Evaluation],
    here: object,
) -> list[Step]:
    rollouts = [here] if isinstance(here, Rollout) else _rollouts(evaluations)
    queue = version.dataset.queue if version else None
    return [
        _step("Queue", [Kin(queue.name, queue.get_absolute_url())] if queue else []),
        _step("Dataset", [Kin(str(version), version.get_absolute_url(), version == here)] if version else []),
        _step("Training", [Kin(f"run {each.pk}", each.get_absolute_url(), each == here) for each in runs]),
        _step("Version", [Kin(each.short, exchanges_of(each)) for each in adapters]),
        _step(
            "Evaluation",
            [Kin(f"evaluation {each.pk}", each.get_absolute_url(), each == here) for each in evaluations],
        ),
        _step(
            "Rollout", [Kin(f"rollout {each.pk}", each.get_absolute_url(), each == here) for each in rollouts]
        ),
    ]


def _rollouts(evaluations: list[Evaluation]) -> list[Rollout]:
    if not evaluations:
        return []
    return list(Rollout.objects.filter(evaluation__in=[each.pk for each in evaluations]))


def _step(kind: str, kin: list[Kin]) -> Step:
    return Step(kind, kin[:MOST_SHOWN], max(0, len(kin) - MOST_SHOWN))


def exchanges_of(version: ModelVersion) -> str:
    """The explorer, filtered to what these weights answered."""
    return f"{reverse('exchanges')}?q=weights:{version.short}"
