"""Training runs: plan one honestly, supervise the trainer's process, install the adapter it made.

Knows the run's folder (flywheel/trainer/train_lora.py writes into it), what a run costs, and how an adapter
gets its name and hash. Learning itself happens in the trainer's own environment; which rows there are is
flywheel.datasets' matter, and what answers traffic flywheel.rollout's.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from tokenizers import Tokenizer

from flywheel import datasets, jobs
from flywheel.models import DatasetRow, DatasetVersion, Job, TrainingRun
from inference.models import ModelVersion

TRAINER = Path(__file__).parent / "trainer" / "train_lora.py"
TOKENS_PER_SECOND = 470.0
"""Of a 135M model on two cores, until a run here has been measured."""
START_SECONDS = 20.0
"""Loading the model and the five answers an epoch, until measured."""
TOKENS_A_MESSAGE = 5
"""What a chat template adds around a message, about."""
STOP_SECONDS = 60.0
"""How long the trainer may take to write its checkpoint before it is killed."""
SILENT_SECONDS = 900.0
"""A trainer that does not finish one step in this time hangs."""
STOPPED, REFUSED = 75, 65  # the trainer's exit statuses


@dataclass(frozen=True, slots=True)
class Config:
    """How to train; the defaults are what worked for short answers. Raises ValueError out of bounds."""

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-3
    batch_size: int = 8
    epochs: int = 3
    seed: int = 1
    max_tokens: int = 512
    """Longer rows are left out."""
    watch_rows: int = 8
    """Rows, of whole groups, taken out of those to learn from, to see what learning does to unseen ones. The
    exam is for the evaluation alone."""

    def __post_init__(self) -> None:
        bounds = {
            "rank": (1, 64),
            "alpha": (1, 256),
            "learning_rate": (1e-6, 1e-1),
            "batch_size": (1, 256),
            "epochs": (1, 50),
            "seed": (0, 2**31),
            "max_tokens": (16, 32768),
            "watch_rows": (0, 1000),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie between {low:g} and {high:g}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would use and cost."""

    rows: int
    watched: int
    steps: int
    tokens: int
    """All epochs together, about."""
    seconds: float
    measured: bool
    """Whether the seconds follow from an earlier run here, or from another machine's figure."""
    why_not: str


@dataclass(frozen=True, slots=True)
class Step:
    """One line of metrics.jsonl."""

    step: int
    total: int
    epoch: int
    loss: float
    eval_loss: float | None
    """On the watched rows, at the end of an epoch."""
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_per_second: float
    memory_bytes: int
    time: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model answered to the same five watched questions after an epoch (0: before learning)."""

    step: int
    epoch: int
    answers: list[dict[str, str]]
    """question, expected, answer"""


def plan(version: DatasetVersion, base: ModelVersion, config: Config) -> Plan:
    """What training ``base`` on ``version`` would use and cost. Reads files, changes nothing."""
    why_not = _why_not(version, base)
    if why_not:
        return Plan(0, 0, 0, 0, 0.0, False, why_not)
    learned, watched = split(version, config)
    tokens = _tokens(learned, base) * config.epochs
    steps = -(-len(learned) // config.batch_size) * config.epochs
    last = TrainingRun.objects.filter(job__state=Job.State.DONE, base=base).first()
    if last is None:
        seconds = tokens / TOKENS_PER_SECOND + START_SECONDS
    else:
        seconds = tokens / last.results["tokens_per_second"] + last.results["overhead_seconds"]
    why_not = "" if learned else "Every row would be watched and none learned from: build more rows."
    return Plan(len(learned), len(watched), steps, tokens, seconds, last is not None, why_not)


def _why_not(version: DatasetVersion, base: ModelVersion) -> str:
    if not version.hash:
        return f"{version} is not built yet."
    if base.kind != ModelVersion.Kind.BASE:
        return f"{base} is an adapter: train the model it changes."
    if not base.path or not Path(base.path, "config.json").is_file():
        return f"The files of {base} are not on this machine."
    if shutil.which(settings.TRAIN_PYTHON) is None:
        return f"There is no training environment at {settings.TRAIN_PYTHON} (FLYWHEEL_TRAIN_PYTHON)."
    return ""


def split(version: DatasetVersion, config: Config) -> tuple[list[datasets.Example], list[datasets.Example]]:
    """(rows to learn from, rows to watch): whole groups are watched, until there are ``watch_rows``."""
    examples = datasets.examples(version, DatasetRow.Split.TRAIN)
    origins = [row for row in datasets.manifest(version)["rows"] if row["split"] == DatasetRow.Split.TRAIN]
    groups = {row["sha256"]: row["group"] for row in origins}
    sizes = Counter(groups.values())
    watched: set[str] = set()
    count = 0
    for group in sorted(sizes, key=lambda g: hashlib.sha256(f"{config.seed} {g}".encode()).digest()):
        if count + sizes[group] <= min(config.watch_rows, len(examples) // 4):
            watched.add(group)
            count += sizes[group]
    learned = [e for e in examples if groups[e.hash] not in watched]
    return learned, [e for e in examples if groups[e.hash] in watched]


def _tokens(examples: Iterable[datasets.Example], base: ModelVersion) -> int:
    texts = [
        message["content"] if isinstance(message.get("content"), str) else json.dumps(message)
        for e in examples
        for message in [*e.messages, {"content": e.answer}]
    ]
    path = Path(base.path, "tokenizer.json")
    if not path.is_file():
        return sum(len(text) // 4 + TOKENS_A_MESSAGE for text in texts)
    tokenizer: Any = Tokenizer.from_file(str(path))
    return sum(len(e.ids) + TOKENS_A_MESSAGE for e in tokenizer.encode_batch(texts, add_special_tokens=False))


def start(
    version: DatasetVersion, base: ModelVersion, config: Config, key: str, user: User | None
) -> TrainingRun:
    """Begin a run; the same key again gives the same run.

    Raises jobs.RefusedError with the plan's reason, jobs.KeyReusedError when the key meant another run.
    """
    with transaction.atomic():
        job, new = jobs.start(Job.Kind.TRAINING, key, user)
        if not new:
            run: TrainingRun = job.training_run
            if (run.dataset_version_id, run.base_id, run.config) != (version.pk, base.pk, config.as_dict()):
                raise jobs.KeyReusedError(f"This key already began {run}.")
            return run
        planned = plan(version, base, config)
        if planned.why_not:
            raise jobs.RefusedError(planned.why_not)
        Job.objects.filter(pk=job.pk).update(total=planned.steps)
        run = TrainingRun.objects.create(dataset_version=version, base=base, job=job, config=config.as_dict())
        run.folder = str(settings.HOME / "training" / str(run.pk))
        run.save(update_fields=["folder"])
        return run


def supervise(run: TrainingRun, lease: jobs.Lease) -> None:
    """Run the trainer to its end, with signs of life; begun again, it goes on from the last checkpoint."""
    folder = Path(run.folder)
    if not (folder / "result.json").is_file():
        _prepare(run, folder)
        _train(folder, lease)
    version_folder, weights = install(folder / "adapter", run.dataset_version.dataset.name)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    seconds = max(result["seconds"], 1e-3)
    steps = metrics(run)
    run.results = {
        **result,
        "tokens_per_second": result["tokens"] / seconds,
        "overhead_seconds": max(0.0, _wall_seconds(folder) - seconds),
        "loss": steps[-1].loss if steps else None,
        "eval_loss": steps[-1].eval_loss if steps else None,
    }
    with lease.complete(f"Trained {version_folder.name} in {result['steps']:,} steps."):
        run.adapter = _register(run, version_folder, weights)
        run.save(update_fields=["results", "adapter"])
    (folder / "checkpoint.pt").unlink(missing_ok=True)  # as big as the adapter three times, of use no more


def _prepare(run: TrainingRun, folder: Path) -> None:
    config = Config.from_dict(run.config)
    learned, watched = split(run.dataset_version, config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train.jsonl", learned), ("watch.jsonl", watched)):
        lines = [
            datasets.canonical({"messages": [*e.messages, {"role": "assistant", "content": e.answer}]})
            + b"\n"
            for e in part
        ]
        (folder / name).write_bytes(b"".join(lines))
    told = {**run.config, "model": run.base.path, "base_name": run.base.name}
    del told["watch_rows"]
    (folder / "config.json").write_bytes(datasets.canonical(told))


def _train(folder: Path, lease: jobs.Lease) -> None:
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - the operator's own setting and our own file
            [settings.TRAIN_PYTHON, str(TRAINER), str(folder)],
            stdin=subprocess.PIPE,  # its end tells the trainer that its supervisor is gone
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    try:
        _watch(process, folder, lease)
    finally:
        _end(process)
    if process.returncode != 0:
        raise jobs.FailedError(_failure(process.returncode, folder))


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("FLYWHEEL_")
    }
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    repeatable = {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return {**kept, **offline, **repeatable, "TOKENIZERS_PARALLELISM": "false"}


def _watch(process: subprocess.Popen[bytes], folder: Path, lease: jobs.Lease) -> None:
    moved, heard = 0, time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            return
        steps = _steps(folder)
        if len(steps) != moved:
            moved, heard = len(steps), time.monotonic()
        if time.monotonic() - heard > SILENT_SECONDS:
            raise jobs.FailedError(
                f"The trainer did not finish a step in {SILENT_SECONDS / 60:.0f} minutes and was stopped. "
                "Its last checkpoint is kept. Look at the machine's load, then resume."
            )
        if steps:
            lease.beat(steps[-1].step, steps[-1].total, sentence(steps))
        else:
            lease.beat(message="Loads the model.")


def sentence(steps: list[Step]) -> str:
    """How far a run is, from all its steps so far (at least one)."""
    last, recent = steps[-1], steps[-20:]
    a_step = sum(step.tokens / step.tokens_per_second for step in recent) / len(recent)
    left = (last.total - last.step) * a_step
    trend = ""
    if len(steps) >= 20:
        ago, now = (sum(s.loss for s in part) / 10 for part in (recent[:10], recent[10:]))
        trend = " and falling" if now < ago * 0.98 else " and rising" if now > ago * 1.02 else ", steady"
    return f"Step {last.step:,} of {last.total:,}, about {left:,.0f} s left, loss {last.loss:.2f}{trend}."


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop it if it still runs: first asked, so that it writes its checkpoint, then killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin:
        process.stdin.close()


def _failure(status: int, folder: Path) -> str:
    safe = "The rows and the last checkpoint are safe."
    lines = log_tail(folder, 5)
    if status == REFUSED:
        return (
            f"{lines[-1].partition(' ')[2] if lines else 'The rows were refused.'} {safe} Build other rows."
        )
    if status == STOPPED:
        return f"The trainer was asked to stop by someone else. {safe} Resume goes on from there."
    if status == -9:
        return f"The system killed the trainer, probably for want of memory. {safe} Free some, then resume."
    return f"The trainer ended with status {status}. {safe} Its last lines:\n" + "\n".join(lines)


def _wall_seconds(folder: Path) -> float:
    return (folder / "result.json").stat().st_mtime - (folder / "config.json").stat().st_mtime


def install(made: Path, name: str) -> tuple[Path, str]:
    """Put an adapter where the engines look for it: (its folder, SHA-256 of its weights).

    The folder is named NAME-HASH8 and appears whole or not at all; engines cache by name and path, so other
    weights never come under the same ones.
    """
    weights = weights_hash(made)
    folder = settings.ADAPTERS / f"{name}-{weights[:8]}"
    if folder.is_dir() and weights_hash(folder) == weights:
        return folder, weights
    settings.ADAPTERS.mkdir(parents=True, exist_ok=True)
    part = settings.ADAPTERS / f".{folder.name}.{uuid.uuid4().hex}"
    shutil.copytree(made, part)
    if folder.exists():
        shutil.rmtree(folder)  # damaged: the name says that other bytes belong here
    part.rename(folder)
    return folder, weights


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) that names an adapter's weights: of the list of its files and their hashes.

    The list has a line "HASH  NAME" for each file of the folder, in order of name, as
    `sha256sum * | sha256sum` gives it: settings such as alpha change answers as much as the weights do.
    """
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _register(run: TrainingRun, folder: Path, weights: str) -> ModelVersion:
    version, new = ModelVersion.objects.get_or_create(
        name=folder.name,
        defaults={
            "kind": ModelVersion.Kind.ADAPTER,
            "base": run.base,
            "weights": weights,
            "tokenizer": run.base.tokenizer,
            "path": str(folder),
        },
    )
    if new:
        version.upstreams.set(run.base.upstreams.all())
    return version


def metrics(run: TrainingRun) -> list[Step]:
    """Every step so far; empty before the first."""
    return _steps(Path(run.folder))


def answers(run: TrainingRun) -> list[Answers]:
    """What it said to the same questions at each checkpoint so far."""
    return [Answers(**line) for line in _lines(Path(run.folder, "answers.jsonl"))]


def log_tail(folder: Path, count: int = 40) -> list[str]:
    """The last lines of the trainer's log."""
    path = folder / "log.txt"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return text.rstrip().splitlines()[-count:]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # The last piece is empty, or a line that is being written.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _steps(folder: Path) -> list[Step]:
    return [Step(**line) for line in _lines(folder / "metrics.jsonl")]
