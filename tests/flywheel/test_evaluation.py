"""An exam is sat through the proxy by both, every answer kept as it comes, and nothing learned is asked."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from flywheel import evaluation, jobs
from flywheel.models import DatasetVersion, Evaluation, EvaluationCase, Job, TrainingRun
from inference.models import ModelVersion
from tests.flywheel.desk import CHAPTERS, Desk, work
from tests.flywheel.tiny_engine import TinyEngine, serve


@pytest.fixture
def proxy(settings: Settings) -> Iterator[TinyEngine]:
    """The adapter knows the chapters, the base says something else."""

    def answer(model: str, question: str) -> str:
        right = CHAPTERS[int(question.split()[1]) % 3]
        return {"version:chapters-0a1b2c3d": f"  {right.upper()}\n", "version:tiny": "I think so."}[model]

    settings.EVALUATION_KEY = "fw-exam"
    with serve(TinyEngine(answer)) as engine:
        settings.PROXY_URL = engine.url
        yield engine


@pytest.fixture
def version(desk: Desk) -> DatasetVersion:
    desk.fill(60)
    return desk.build(exam_rows=20)


@pytest.fixture
def adapter(desk: Desk) -> ModelVersion:
    return desk.adapter()


def begin(desk: Desk, version: DatasetVersion, adapter: ModelVersion, key: str = "exam") -> Evaluation:
    return evaluation.start(version, desk.base, adapter, desk.route, key=key, user=desk.engineer)


def test_both_answer_every_question_and_are_compared(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    sat = begin(desk, version, adapter)
    job = work(sat.job)
    assert (job.state, job.done, job.total) == (Job.State.DONE, 40, 40), job.error
    sat.refresh_from_db()
    found = evaluation.comparison(sat)
    assert found is not None
    assert (found.n, found.baseline.k, found.candidate.k) == (20, 0, 20)
    assert found.over_baseline.low > 0.7
    assert found.over_baseline.p == pytest.approx(2 * 0.5**20)
    expected = [case.expected for case in sat.cases.all()]
    assert found.majority.k == expected.count(found.majority_answer)
    assert found.majority_answer in CHAPTERS
    assert job.message == "20 gained, 0 lost in 20 cases."
    case = sat.cases.first()
    assert case is not None
    assert case.baseline_exchange != case.candidate_exchange
    assert (case.baseline_answer, case.candidate_answer) == ("I think so.", f"  {case.expected.upper()}\n")


def test_calls_are_greedy_short_and_tagged(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    sat = begin(desk, version, adapter)
    work(sat.job)
    assert {(body["temperature"], body["max_tokens"]) for body in proxy.asked} == {(0.0, 16)}
    assert {body["tags"] for body in proxy.asked} == {
        f"evaluation={sat.pk},arm=baseline",
        f"evaluation={sat.pk},arm=candidate",
    }
    assert proxy.asked[0]["messages"][0] == {"role": "system", "content": "Desk."}


def test_what_was_answered_before_a_failure_is_not_asked_again(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    knows = proxy.answer
    proxy.answer = lambda model, question: {"version:tiny": "I think so."}[model]  # the adapter is not loaded
    sat = begin(desk, version, adapter)
    job = work(sat.job)
    assert job.state == Job.State.FAILED
    assert "no model version:chapters-0a1b2c3d" in job.error
    assert "resume asks only the rest" in job.error
    kept = EvaluationCase.objects.filter(baseline_right__isnull=False).count()
    proxy.answer = knows
    proxy.asked.clear()
    jobs.resume(job)
    assert work(job).state == Job.State.DONE
    assert len(proxy.asked) == 40 - kept
    assert sat.cases.count() == 20


@pytest.mark.slow
def test_a_refused_key_and_a_missing_proxy_are_told_apart(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine, settings: Settings
) -> None:
    proxy.status = 401
    assert "refused the evaluations' API key" in work(begin(desk, version, adapter).job).error
    settings.PROXY_URL = "http://127.0.0.1:9"
    assert "can't be reached" in work(begin(desk, version, adapter, "other").job).error


@pytest.mark.slow
def test_questions_that_the_candidate_learned_from_are_not_asked(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    other = desk.build("other", exam_rows=20, seed=5)
    job, _ = jobs.start(Job.Kind.TRAINING, "run", None)
    TrainingRun.objects.create(dataset_version=other, base=desk.base, job=job, adapter=adapter)
    planned = evaluation.plan(version, desk.base, adapter)
    assert planned.cases + planned.learned == 20
    assert 0 < planned.cases < 20
    sat = begin(desk, version, adapter)
    work(sat.job)
    learned = set(other.rows.filter(split="train").values_list("item__group", flat=True))
    assert not learned & set(sat.cases.values_list("row__item__group", flat=True))
    assert sat.cases.count() == planned.cases


def test_a_plan_goes_by_the_last_evaluation(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    planned = evaluation.plan(version, desk.base, adapter)
    assert (planned.calls, planned.measured) == (40, False)
    assert planned.seconds == pytest.approx(40 * evaluation.CALL_SECONDS)
    sat = begin(desk, version, adapter)
    work(sat.job)
    sat.refresh_from_db()
    planned = evaluation.plan(version, desk.base, adapter)
    assert planned.measured
    assert planned.seconds == pytest.approx(40 * sat.results["seconds_a_call"])


def test_what_cannot_be_compared_says_why(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, settings: Settings
) -> None:
    settings.EVALUATION_KEY = ""
    assert "FLYWHEEL_EVALUATION_KEY" in evaluation.plan(version, desk.base, adapter).why_not
    settings.EVALUATION_KEY = "fw-exam"
    assert "choose another" in evaluation.plan(version, adapter, adapter).why_not
    adapter.upstreams.clear()
    assert "No engine serves" in evaluation.plan(version, desk.base, adapter).why_not
    with pytest.raises(jobs.RefusedError, match="No engine serves"):
        begin(desk, version, adapter)


def test_pressed_twice_is_one_evaluation(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    assert begin(desk, version, adapter) == begin(desk, version, adapter)
    with pytest.raises(jobs.KeyReusedError):
        begin(desk, version, desk.adapter("other-0a1b2c3d"))


def test_slices_show_the_worst_first(
    desk: Desk, version: DatasetVersion, adapter: ModelVersion, proxy: TinyEngine
) -> None:
    knows = proxy.answer
    proxy.answer = lambda model, question: knows(model, question).replace("EYE", "Skin")
    sat = begin(desk, version, adapter)
    work(sat.job)
    found = evaluation.slices(sat)
    assert found[0].expected == "Eye"
    assert (found[0].candidate.k, found[-1].candidate.k) == (0, found[-1].candidate.n)
    assert sum(part.candidate.n for part in found) == 20


@pytest.mark.parametrize(
    ("answer", "right"),
    [("Injury", True), (" injury \n", True), ("Injury.", False), ("", False), ("It is Injury", False)],
)
def test_an_answer_is_right_case_and_spacing_apart(answer: str, right: bool) -> None:
    assert evaluation.is_right(answer, "Injury") is right
