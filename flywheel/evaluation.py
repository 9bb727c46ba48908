"""Evaluations: a candidate and a baseline answer the same exam questions, through the proxy as products do.

Knows how an exam is sat (which questions, how they are asked, when an answer is right) and keeps each answer
as it comes. What the answers say together is flywheel.statistics', what follows from it flywheel.gate's
matter.
"""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import openai
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from flywheel import clients, datasets, jobs, statistics
from flywheel.models import DatasetRow, DatasetVersion, Evaluation, EvaluationCase, Job
from inference import purposes
from inference.models import ModelVersion, Route

AT_ONCE = 24
"""Calls under way at a time: enough to fill a small engine, few enough to leave room for traffic."""
CALL_SECONDS = 0.1
"""A call's share of the time, until an evaluation here has been measured."""
TIMEOUT_SECONDS = 120.0
TRIES = 3
Arm = Literal["baseline", "candidate"]
ARMS: tuple[Arm, Arm] = ("baseline", "candidate")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an evaluation would use and cost."""

    cases: int
    learned: int
    """Exam rows left out because one of the two learned from them or their siblings."""
    calls: int
    seconds: float
    measured: bool
    """Whether the seconds follow from an earlier evaluation here."""
    why_not: str


@dataclass(frozen=True, slots=True)
class Slice:
    """The cases that have one right answer."""

    expected: str
    baseline: statistics.Rate
    candidate: statistics.Rate


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of one model, and the exchange it came in."""

    text: str
    exchange: UUID | None


def plan(version: DatasetVersion, baseline: ModelVersion, candidate: ModelVersion) -> Plan:
    """What comparing the two on the version's exam would take. Reads files, changes nothing."""
    why_not = _why_not(version, baseline, candidate)
    if why_not:
        return Plan(0, 0, 0, 0.0, False, why_not)
    cases = len(_exam(version, baseline, candidate))
    last = Evaluation.objects.filter(job__state=Job.State.DONE).first()
    a_call = last.results["seconds_a_call"] if last else CALL_SECONDS
    why_not = "" if cases else "The two have learned from every question of this exam: build a new version."
    learned = version.exam_rows - cases
    return Plan(cases, learned, 2 * cases, 2 * cases * a_call, last is not None, why_not)


def _why_not(version: DatasetVersion, baseline: ModelVersion, candidate: ModelVersion) -> str:
    if not version.hash:
        return f"{version} is not built yet."
    if baseline == candidate:
        return "The candidate is what answers now: choose another."
    if not settings.EVALUATION_KEY:
        return "There is no API key for evaluations (FLYWHEEL_EVALUATION_KEY)."
    for model in (baseline, candidate):
        if not model.upstreams.filter(enabled=True).exists():
            return f"No engine serves {model}."
    return ""


def _exam(version: DatasetVersion, baseline: ModelVersion, candidate: ModelVersion) -> list[datasets.Example]:
    """The exam without what either has learned from, or a sibling of it."""
    learned = learned_groups(baseline) | learned_groups(candidate)
    groups = {row["sha256"]: row["group"] for row in datasets.manifest(version)["rows"]}
    return [e for e in datasets.examples(version, DatasetRow.Split.EXAM) if groups[e.hash] not in learned]


def learned_groups(model: ModelVersion) -> set[str]:
    """Hashes of the groups whose rows the model was trained on; none for a base model."""
    versions = DatasetVersion.objects.filter(training_runs__adapter=model).distinct()
    return {
        row["group"]
        for version in versions
        for row in datasets.manifest(version)["rows"]
        if row["split"] == DatasetRow.Split.TRAIN
    }


def start(
    version: DatasetVersion,
    baseline: ModelVersion,
    candidate: ModelVersion,
    route: Route,
    *,
    key: str,
    user: User | None,
) -> Evaluation:
    """Begin an evaluation for a route; the same key again gives the same one.

    Raises jobs.RefusedError with the plan's reason, jobs.KeyReusedError when the key meant another one.
    """
    what = {"dataset_version": version, "baseline": baseline, "candidate": candidate, "route": route}
    with transaction.atomic():
        job, new = jobs.start(Job.Kind.EVALUATION, key, user)
        if not new:
            evaluation: Evaluation = job.evaluation
            if any(getattr(evaluation, name) != value for name, value in what.items()):
                raise jobs.KeyReusedError(f"This key already began {evaluation}.")
            return evaluation
        planned = plan(version, baseline, candidate)
        if planned.why_not:
            raise jobs.RefusedError(planned.why_not)
        Job.objects.filter(pk=job.pk).update(total=planned.calls)
        return Evaluation.objects.create(
            dataset_version=version, baseline=baseline, candidate=candidate, route=route, job=job
        )


def run(evaluation: Evaluation, lease: jobs.Lease) -> None:
    """Ask what is not answered yet, keep every answer as it comes, then compare."""
    exam = _exam(evaluation.dataset_version, evaluation.baseline, evaluation.candidate)
    _lay_out(evaluation, exam)
    began, calls = time.monotonic(), _ask_all(evaluation, exam, lease)
    comparison = _compare(evaluation)
    a_call = (time.monotonic() - began) / calls if calls else CALL_SECONDS
    evaluation.results = {**comparison.as_dict(), "seconds_a_call": a_call}
    difference = comparison.over_baseline
    with lease.complete(f"{difference.gained:,} gained, {difference.lost:,} lost in {comparison.n:,} cases."):
        evaluation.save(update_fields=["results"])


def _lay_out(evaluation: Evaluation, exam: list[datasets.Example]) -> None:
    """One case a question, made before anything is asked; those of an earlier attempt stay."""
    rows = {row.hash: row for row in evaluation.dataset_version.rows.filter(split=DatasetRow.Split.EXAM)}
    cases = [
        EvaluationCase(evaluation=evaluation, row=rows[e.hash], question=e.question, expected=e.answer)
        for e in exam
    ]
    EvaluationCase.objects.bulk_create(cases, batch_size=500, ignore_conflicts=True)


def _ask_all(evaluation: Evaluation, exam: list[datasets.Example], lease: jobs.Lease) -> int:
    """Ask every open question of both; how many calls that took."""
    by_hash = {e.hash: e for e in exam}
    total = 2 * len(exam)
    max_tokens = _room(exam)
    waiting: dict[Future[Said], tuple[EvaluationCase, Arm]] = {}
    # The client closes last: calls in flight end before their connections do.
    with _client() as client, _pool() as pool:
        cases = list(evaluation.cases.filter(_open()).select_related("row"))
        # One arm after the other: on engines without kernels for it, one adapter costs its whole batch.
        for arm in ARMS:
            model = getattr(evaluation, arm).name
            tags = purposes.header(purposes.EVALUATION, evaluation.pk, arm=arm)
            for case in cases:
                if getattr(case, f"{arm}_right") is None:
                    messages = by_hash[case.row.hash].messages
                    asked = pool.submit(_ask, client, model, messages, max_tokens, tags)
                    waiting[asked] = (case, arm)
        calls = len(waiting)
        while waiting:
            answered, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in answered:
                case, arm = waiting.pop(future)
                _keep(case, arm, future.result())
            done = total - len(waiting)
            lease.beat(done, total, f"{done:,} of {total:,} answers.")
    return calls


def _open() -> Q:
    return Q(baseline_right=None) | Q(candidate_right=None)


def _room(exam: list[datasets.Example]) -> int:
    """Tokens an answer may take: twice what the longest right one probably needs. Rambling costs minutes."""
    longest = max(len(e.answer) for e in exam)
    return min(max(longest // 2 + 8, 16), 1024)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls alone: the database is only used by the caller's."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="exam")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _client() -> openai.OpenAI:
    return clients.client(settings.PROXY_URL, settings.EVALUATION_KEY, timeout=TIMEOUT_SECONDS, tries=TRIES)


def _ask(
    client: openai.OpenAI,
    model: str,
    messages: list[dict[str, object]],
    max_tokens: int,
    tags: dict[str, str],
) -> Said:
    """One greedy answer. Raises jobs.FailedError with what to do when there is none."""
    try:
        response = client.chat.completions.with_raw_response.create(
            model=f"version:{model}",
            messages=messages,  # type: ignore[arg-type]
            temperature=0.0,
            max_tokens=max_tokens,
            extra_headers=tags,
        )
        text = response.parse().choices[0].message.content or ""
    except openai.APIError as error:
        raise jobs.FailedError(_failure(model, error)) from error
    exchange = response.headers.get("x-flywheel-exchange-id")
    return Said(text, UUID(exchange) if exchange else None)


def _failure(model: str, error: openai.APIError) -> str:
    kept = "Answers so far are kept; resume asks only the rest."
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return f"The proxy refused the evaluations' API key: {error.message}. {kept} Check the key first."
    if isinstance(error, openai.APIConnectionError):
        return f"The proxy at {settings.PROXY_URL} can't be reached. {kept} Start it first."
    return f"{model} gave no answer in {TRIES} tries: {error.message}. {kept} Check its engine first."


def _keep(case: EvaluationCase, arm: Arm, said: Said) -> None:
    # Both arms of a case come at any time, so each writes its own columns only.
    EvaluationCase.objects.filter(pk=case.pk).update(
        **{
            f"{arm}_answer": said.text,
            f"{arm}_right": is_right(said.text, case.expected),
            f"{arm}_exchange": said.exchange,
        }
    )


def is_right(answer: str, expected: str) -> bool:
    """Whether an answer is the expected one, case and spacing apart."""
    return " ".join(answer.split()).casefold() == " ".join(expected.split()).casefold()


def _compare(evaluation: Evaluation) -> statistics.Comparison:
    cases = list(evaluation.cases.exclude(_open()).order_by("row_id"))
    return statistics.compare(
        [case.expected for case in cases],
        datasets.majority_answer(evaluation.dataset_version),
        [bool(case.baseline_right) for case in cases],
        [bool(case.candidate_right) for case in cases],
    )


def comparison(evaluation: Evaluation) -> statistics.Comparison | None:
    """What a finished evaluation says; None before."""
    return statistics.Comparison.from_dict(evaluation.results) if evaluation.results else None


def slices(evaluation: Evaluation) -> list[Slice]:
    """By right answer, where the candidate gains least over the baseline first. Answered cases only."""
    groups: dict[str, list[EvaluationCase]] = {}
    for case in evaluation.cases.exclude(_open()):
        groups.setdefault(case.expected, []).append(case)
    found = [
        Slice(
            expected,
            statistics.wilson(sum(bool(case.baseline_right) for case in cases), len(cases)),
            statistics.wilson(sum(bool(case.candidate_right) for case in cases), len(cases)),
        )
        for expected, cases in groups.items()
    ]
    return sorted(found, key=lambda s: (s.candidate.value - s.baseline.value, s.candidate.value, s.expected))
