"""Dataset versions: verdicts become rows to learn from and rows for the exam, immutable and named by hash.

Knows how siblings stay together, and the file form (one chat a line, as OpenAI's fine-tuning takes it). Files
go to flywheel.artefacts; which exchanges a filter means is the trace store's to say, which verdicts make no
row flywheel.leftovers'; training and evaluating on them is others' matter.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import F

from annotations.models import Annotation, Item, Queue
from flywheel import artefacts, jobs, leftovers
from flywheel.models import Dataset, DatasetRow, DatasetVersion, Job
from inference import filters, queries
from inference.clickhouse import RejectedError, Unavailable
from inference.filters import Filter, FilterError

EXAM_SHARE = 0.2
"""Of the usable rows, for the exam, unless the recipe gives a number."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How rows are drawn. The same recipe on the same verdicts gives the same version, byte for byte."""

    train_rows: int | None = None
    """At most so many rows to learn from; None: all that are left."""
    exam_rows: int | None = None
    """So many rows for the exam; None: whole groups, about a fifth."""
    seed: int = 1
    filter: Filter = field(default_factory=Filter)
    """Which of the queue's exchanges: the explorer's filter. What it asks of judgements, feedback and prices
    is as they are when the version is built."""

    def as_dict(self) -> dict[str, Any]:
        """Without a filter there is no word of it, so an older recipe still gives its old hash."""
        stored = {"train_rows": self.train_rows, "exam_rows": self.exam_rows, "seed": self.seed}
        return stored | ({"filter": str(self.filter)} if self.filter.terms else {})

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        return cls(**{**stored, "filter": filters.parse(stored.get("filter", ""))})

    def pinned(self, now: datetime) -> Self:
        """The recipe whose filter means the same whenever it is built."""
        return replace(self, filter=self.filter.pinned(now))


@dataclass(frozen=True, slots=True)
class Row:
    """One verdict as a line of a file."""

    item: Item
    judgements: list[Annotation]
    line: bytes
    answer: str

    @property
    def hash(self) -> str:
        """SHA-256 of the line without its end."""
        return hashlib.sha256(self.line).hexdigest()

    @property
    def group(self) -> str:
        """Siblings share it; an item without a group has one of its own."""
        return self.item.group or f"item {self.item.pk}"


@dataclass(slots=True)
class Draw:
    """What a recipe takes from a queue's verdicts, each part in order of item."""

    kind: str
    """The queue's leading question's."""
    train: list[Row] = field(default_factory=list)
    exam: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would give now: what a page shows before its button, and what a version keeps."""

    train: int
    exam: int
    left_out: dict[str, int]
    """reason → items"""
    balance: dict[str, dict[str, int]]
    """answer → {"train": rows, "exam": rows}, most frequent first"""
    groups: int
    """Sets of siblings among the rows."""
    sources: dict[str, int]
    """Judgements behind the rows by ``Annotation.Source``."""
    why_not: str
    """Why a version can't be built, as a sentence; empty when it can."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row as read back from a version's file."""

    messages: list[dict[str, Any]]
    """The conversation up to the answer."""
    answer: str
    hash: str

    @property
    def question(self) -> str:
        """The last thing asked, for people."""
        content = self.messages[-1].get("content") if self.messages else ""
        return content if isinstance(content, str) else canonical(content).decode()


def plan(queue: Queue, recipe: Recipe) -> Plan:
    """What ``build`` would make of the queue's verdicts as they are now. Reads only. Raises like ``draw``."""
    return _plan(draw(queue, recipe))


def _plan(drawn: Draw) -> Plan:
    rows = drawn.train + drawn.exam
    balance: dict[str, dict[str, int]] = {}
    for answer, _ in Counter(row.answer for row in rows).most_common():
        balance[answer] = {"train": 0, "exam": 0}
    for split, part in (("train", drawn.train), ("exam", drawn.exam)):
        for row in part:
            balance[row.answer][split] += 1
    return Plan(
        train=len(drawn.train),
        exam=len(drawn.exam),
        left_out=dict(drawn.left_out.most_common()),
        balance=balance,
        groups=len({row.group for row in rows}),
        sources=dict(Counter(judgement.source for row in rows for judgement in row.judgements)),
        why_not=_why_not(drawn),
    )


def _why_not(drawn: Draw) -> str:
    if not leftovers.makes_rows(drawn.kind) and not drawn.train and not drawn.exam:
        return (
            "This queue’s question gives no right answer that is a text: build from a queue that approves or "
            "corrects texts."
        )
    if not drawn.train and not drawn.exam:
        return "No answer is approved or corrected yet: judge some in the queue first."
    if not drawn.exam:
        return "No row is kept for the exam, so nothing could be proved: ask for at least one."
    if not drawn.train:
        return "Every row went to the exam: judge more, or ask for fewer exam rows."
    return ""


def draw(queue: Queue, recipe: Recipe) -> Draw:
    """Draw the exam by whole groups first, then rows to learn from out of the groups that remain.

    With a filter the trace store is asked: raises Unavailable, and FilterError for what it can't be asked.
    """
    drawn = Draw(queue.kind)
    usable = _usable(queue, drawn, _within(queue, recipe.filter))
    groups: dict[str, list[Row]] = {}
    for row in usable:
        groups.setdefault(row.group, []).append(row)
    wanted = round(len(usable) * EXAM_SHARE) if recipe.exam_rows is None else recipe.exam_rows
    train: list[Row] = []
    for group in sorted(groups, key=lambda name: _rank(recipe.seed, name)):
        room = wanted - len(drawn.exam)
        if room <= 0:
            train.extend(groups[group])
            continue
        if recipe.exam_rows is None:
            room = len(groups[group])  # no exact number is asked for, so no sibling need be wasted
        drawn.exam.extend(groups[group][:room])
        drawn.left_out[leftovers.SIBLING] += len(groups[group][room:])
    drawn.train = sorted(train[: recipe.train_rows], key=lambda row: row.item.pk)
    drawn.left_out[leftovers.NOT_NEEDED] += len(train) - len(drawn.train)
    drawn.exam.sort(key=lambda row: row.item.pk)
    drawn.left_out += Counter()  # drops the zeros
    return drawn


def _rank(seed: int, group: str) -> str:
    # By hash instead of a shuffle: a group keeps its place when others come, so exams change little.
    return hashlib.sha256(f"{seed} {group}".encode()).hexdigest()


def _within(queue: Queue, wanted: Filter) -> Callable[[Item], bool]:
    """Whether an item's exchange matches."""
    if not wanted.terms:
        return lambda item: True
    named = list(queue.items.values_list("exchange_id", "attempt", "started_at"))
    try:
        found = queries.matching(wanted, named)
    except RejectedError as error:
        raise FilterError(str(wanted)[:60], "this can’t be asked") from error
    return lambda item: (item.exchange_id, item.attempt) in found


def _usable(queue: Queue, drawn: Draw, within: Callable[[Item], bool]) -> list[Row]:
    standing = models.Prefetch("annotations", Annotation.objects.standing().order_by("id"))
    rows: list[Row] = []
    seen: set[bytes] = set()
    for item in queue.items.drawn().order_by("id").prefetch_related(standing).iterator(chunk_size=1000):
        judgements = list(item.annotations.all())
        question = canonical(item.messages)
        reason = "" if within(item) else leftovers.OUTSIDE
        reason = reason or leftovers.why(item, queue) or (leftovers.DUPLICATE if question in seen else "")
        if reason:
            drawn.left_out[reason] += 1
            continue
        seen.add(question)
        answer = leftovers.right_answer(item)
        messages = [*item.messages, {"role": "assistant", "content": answer}]
        rows.append(Row(item, judgements, canonical({"messages": messages}), answer))
    return rows


def start(name: str, queue: Queue, recipe: Recipe, key: str, user: User | None) -> DatasetVersion:
    """Begin to build the next version of the dataset ``name``; the same key again gives the same version.

    Raises jobs.RefusedError when nothing could be built, jobs.KeyReusedError when the key meant another, and
    like ``draw``.
    """
    with transaction.atomic():
        job, new = jobs.start(Job.Kind.DATASET, key, user)
        recipe = recipe.pinned(job.created_at)
        if not new:
            return _again(job, name, recipe)
        if why_not := plan(queue, recipe).why_not:
            raise jobs.RefusedError(why_not)
        dataset, _ = Dataset.objects.get_or_create(name=name, defaults={"queue": queue})
        if dataset.queue_id != queue.pk:
            raise jobs.RefusedError(
                f"“{name}” is built from another queue, {dataset.queue}: choose another name."
            )
        Dataset.objects.filter(pk=dataset.pk).update(name=F("name"))  # locks the row in PostgreSQL
        last = dataset.versions.aggregate(last=models.Max("number"))["last"] or 0
        return DatasetVersion.objects.create(
            dataset=dataset, number=last + 1, job=job, recipe=recipe.as_dict()
        )


def _again(job: Job, name: str, recipe: Recipe) -> DatasetVersion:
    version: DatasetVersion = job.dataset_version
    if version.dataset.name != name or version.recipe != recipe.as_dict():
        raise jobs.KeyReusedError(f"This key already built {version}.")
    return version


def build(version: DatasetVersion, lease: jobs.Lease) -> None:
    """Draw, write the files and the manifest, and keep which item each row came from. Safe to do again."""
    try:
        drawn = draw(version.dataset.queue, Recipe.from_dict(version.recipe))
    except FilterError as error:
        raise jobs.FailedError(
            f"The filter’s “{error.part}”: {error.message}. Nothing was written."
        ) from error
    except Unavailable as error:
        raise jobs.FailedError(
            f"The trace store does not answer, so its filter can’t be asked: {error}. Nothing was written. "
            "Then resume."
        ) from error
    planned = _plan(drawn)
    if planned.why_not:
        raise jobs.FailedError(f"{planned.why_not} Nothing was written. Then build again.")
    lease.beat(message="Writes the files.")
    version.hash = artefacts.put(canonical(_manifest(version, drawn)))
    rows = [
        DatasetRow(version=version, item=row.item, split=split, hash=row.hash)
        for split, part in _parts(drawn)
        for row in part
    ]
    version.train_rows, version.exam_rows = planned.train, planned.exam
    version.sources = planned.sources
    version.judgements = version.judged
    version.left_out, version.balance = planned.left_out, planned.balance
    with lease.complete(f"{planned.train:,} rows to learn from, {planned.exam:,} kept for the exam."):
        DatasetRow.objects.bulk_create(rows, batch_size=500)
        version.save()


def _parts(drawn: Draw) -> list[tuple[DatasetRow.Split, list[Row]]]:
    return [(DatasetRow.Split.TRAIN, drawn.train), (DatasetRow.Split.EXAM, drawn.exam)]


def _manifest(version: DatasetVersion, drawn: Draw) -> dict[str, Any]:
    """Everything the version was made of, and no more: without time or number, equal inputs hash equal."""
    files, rows = {}, []
    for split, part in _parts(drawn):
        content = b"".join(row.line + b"\n" for row in part)
        files[split.value] = {"sha256": artefacts.put(content), "rows": len(part), "bytes": len(content)}
        rows += [_origin(split, row) for row in part]
    return {
        "format": "flywheel dataset 1",
        "queue": version.dataset.queue.slug,
        "recipe": version.recipe,
        "files": files,
        "left_out": dict(drawn.left_out),
        "rows": rows,
    }


def _origin(split: DatasetRow.Split, row: Row) -> dict[str, Any]:
    return {
        "split": split.value,
        "sha256": row.hash,
        "item": row.item.pk,
        "exchange": str(row.item.exchange_id),
        "attempt": row.item.attempt,
        # A group may be a session's or a person's name: its hash tells siblings as well.
        "group": hashlib.sha256(row.group.encode()).hexdigest(),
        "verdict": row.item.verdict,
        "rule": row.item.verdict_rule,
        "judgements": [
            {"id": j.pk, "reviewer": j.reviewer_id, "source": j.source, "decision": j.decision}
            for j in row.judgements
        ],
    }


def manifest(version: DatasetVersion) -> dict[str, Any]:
    """The manifest as built. Raises artefacts.MissingError or DamagedError."""
    content: dict[str, Any] = json.loads(artefacts.get(version.hash))
    return content


def examples(version: DatasetVersion, split: DatasetRow.Split) -> list[Example]:
    """A split's rows in the file's order, hash-checked. Raises artefacts.MissingError or DamagedError."""
    return list(_read(artefacts.get(manifest(version)["files"][split.value]["sha256"])))


def _read(content: bytes) -> Iterable[Example]:
    for line in content.splitlines():
        *messages, answer = json.loads(line)["messages"]
        yield Example(messages, answer["content"], hashlib.sha256(line).hexdigest())


def majority_answer(version: DatasetVersion) -> str:
    """The answer that most rows to learn from have; the first in the alphabet among equals."""
    balance: dict[str, dict[str, int]] = version.balance
    return min(balance, key=lambda answer: (-balance[answer]["train"], answer))


def canonical(value: Any) -> bytes:
    """One way to write a value as JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
