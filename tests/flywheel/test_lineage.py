"""From weights to every exchange behind them, and from an exchange to everything made of it."""

import uuid

import pytest
from django.urls import reverse

from annotations import judging
from flywheel import jobs, lineage
from flywheel.models import Evaluation, EvaluationCase, Job, Rollout, TrainingRun
from inference.models import ModelVersion
from tests.annotations.test_views import signed_in
from tests.flywheel.desk import Desk


def turn(desk: Desk, name: str = "chapters-0a1b2c3d") -> tuple[TrainingRun, Evaluation, Rollout]:
    """A version, a run on it, its adapter evaluated and rolled out: rows as the modules leave them."""
    version = desk.build(exam_rows=4)
    adapter = desk.adapter(name)

    def job(kind: Job.Kind) -> Job:
        return jobs.done_at_once(kind, uuid.uuid4().hex, None, "Done.")[0]

    run = TrainingRun.objects.create(
        dataset_version=version, base=desk.base, job=job(Job.Kind.TRAINING), adapter=adapter
    )
    sat = Evaluation.objects.create(
        dataset_version=version, baseline=desk.base, candidate=adapter, route=desk.route,
        job=job(Job.Kind.EVALUATION),
    )  # fmt: skip
    row = version.rows.filter(split="exam").first()
    assert row is not None
    EvaluationCase.objects.create(
        evaluation=sat, row=row, question="?", expected="Eye", candidate_exchange=uuid.uuid4()
    )
    released = Rollout.objects.create(
        route=desk.route, action="forward", candidate=adapter, share=100, before=[], after=[],
        planned_revision=0, job=job(Job.Kind.ROLLOUT),
    )  # fmt: skip
    return run, sat, released


def test_up_from_the_weights(desk: Desk) -> None:
    desk.fill(12)
    run, sat, released = turn(desk)
    assert run.adapter is not None
    found = lineage.of_weights(run.adapter.weights[:8])
    assert found is not None
    assert (found.weights, found.versions) == (run.adapter.weights, [run.adapter])
    (made,) = found.made
    learned = run.dataset_version.rows.filter(split="train")
    assert (made.run, made.version) == (run, run.dataset_version)
    assert set(made.exchanges) == set(learned.values_list("item__exchange_id", flat=True))
    assert {j.item_id for j in made.judgements} == set(learned.values_list("item_id", flat=True))
    assert (found.evaluations, found.rollouts) == ([sat], [released])


def test_a_base_was_made_elsewhere(desk: Desk) -> None:
    found = lineage.of_weights("b" * 64)
    assert found is not None
    assert (found.versions, found.made) == ([desk.base], [])


def test_a_hash_must_be_known_and_fit_one(desk: Desk) -> None:
    assert lineage.of_weights("f" * 64) is None
    with pytest.raises(ValueError, match="eight digits"):
        lineage.of_weights("bbbb")
    ModelVersion.objects.create(name="near", kind="base", weights="b" * 63 + "a")
    with pytest.raises(ValueError, match="several"):
        lineage.of_weights("b" * 8)


def test_down_from_an_exchange_that_was_learned_from(desk: Desk) -> None:
    items = desk.fill(12)
    run, _, released = turn(desk)
    learned = run.dataset_version.rows.filter(split="train").first()
    assert learned is not None
    item = next(item for item in items if item.pk == learned.item_id)
    use = lineage.of_exchange(item.exchange_id)
    assert (use.items, use.rows, use.runs) == ([item], [learned], [run])
    assert (use.adapters, use.rollouts, use.cases) == ([run.adapter], [released], [])


def test_an_exam_row_taught_nobody(desk: Desk) -> None:
    desk.fill(12)
    _, sat, _ = turn(desk)
    case = sat.cases.get()
    use = lineage.of_exchange(case.row.item.exchange_id)
    assert (use.rows, use.cases) == ([case.row], [case])
    assert (use.runs, use.adapters, use.rollouts) == ([], [], [])


def test_an_evaluations_own_exchange_leads_to_its_case(desk: Desk) -> None:
    desk.fill(12)
    _, sat, _ = turn(desk)
    case = sat.cases.get()
    assert case.candidate_exchange is not None
    use = lineage.of_exchange(case.candidate_exchange)
    assert (use.items, use.cases) == ([], [case])


def test_an_exchange_of_no_consequence(desk: Desk) -> None:
    use = lineage.of_exchange(uuid.uuid4())
    assert use == lineage.Use(use.exchange_id, [], [], [], [], [], [])


def test_an_answer_that_a_version_used_is_not_taken_back(desk: Desk) -> None:
    desk.fill(12)
    version = desk.build(exam_rows=4)
    row = version.rows.select_related("item").first()
    assert row is not None
    said = row.item.annotations.standing().select_related("reviewer").first()
    assert said is not None
    with pytest.raises(judging.Refused, match=f"Dataset version {version} has used this answer"):
        judging.undo(row.item.queue, said.reviewer, said.key)
    assert row.item.annotations.standing().filter(pk=said.pk).exists()
    row.item.queue.reviewers.add(said.reviewer)
    page = signed_in(said.reviewer).get(reverse("review-mine", args=[row.item.queue.slug]))
    assert page.status_code == 200
    used = {a.item_id: name for a, _, _, name in page.context["mine"] if name}
    assert set(used) <= set(version.rows.values_list("item", flat=True))
    assert used
    ask = reverse("review-ask", args=[row.item.queue.slug])
    for _ in range(2):
        signed_in(said.reviewer).post(ask, {"key": said.key})
    event = row.item.queue.events.get()
    assert (event.who, event.act, event.about) == (said.reviewer, "asked", f"item {row.item_id}")
    assert signed_in(said.reviewer).post(ask, {"key": "another's"}).status_code == 404
    assert signed_in(desk.engineer).post(ask, {"key": said.key}).status_code == 403
    told = signed_in(desk.engineer).get(row.item.queue.get_absolute_url()).content.decode()
    assert f"item {row.item_id}" in told
