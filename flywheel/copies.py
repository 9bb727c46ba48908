"""What SQL and files hold of exchanges (items, judgements, dataset rows, exam cases, runs' files), emptied.

Emptied, not removed: who judged what and when, and what was made of what, stays true; what was said goes.
Everything may be done twice, and again after being cut off anywhere: files are rewritten before the rows that
say what was in them are emptied, and a file that is to go is named in the receipt until it is gone. Leaves
the order of an erasure to flywheel.erasure, what is in the trace store to inference.erasing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import F

from annotations.models import Assignment, Item, Queue
from flywheel import artefacts, datasets, jobs
from flywheel.models import DatasetRow, DatasetVersion, Erasure, EvaluationCase, Rollout, TrainingRun
from inference.spool.files import replace as replace_file

GONE = "Erased at its owner's wish."
"""Stands where a person's text stood."""
RULE = "erased"
"""By which an emptied item left its queue."""
EXPIRED, EXPIRED_RULE = "Not kept any longer.", "expired"
"""The same of what a route keeps for so many days only."""
_CHUNK = 500
Beat = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Copies:
    """What was copied from some exchanges, by primary key."""

    items: list[int]
    pairs: list[int]
    """Items whose second answer is from one of them."""
    rows: list[int]
    cases: list[int]

    @property
    def counts(self) -> dict[str, int]:
        """place → how many, as a receipt has them."""
        found = {
            "items in queues": len(self.items) + len(self.pairs),
            "dataset rows": len(self.rows),
            "exam cases": len(self.cases),
        }
        return {place: number for place, number in found.items() if number}


def find(exchanges: Sequence[UUID]) -> Copies:
    """What was copied from these exchanges."""
    items = _pks(Item, "exchange_id", exchanges)
    rows = _pks(DatasetRow, "item_id", items)
    return Copies(
        items=items,
        pairs=_pks(Item, "other_exchange_id", exchanges),
        rows=rows,
        cases=_pks(EvaluationCase, "row_id", rows),
    )


def _pks(model: type[models.Model], name: str, values: Sequence[Any]) -> list[int]:
    found: list[int] = []
    for part in _parts(values):
        found += model._default_manager.filter(**{f"{name}__in": part}).values_list("pk", flat=True)
    return sorted(set(found))


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    # SQLite takes a limited number of values in a statement.
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def full(copies: Copies) -> int:
    """Of how many items the text still stands."""
    found = 0
    for part in _parts(copies.items):
        found += Item.objects.filter(pk__in=part).exclude(state=Item.State.FLAGGED, verdict_rule=RULE).count()
    for part in _parts(copies.pairs):
        found += Item.objects.filter(pk__in=part).exclude(other_answer__in=("", GONE)).count()
    return found


def exam_exchanges(copies: Copies) -> list[UUID]:
    """Exchanges in which an exam asked what these rows ask: they name no user and hold the same text."""
    found: set[UUID] = set()
    for part in _parts(copies.cases):
        for pair in EvaluationCase.objects.filter(pk__in=part).values_list(
            "baseline_exchange", "candidate_exchange"
        ):
            found |= {one for one in pair if one is not None}
    return sorted(found)


def used(copies: Copies) -> dict[str, list[str]]:
    """What was made with the rows: kind → names. A row that was only kept for the exam taught nothing."""
    versions: set[int] = set()
    taught: set[int] = set()
    for part in _parts(copies.rows):
        for version, split in DatasetRow.objects.filter(pk__in=part).values_list("version_id", "split"):
            versions.add(version)
            taught |= {version} if split == DatasetRow.Split.TRAIN else set()
    runs = TrainingRun.objects.filter(dataset_version__in=taught).select_related("adapter")
    adapters = {run.adapter for run in runs if run.adapter}
    evaluations = {
        str(case.evaluation)
        for part in _parts(copies.cases)
        for case in EvaluationCase.objects.filter(pk__in=part).select_related("evaluation")
    }
    found = {
        "dataset versions": map(
            str, DatasetVersion.objects.filter(pk__in=versions).select_related("dataset")
        ),
        "training runs": map(str, runs),
        "adapters": (f"{adapter} ({adapter.short})" for adapter in adapters),
        "evaluations": evaluations,
        "rollouts": map(
            str, Rollout.objects.filter(candidate__in=adapters).select_related("route", "candidate")
        ),
    }
    return {kind: sorted(names) for kind, names in ((k, set(n)) for k, n in found.items()) if names}


def empty(copies: Copies, erasure: Erasure, beat: Beat) -> None:
    """Take the text out of every copy. ``beat`` is called between parts. Raises jobs.FailedError."""
    for part in _parts(copies.rows):
        rows = list(DatasetRow.objects.filter(pk__in=part).exclude(hash="").select_related("item", "version"))
        by_version: dict[int, list[DatasetRow]] = {}
        for row in rows:
            by_version.setdefault(row.version_id, []).append(row)
        for version, theirs in by_version.items():
            beat()
            _empty_runs(version, theirs)
            _empty_version(DatasetVersion.objects.get(pk=version), theirs, erasure)
    delete_files(erasure)
    for part in _parts(copies.cases):
        beat()
        EvaluationCase.objects.filter(pk__in=part).update(
            question=GONE, expected="", baseline_answer="", candidate_answer=""
        )
    for part in _parts(copies.pairs):
        Item.objects.filter(pk__in=part).exclude(other_answer="").update(other_answer=GONE)
    for part in _parts(copies.items):
        beat()
        empty_items(part)


def _empty_runs(version: int, rows: Sequence[DatasetRow]) -> None:
    """The files that a trainer was given and wrote. What it learned stays learned: ``used`` names it."""
    hashes = {row.hash for row in rows}
    questions = {datasets.Example(row.item.messages, "", "").question for row in rows}
    for run in TrainingRun.objects.filter(dataset_version=version):
        for name in ("train.jsonl", "watch.jsonl"):
            _rewrite(Path(run.folder, name), lambda line: b"" if _sha256(line) in hashes else line)
        _rewrite(Path(run.folder, "answers.jsonl"), lambda line: _without_answers(line, questions))


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's lines; one that becomes empty goes. Whole or not at all."""
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines()
    changed = [change(line) for line in lines]
    if changed != lines:
        replace_file(path, b"".join(line + b"\n" for line in changed if line))


def _without_answers(line: bytes, questions: set[str]) -> bytes:
    said = json.loads(line)
    gone = {"question": GONE, "expected": "", "answer": ""}
    answers = [gone if one["question"] in questions else one for one in said["answers"]]
    return line if answers == said["answers"] else json.dumps(said | {"answers": answers}).encode()


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _empty_version(version: DatasetVersion, rows: Sequence[DatasetRow], erasure: Erasure) -> None:
    """Files and manifest anew without the rows; the old ones are noted down to be deleted."""
    try:
        before = datasets.manifest(version)
        manifest, balance = _without_rows(before, {row.hash for row in rows}, version.hash)
    except (artefacts.MissingError, artefacts.DamagedError) as error:
        raise jobs.FailedError(f"{version} can't be rewritten. {error} Then resume.") from error
    old = {version.hash, *(file["sha256"] for file in before["files"].values())}
    version.hash = artefacts.put(datasets.canonical(manifest))
    version.train_rows, version.exam_rows = (manifest["files"][split]["rows"] for split in ("train", "exam"))
    version.balance = balance
    with transaction.atomic():
        version.save(update_fields=["hash", "train_rows", "exam_rows", "balance"])
        DatasetRow.objects.filter(pk__in=[row.pk for row in rows]).update(hash="")
        erasure.files = sorted({*erasure.files, *old})
        erasure.save(update_fields=["files"])


def _without_rows(before: dict[str, Any], gone: set[str], hash: str) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: A002
    """The manifest and the balance of answers that are left."""
    files: dict[str, Any] = {}
    counted: dict[str, Counter[str]] = {}
    for split, file in before["files"].items():
        lines = [line for line in artefacts.get(file["sha256"]).splitlines() if _sha256(line) not in gone]
        content = b"".join(line + b"\n" for line in lines)
        files[split] = {"sha256": artefacts.put(content), "rows": len(lines), "bytes": len(content)}
        counted[split] = Counter(json.loads(line)["messages"][-1]["content"] for line in lines)
    answers = [answer for answer, _ in (counted["train"] + counted["exam"]).most_common()]
    manifest = {
        **before,
        "files": files,
        "rows": [row for row in before["rows"] if row["sha256"] not in gone],
        "erased": [*before.get("erased", []), {"from": hash, "rows": len(gone)}],
    }
    return manifest, {answer: {split: counted[split][answer] for split in counted} for answer in answers}


def delete_files(erasure: Erasure) -> None:
    """Delete what was noted down, but for what another version still has."""
    if not erasure.files:
        return
    needed: set[str] = set()
    for version in DatasetVersion.objects.exclude(hash=""):
        needed |= {version.hash, *(file["sha256"] for file in datasets.manifest(version)["files"].values())}
    gone = [digest for digest in erasure.files if digest not in needed]
    for digest in gone:
        artefacts.delete(digest)
    erasure.counts = erasure.counts | {"files": erasure.counts.get("files", 0) + len(gone)}
    erasure.files = []
    erasure.save(update_fields=["files", "counts"])


def empty_items(pks: Sequence[int], text: str = GONE, rule: str = RULE) -> None:
    """The items, and whatever hangs on them: a model that is added later is emptied without being named."""
    with transaction.atomic():
        Assignment.objects.filter(item__in=pks, done_at=None).delete()
        for relation in Item._meta.related_objects:
            model = relation.related_model
            if model is not DatasetRow and isinstance(model, type) and (blank := _blank(model)):
                model._default_manager.filter(**{f"{relation.field.name}__in": pks}).update(**blank)
        waiting = Counter(
            Item.objects.filter(pk__in=pks, state=Item.State.WAITING).values_list("queue_id", flat=True)
        )
        for queue, number in waiting.items():
            known = Queue.objects.filter(pk=queue, decided__isnull=False)
            known.update(decided=F("decided") + number)
        Item.objects.filter(pk__in=pks).update(
            **_blank(Item)
            | {
                "messages": [{"role": "user", "content": text}],
                "cut": False,
                "other_cut": False,
                "state": Item.State.FLAGGED,
                "verdict": "",
                "verdict_rule": rule,
                "revision": F("revision") + 1,
            }
        )


def _blank(model: type[models.Model]) -> dict[str, Any]:
    """Empty values for everything in which somebody may have written."""
    found: dict[str, Any] = {}
    for one in model._meta.concrete_fields:
        if isinstance(one, models.JSONField):
            found[one.name] = None if one.null else one.get_default() or {}
        elif isinstance(one, models.TextField | models.CharField) and not (one.choices or one.unique):
            found[one.name] = ""
    return found
