"""A wheel turned as far as a test wants: people, route, queue, dataset, run, evaluation, rollout."""

import hashlib
import json
import random
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from django.contrib.auth.models import User
from django.utils import timezone

from annotations.models import Annotation, Item, Queue
from flywheel import datasets, jobs, rollout, statistics, training
from flywheel.models import (
    DatasetRow,
    DatasetVersion,
    Evaluation,
    EvaluationCase,
    Job,
    Rollout,
    TrainingRun,
)
from flywheel.tasks import WORK
from inference.models import ModelVersion, Proxy, Route, RouteTarget, RoutingVersion, Upstream
from tests import people
from tests.flywheel.tiny_engine import TinyEngine, serve

PHRASES = [
    ("Wheezing after exercise", "Respiratory"),
    ("Acute bronchitis due to rhinovirus", "Respiratory"),
    ("Deviated nasal septum", "Respiratory"),
    ("Unstable angina", "Circulatory"),
    ("Varicose veins with ulcer of calf", "Circulatory"),
    ("Chronic atrial fibrillation", "Circulatory"),
    ("Perforated duodenal ulcer", "Digestive"),
    ("Umbilical hernia with gangrene", "Digestive"),
    ("Displaced fracture of scaphoid bone", "Injury"),
    ("Burn of third degree of thigh", "Injury"),
    ("Laceration of spleen", "Injury"),
    ("Sprain of ankle ligament", "Injury"),
    ("Foreign body in cornea", "Injury"),
    ("Malignant neoplasm of pancreas", "Neoplasms"),
    ("Benign lipoma of trunk", "Neoplasms"),
    ("Iron deficiency anaemia", "Blood"),
    ("Type 2 diabetes with neuropathy", "Endocrine"),
    ("Hyperthyroidism with storm", "Endocrine"),
    ("Recurrent depressive disorder, mild", "Mental"),
    ("Migraine with aura", "Nervous system"),
    ("Bell's palsy", "Nervous system"),
    ("Age-related nuclear cataract", "Eye"),
    ("Acute serous otitis media", "Ear"),
    ("Psoriasis vulgaris", "Skin"),
    ("Rheumatoid nodule of elbow", "Musculoskeletal"),
    ("Spinal stenosis, lumbar region", "Musculoskeletal"),
    ("Calculus of kidney", "Genitourinary"),
    ("Mild pre-eclampsia", "Pregnancy"),
    ("Cleft palate with cleft lip", "Congenital"),
    ("Typhoid pneumonia", "Infections"),
    ("Fall from ladder", "External causes"),
    ("Elevated blood glucose level", "Symptoms"),
]


NOBODY = "http://127.0.0.1:9"
"""Where no engine listens."""
WRONG = ("The patient has a", "Symptoms", "Circulatory", "Injury")
"""What a model says instead, by epoch."""


def digest(text: str) -> str:
    """A SHA-256 that stands for a file nobody wrote."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Wheel:
    """Everything `turn` made; what was not reached is absent."""

    operator: User
    engineer: User
    reviewer: User
    route: Route
    base: ModelVersion
    queue: Queue
    folder: Path
    items: list[Item] = field(default_factory=list)

    version: DatasetVersion = field(init=False)
    run: TrainingRun = field(init=False)
    adapter: ModelVersion = field(init=False)
    evaluation: Evaluation = field(init=False)
    rollout: Rollout = field(init=False)


STAGES = ("nothing", "judged", "dataset", "trained", "evaluated", "rolled_out")


def turn(upto: str, folder: Path, *, items: int = 48, now: datetime | None = None) -> Wheel:
    """The wheel up to a stage. ``folder`` takes the run's files."""
    now = now or timezone.now()
    wheel = _people_and_route(folder, now)
    reached = STAGES.index(upto)
    for stage, make in enumerate((_judge, _dataset, _train, _evaluate, _roll_out), 1):
        if stage <= reached:
            make(wheel, now, items)
    return wheel


def job(kind: str, user: User, now: datetime, *, state: str = Job.State.DONE, **fields: object) -> Job:
    """A job that began ten minutes before it ended."""
    values: dict[str, object] = {
        "key": uuid.uuid4().hex,
        "created_at": now - timedelta(minutes=10),
        "started_at": now - timedelta(minutes=10),
        "finished_at": now if state not in (Job.State.PENDING, Job.State.RUNNING) else None,
    }
    return Job.objects.create(kind=kind, created_by=user, state=state, **(values | fields))


def keep_base(wheel: Wheel) -> None:
    """Files that make the base model trainable here, as far as a plan looks."""
    folder = wheel.folder / "base"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    wheel.base.path = str(folder)
    wheel.base.save()


def do(work: Job) -> None:
    """Do a job here and now, as a worker would."""
    jobs.run(work.pk, WORK)


def _people_and_route(folder: Path, now: datetime) -> Wheel:
    operator, engineer, reviewer = people.operator(), people.engineer(), people.reviewer()
    upstream = Upstream.objects.create(name="cpu-1", base_url=NOBODY)
    base = ModelVersion.objects.create(
        name="smollm2-135m",
        kind=ModelVersion.Kind.BASE,
        weights=digest("base"),
        tokenizer=digest("tokenizer"),
        created_at=now - timedelta(days=13),
    )
    base.upstreams.add(upstream)
    route = Route.objects.create(name="icd", description="ICD-10-CM chapter of a clinical phrase", revision=1)
    RouteTarget.objects.create(route=route, model_version=base, weight=100)
    number = (RoutingVersion.objects.first() or RoutingVersion.objects.create()).number
    for name, behind in (("proxy-1", 0), ("proxy-2", 0), ("proxy-3", 0)):
        Proxy.objects.create(name=name, version=number - behind, applied_at=now, seen_at=now)
    queue = Queue.objects.create(
        slug="coding-desk",
        name="Coding desk",
        filter="route:icd",
        created_by=engineer,
        answers=sorted({chapter for _, chapter in PHRASES}),
    )
    queue.reviewers.add(reviewer)
    return Wheel(operator, engineer, reviewer, route, base, queue, folder)


def _judge(wheel: Wheel, now: datetime, items: int) -> None:
    """Two of three settled by people, the rest by the reference reviewer; a few still wait or disagree."""
    dice = random.Random(7)
    made = []
    for index in range(items):
        phrase, chapter = PHRASES[index % len(PHRASES)]
        text = phrase if index < len(PHRASES) else f"{phrase}, episode {index // len(PHRASES) + 1}"
        open_one = index >= items - 8
        wrong = dice.random() < 0.6
        settled = now - timedelta(days=dice.uniform(1, 13))
        made.append(
            Item(
                queue=wheel.queue,
                exchange_id=uuid.UUID(int=(0x018F << 112) | (7 << 76) | (index + 1)),
                started_at=settled - timedelta(hours=5),
                group=f"group-{index}",
                position=index,
                messages=[
                    {"role": "system", "content": "ICD-10-CM chapter desk."},
                    {"role": "user", "content": text},
                ],
                answer=dice.choice([other for _, other in PHRASES if other != chapter]) if wrong else chapter,
                state=Item.State.CONFLICT
                if index == items - 1
                else Item.State.WAITING
                if open_one
                else Item.State.SETTLED,
                verdict="" if open_one else Item.Verdict.CORRECTED if wrong else Item.Verdict.APPROVED,
                verdict_answer="" if open_one else chapter,
                verdict_rule="" if open_one else "one judgement decides",
                settled_at=None if open_one else settled,
            )
        )
    wheel.items = Item.objects.bulk_create(made)
    Annotation.objects.bulk_create(_judgements(wheel, dice))


def _judgements(wheel: Wheel, dice: random.Random) -> Iterable[Annotation]:
    reference = User.objects.create_user("reference", first_name="Reference reviewer")
    for item in wheel.items:
        if item.state != Item.State.SETTLED:
            continue
        by_person = dice.random() < 0.3
        corrected = item.verdict == Item.Verdict.CORRECTED
        yield Annotation(
            item=item,
            reviewer=wheel.reviewer if by_person else reference,
            decision=Annotation.Decision.CORRECT if corrected else Annotation.Decision.APPROVE,
            answer=item.verdict_answer if corrected else "",
            key=uuid.uuid4().hex,
            source=Annotation.Source.PERSON if by_person else Annotation.Source.REFERENCE,
            seconds=dice.uniform(4, 20) if by_person else None,
            created_at=item.settled_at or timezone.now(),
        )


def _dataset(wheel: Wheel, now: datetime, items: int) -> None:
    """Built by the real code, from the real verdicts."""
    recipe = datasets.Recipe(exam_rows=items // 4, seed=7)
    version = datasets.start("icd-chapters", wheel.queue, recipe, uuid.uuid4().hex, wheel.engineer)
    do(version.job)
    DatasetVersion.objects.filter(pk=version.pk).update(created_at=now - timedelta(hours=9))
    wheel.version = DatasetVersion.objects.select_related("dataset__queue", "job").get(pk=version.pk)
    assert wheel.version.job.state == Job.State.DONE, wheel.version.job.error


def write_run(folder: Path, until: int, total: int = 96, epoch_steps: int = 32) -> None:
    """A run's files up to a step, as the trainer writes them: a falling loss, better answers each epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(3)
    began = time.time() - 2.2 * until
    steps: list[dict[str, object]] = []
    answers = [_answers(0, 0, dice)]
    for step in range(1, until + 1):
        fit = 2.4 * 0.965**step + 0.18
        ends = step % epoch_steps == 0
        steps.append(
            {
                "step": step,
                "total": total,
                "epoch": (step - 1) // epoch_steps + 1,
                "loss": fit + dice.uniform(-0.06, 0.06) * (1 + fit),
                "eval_loss": fit + 0.22 if ends else None,
                "learning_rate": 1e-3 * min(step / 5, (total - step) / (total - 5)),
                "gradient_norm": 1.2 * fit + dice.uniform(0, 0.3),
                "tokens": 230,
                "tokens_per_second": 465.0 + dice.randint(-22, 22),
                "memory_bytes": int(1.9e9 + 2e6 * min(step, 30)),
                "time": began + 2.2 * step,
            }
        )
        if ends:
            answers.append(_answers(step, step // epoch_steps, dice))
    _write_lines(folder / "metrics.jsonl", steps)
    _write_lines(folder / "answers.jsonl", answers)
    log = ["18:02:11 loading smollm2-135m on cpu with 2 threads"]
    log += [f"18:0{3 + step // 32}:20 checkpoint at step {step}" for step in range(32, until + 1, 32)]
    (folder / "log.txt").write_text("".join(line + "\n" for line in log), encoding="utf-8")


def _answers(step: int, epoch: int, dice: random.Random) -> dict[str, object]:
    said = [
        (phrase, chapter, chapter if dice.random() < (0.0, 0.4, 0.7, 0.9)[epoch] else WRONG[epoch])
        for phrase, chapter in PHRASES[3:28:5]
    ]
    made = [{"question": q, "expected": e, "answer": a} for q, e, a in said]
    return {"step": step, "epoch": epoch, "answers": made}


def _write_lines(path: Path, lines: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _train(wheel: Wheel, now: datetime, items: int) -> None:
    wheel.adapter = ModelVersion.objects.create(
        name="icd-chapters-3f2a91c0",
        kind=ModelVersion.Kind.ADAPTER,
        base=wheel.base,
        weights="3f2a91c0" + digest("adapter")[8:],
        tokenizer=wheel.base.tokenizer,
        created_at=now - timedelta(hours=6),
    )
    wheel.adapter.upstreams.set(wheel.base.upstreams.all())
    wheel.run = training_run(wheel, job(Job.Kind.TRAINING, wheel.engineer, now - timedelta(hours=6)), 96)
    wheel.run.adapter = wheel.adapter
    wheel.run.results = {
        "steps": 96,
        "tokens": 22080,
        "seconds": 131.0,
        "rows": wheel.version.train_rows,
        "tokens_per_second": 168.5,
        "overhead_seconds": 18.0,
        "loss": 0.26,
        "eval_loss": 0.48,
    }
    wheel.run.created_at = now - timedelta(hours=6)
    wheel.run.save()


def training_run(wheel: Wheel, work: Job, until: int) -> TrainingRun:
    """A run at a step, with its files."""
    run = TrainingRun.objects.create(
        dataset_version=wheel.version, base=wheel.base, job=work, config=training.Config(seed=7).as_dict()
    )
    folder = wheel.folder / f"run-{run.pk}"
    write_run(folder, until)
    run.folder = str(folder)
    run.save()
    return run


def _evaluate(wheel: Wheel, now: datetime, items: int) -> None:
    rows = list(wheel.version.rows.filter(split=DatasetRow.Split.EXAM).select_related("item").order_by("id"))
    dice = random.Random(11)
    cases = []
    wheel.evaluation = Evaluation.objects.create(
        dataset_version=wheel.version,
        baseline=wheel.base,
        candidate=wheel.adapter,
        route=wheel.route,
        job=job(
            Job.Kind.EVALUATION, wheel.engineer, now - timedelta(hours=3), done=len(rows), total=len(rows)
        ),
        created_at=now - timedelta(hours=3),
    )
    for row in rows:
        expected = row.item.verdict_answer
        baseline_right, candidate_right = dice.random() < 0.02, dice.random() < 0.58
        cases.append(
            EvaluationCase(
                evaluation=wheel.evaluation,
                row=row,
                question=row.item.messages[-1]["content"],
                expected=expected,
                baseline_answer=expected if baseline_right else "The patient has",
                baseline_right=baseline_right,
                candidate_answer=expected if candidate_right else "Symptoms",
                candidate_right=candidate_right,
                baseline_exchange=uuid.uuid4(),
                candidate_exchange=uuid.uuid4(),
            )
        )
    EvaluationCase.objects.bulk_create(cases)
    wheel.evaluation.results = statistics.compare(
        [case.expected for case in cases],
        "Injury",
        [bool(case.baseline_right) for case in cases],
        [bool(case.candidate_right) for case in cases],
    ).as_dict()
    wheel.evaluation.results["seconds_a_call"] = 0.21
    wheel.evaluation.save()


def _roll_out(wheel: Wheel, now: datetime, items: int) -> None:
    """Through the real switch, with an engine that is there for as long as it is warmed."""
    then = now - timedelta(hours=1)
    wheel.rollout = roll_out(wheel, then)
    Proxy.objects.update(applied_at=then + timedelta(seconds=0.4))


def roll_out(wheel: Wheel, at: datetime, share: int = 100) -> Rollout:
    """The candidate on the route, in force since ``at``."""
    now = rollout.targets(wheel.route)
    route = Route.objects.get(pk=wheel.route.pk)
    made = Rollout.objects.create(
        route=route,
        action=Rollout.Action.FORWARD,
        candidate=wheel.adapter,
        share=share,
        before=[asdict(target) for target in now],
        after=[asdict(target) for target in rollout.shared(now, wheel.adapter, share)],
        evaluation=wheel.evaluation,
        decision="ship",
        planned_revision=route.revision,
        job=job(Job.Kind.ROLLOUT, wheel.operator, at, state=Job.State.PENDING),
        created_by=wheel.operator,
        created_at=at,
    )
    with serve(TinyEngine()) as engine:
        Upstream.objects.update(base_url=engine.url)
        do(made.job)
    Upstream.objects.update(base_url=NOBODY)
    Rollout.objects.filter(pk=made.pk).update(in_force_at=at)
    Proxy.objects.update(version=RoutingVersion.objects.get().number, applied_at=at, seen_at=timezone.now())
    wheel.route.refresh_from_db()
    made.refresh_from_db()
    return made
