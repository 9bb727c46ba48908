"""Lineage both ways: adapter → run → dataset version → rows → items → exchanges, and back.

Reads SQL alone, so it answers with ClickHouse down. The manifests (flywheel.datasets) hold the same chain by
hash, for whoever has only the files.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from annotations.models import Annotation, Item
from flywheel.models import DatasetRow, DatasetVersion, Evaluation, EvaluationCase, Rollout, TrainingRun
from inference.models import ModelVersion


@dataclass(frozen=True, slots=True)
class Made:
    """A run that gave the weights, and what it learned from."""

    run: TrainingRun
    version: DatasetVersion
    rows: list[DatasetRow]
    """The rows to learn from, each with its item."""
    judgements: list[Annotation]
    """What people (or the reference reviewer) said about those rows' items, and still stands."""

    @property
    def exchanges(self) -> list[UUID]:
        """The exchanges behind the rows."""
        return [row.item.exchange_id for row in self.rows]


@dataclass(frozen=True, slots=True)
class Ancestry:
    """Everything behind and after one set of weights."""

    weights: str
    """SHA-256, whole."""
    versions: list[ModelVersion]
    """The names it is served under."""
    made: list[Made]
    """Empty for a base model."""
    evaluations: list[Evaluation]
    rollouts: list[Rollout]


@dataclass(frozen=True, slots=True)
class Use:
    """What became of one exchange."""

    exchange_id: UUID
    items: list[Item]
    rows: list[DatasetRow]
    """Rows made from its items, in any version and split."""
    runs: list[TrainingRun]
    """Runs that learned from it."""
    adapters: list[ModelVersion]
    """What those runs gave."""
    rollouts: list[Rollout]
    """Rollouts of those adapters."""
    cases: list[EvaluationCase]
    """Exam cases that it was an answer to, or whose question came from it."""


def of_weights(weights: str) -> Ancestry | None:
    """The chain behind a SHA-256, or the first eight digits or more of one. None when there is no such model.

    Raises ValueError when the digits fit several.
    """
    if len(weights) < 8:
        raise ValueError("At least eight digits of the hash are needed.")
    versions = list(ModelVersion.objects.filter(weights__startswith=weights.lower()).order_by("id"))
    if not versions:
        return None
    if len({version.weights for version in versions}) > 1:
        raise ValueError(f"{weights} fits several models: give more digits.")
    runs = TrainingRun.objects.filter(adapter__in=versions).select_related("dataset_version__dataset", "base")
    return Ancestry(
        weights=versions[0].weights,
        versions=versions,
        made=[_made(run) for run in runs.order_by("id")],
        evaluations=list(Evaluation.objects.filter(Q(candidate__in=versions) | Q(baseline__in=versions))),
        rollouts=list(Rollout.objects.filter(candidate__in=versions).select_related("route")),
    )


def _made(run: TrainingRun) -> Made:
    rows = run.dataset_version.rows.filter(split=DatasetRow.Split.TRAIN).select_related("item")
    judgements = Annotation.objects.standing().filter(item__dataset_rows__in=rows).order_by("id")
    return Made(run, run.dataset_version, list(rows.order_by("item_id")), list(judgements))


def of_exchange(exchange_id: UUID) -> Use:
    """What was made of an exchange; all empty when nothing was."""
    items = list(Item.objects.filter(exchange_id=exchange_id).select_related("queue").order_by("id"))
    rows = list(
        DatasetRow.objects.filter(item__in=items).select_related("version__dataset").order_by("version_id")
    )
    learned = [row.version_id for row in rows if row.split == DatasetRow.Split.TRAIN]
    runs = list(
        TrainingRun.objects.filter(dataset_version__in=learned).select_related("adapter").order_by("id")
    )
    adapters = list({run.adapter_id: run.adapter for run in runs if run.adapter}.values())
    answered = Q(baseline_exchange=exchange_id) | Q(candidate_exchange=exchange_id)
    return Use(
        exchange_id=exchange_id,
        items=items,
        rows=rows,
        runs=runs,
        adapters=adapters,
        rollouts=list(Rollout.objects.filter(candidate__in=adapters).select_related("route")),
        cases=list(
            EvaluationCase.objects.filter(answered | Q(row__in=rows))
            .select_related("evaluation")
            .order_by("id")
        ),
    )


def used_in(items: Collection[int]) -> dict[int, str]:
    """Items that a dataset version was made from, and the newest such version by name."""
    rows = DatasetRow.objects.filter(item__in=items).select_related("version__dataset").order_by("version")
    return {row.item_id: f"Dataset version {row.version}" for row in rows}
