"""A home in which one user's text stands in every place: made, and worked on, by processes of their own.

    python -m tests.flywheel.erasable make
    python -m tests.flywheel.erasable erase

Needs FLYWHEEL_HOME and FLYWHEEL_CLICKHOUSE_URL. A file of SQLite and folders of files can be searched for
what must not be there any more; a database in memory can't.
"""

# ruff: noqa: PLC0415 - models can only be imported after setup()

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import django

from inference import readers

MARK = "xyzzy-marker"
DEATHS = [
    ("inference.erasing", "announce", "after"),
    ("flywheel.copies", "_empty_runs", "before"),
    ("flywheel.artefacts", "put", "after"),  # new files, no row names them
    ("flywheel.artefacts", "delete", "before"),  # rows emptied, old files still there
    ("flywheel.copies", "empty_items", "before"),
    ("inference.erasing", "delete", "before"),
    ("flywheel.erasure", "_clean_database", "before"),
]
"""Module, function, and when of its first call."""


@readers.as_the_system()
def make() -> None:
    """The user's exchange was judged, became a row to learn from and an exam's case, and a run learned it."""
    from django.core.management import call_command
    from django.utils import timezone

    from annotations.models import Annotation, Queue
    from flywheel import training
    from flywheel.models import DatasetRow, Evaluation, EvaluationCase, Job, TrainingRun
    from inference import clickhouse
    from inference.drain import Drain
    from inference.models import SavedView
    from tests.flywheel import wheel_data
    from tests.flywheel.desk import open_desk
    from tests.inference import spooled

    call_command("migrate", verbosity=0)
    clickhouse.migrate()
    home = Path(os.environ["FLYWHEEL_HOME"])
    asked = [f"{MARK} coughs, case {number}" for number in range(6)]
    raws = [
        spooled.raw(
            n, user=MARK, session=f"{MARK} {n}", messages=[{"role": "user", "content": text}], text=MARK
        )
        for n, text in enumerate(asked)
    ]
    bobs = list(spooled.raws(range(20, 24), user="bob"))
    exams = [spooled.raw(50 + n, text=MARK, key="evaluation") for n in range(2)]
    spooled.spool(home / "spool", [*raws, *exams, *bobs])
    drain = Drain(home / "spool")
    while drain.step():
        pass
    drain.close()
    desk = open_desk()
    for raw, text in zip(raws, asked, strict=True):
        item = desk.judge(text, f"{MARK} answered", right=f"{MARK} corrected", group=f"{MARK} group {text}")
        item.exchange_id = raw.exchange_id
        item.save()
        Annotation.objects.filter(item=item).update(note=f"note on {MARK}", values={"further": MARK})
    _judge_bobs(desk, bobs)
    desk.fill(20)
    line = f"route:icd-chapter user:{MARK}"
    Queue.objects.update(filter=line)
    SavedView.objects.create(owner=desk.engineer, name="theirs", filter=line)
    version = desk.build(exam_rows=8)
    assert {row.split for row in _theirs(version)} == {"train", "exam"}
    now = timezone.now()
    adapter = desk.adapter()
    run = TrainingRun.objects.create(
        dataset_version=version,
        base=desk.base,
        job=wheel_data.job(Job.Kind.TRAINING, desk.engineer, now),
        config=training.Config().as_dict(),
        folder=str(home / "training" / "1"),
        adapter=adapter,
    )
    training._prepare(run, Path(run.folder))
    learned = next(row for row in _theirs(version) if row.split == DatasetRow.Split.TRAIN)
    question = learned.item.messages[-1]["content"]
    answers = [
        {"question": question, "expected": MARK, "answer": MARK},
        {"question": "?", "expected": "!", "answer": "!"},
    ]
    wheel_data._write_lines(Path(run.folder, "answers.jsonl"), [{"step": 1, "epoch": 1, "answers": answers}])
    evaluation = Evaluation.objects.create(
        dataset_version=version,
        baseline=desk.base,
        candidate=adapter,
        route=desk.route,
        job=wheel_data.job(Job.Kind.EVALUATION, desk.engineer, now),
    )
    case = next(row for row in _theirs(version) if row.split == DatasetRow.Split.EXAM)
    EvaluationCase.objects.create(
        evaluation=evaluation,
        row=case,
        question=MARK,
        expected=MARK,
        baseline_answer=MARK,
        candidate_answer=MARK,
        baseline_exchange=exams[0].exchange_id,
        candidate_exchange=exams[1].exchange_id,
    )


def _judge_bobs(desk: Any, raws: Sequence[Any]) -> None:
    """Another user's dataset, whose recipe names the one that is erased, too."""
    from annotations.models import Queue
    from inference import filters, readers
    from inference.exchange import parse
    from inference.rows import moment

    queue = Queue.objects.create(slug="bobs", name="Bob's")
    bobs = replace(desk, queue=queue)
    for raw in raws:
        item = bobs.judge(f"bob {raw.exchange_id}", "Eye")
        item.exchange_id, item.started_at = UUID(raw.exchange_id), moment(parse(raw).started_us)
        item.save()
    with readers.as_the_system():
        assert bobs.build("bobs", "bobs", filter=filters.parse(f"user:bob,{MARK} -session:{MARK}")).train_rows


def _theirs(version: Any) -> list[Any]:
    return [r for r in version.rows.select_related("item") if MARK in str(r.item.messages)]


def erase() -> None:
    """Begin the erasure, be killed at each of ``DEATHS`` in turn, and be taken up again to the end."""
    from django.core.management import call_command
    from django.db import connections

    for death in DEATHS:
        connections.close_all()
        child = os.fork()
        if not child:
            _die(*death)
            os._exit(1)  # it did not come to that call
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"was not killed at {death}: {status}"
    _forget_lease()
    call_command("erase_user", "--resume", "1", "--here")


def _die(module: str, name: str, when: str) -> None:
    from flywheel import erasure, jobs
    from flywheel.models import Erasure
    from flywheel.tasks import WORK

    place: Any = import_module(module)
    original: Callable[..., Any] = getattr(place, name)

    def dying(*given: Any, **named: Any) -> None:
        if when == "after":
            original(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, dying)
    one = Erasure.objects.first() or erasure.start(MARK, "a" * 30, None)
    _forget_lease()
    jobs.run(one.job_id, WORK)


def _forget_lease() -> None:
    """As if the dead worker's lease had run out."""
    from django.utils import timezone

    from flywheel.models import Job

    Job.objects.filter(state=Job.State.RUNNING).update(
        lease_until=timezone.now() - timedelta(seconds=1), attempts=0
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")
    django.setup()
    {"make": make, "erase": erase}[sys.argv[1]]()
