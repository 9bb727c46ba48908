"""Verdicts become rows: the right ones, siblings together, the same again from the same."""

import json
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.db.models import Count
from django.utils import timezone

from annotations.models import Annotation, Item, Queue
from flywheel import artefacts, datasets, jobs, leftovers
from flywheel.datasets import Recipe
from flywheel.models import DatasetRow, Job
from inference import filters, queries
from inference.clickhouse import Unavailable
from inference.filters import Filter, Time
from tests.flywheel.desk import Desk, work


def test_approved_and_corrected_answers_become_rows(desk: Desk) -> None:
    desk.judge("broken arm", "Injury")
    desk.judge("wheezing", "Injury", right="Respiratory")
    desk.judge("cataract", "Eye")
    version = desk.build(exam_rows=1, seed=3)
    examples = [e for split in DatasetRow.Split for e in datasets.examples(version, split)]
    assert {(e.question, e.answer) for e in examples} == {
        ("broken arm", "Injury"),
        ("wheezing", "Respiratory"),
        ("cataract", "Eye"),
    }
    assert examples[0].messages[0] == {"role": "system", "content": "Desk."}


def test_what_is_left_out_is_counted_by_reason(desk: Desk) -> None:
    desk.fill(10)
    desk.judge("rejected", "Eye", decision="reject")
    desk.judge("phrase 1", "Injury")
    for state in (Item.State.WAITING, Item.State.CONFLICT, Item.State.FLAGGED, Item.State.UNJUDGED):
        item = desk.judge(f"in state {state}", "Eye")
        Item.objects.filter(pk=item.pk).update(state=state, verdict="", verdict_answer="")
    planned = datasets.plan(desk.queue, Recipe(train_rows=3, exam_rows=3))
    assert planned.left_out == {
        leftovers.NOT_NEEDED: 3,
        leftovers.NOT_SETTLED: 2,
        leftovers.NO_ANSWER: 1,
        leftovers.DUPLICATE: 1,
        leftovers.FLAGGED: 1,
        leftovers.CANT_JUDGE: 1,
        leftovers.SIBLING: 1,
    }
    assert (planned.train, planned.exam, planned.why_not) == (3, 3, "")


@pytest.mark.parametrize("seed", range(5))
def test_siblings_are_never_on_both_sides(desk: Desk, seed: int) -> None:
    desk.fill(30)
    drawn = datasets.draw(desk.queue, Recipe(exam_rows=7, seed=seed))
    exam, train = ({row.group for row in part} for part in (drawn.exam, drawn.train))
    assert len(drawn.exam) == 7
    assert not exam & train
    assert drawn.left_out[leftovers.SIBLING] == 1


def test_another_seed_draws_another_exam(desk: Desk) -> None:
    desk.fill(30)
    exams = {tuple(r.item.pk for r in datasets.draw(desk.queue, Recipe(seed=s)).exam) for s in range(4)}
    assert len(exams) == 4


def test_a_fifth_is_kept_for_the_exam_unless_told(desk: Desk) -> None:
    desk.fill(30)
    planned = datasets.plan(desk.queue, Recipe())
    assert (planned.exam, planned.train) == (6, 24)
    assert sum(part["train"] for part in planned.balance.values()) == 24


def test_the_exam_changes_little_when_more_is_judged(desk: Desk) -> None:
    desk.fill(30)
    before = {row.item.pk for row in datasets.draw(desk.queue, Recipe(exam_rows=10)).exam}
    desk.judge("one more", "Eye", group="category new")
    after = {row.item.pk for row in datasets.draw(desk.queue, Recipe(exam_rows=10)).exam}
    assert len(before & after) >= 8


def test_the_same_verdicts_and_recipe_give_the_same_hash(desk: Desk) -> None:
    desk.fill(12)
    first, second = desk.build("one"), desk.build("two")
    assert (first.number, second.number) == (1, 2)
    assert first.hash == second.hash
    assert desk.build("three", seed=2).hash != first.hash
    desk.judge("one more", "Eye")
    assert desk.build("four").hash != first.hash


def test_files_and_rows_are_what_the_manifest_says(desk: Desk) -> None:
    items = desk.fill(12)
    version = desk.build(exam_rows=4)
    manifest = datasets.manifest(version)
    for split in DatasetRow.Split:
        told = manifest["files"][split.value]
        lines = artefacts.get(told["sha256"]).splitlines()
        hashes = {row["sha256"] for row in manifest["rows"] if row["split"] == split}
        assert len(lines) == told["rows"] == version.rows.filter(split=split).count()
        assert {e.hash for e in datasets.examples(version, split)} == hashes
        assert [m["role"] for m in json.loads(lines[0])["messages"]] == ["system", "user", "assistant"]
    origin = manifest["rows"][0]
    item = next(item for item in items if item.pk == origin["item"])
    judgement = item.annotations.get()
    assert origin["exchange"] == str(item.exchange_id)
    assert origin["judgements"] == [
        {"id": judgement.pk, "reviewer": desk.reviewer.pk, "source": "person", "decision": "approve"}
    ]
    assert item.group not in json.dumps(manifest)


def test_who_judged_is_counted(desk: Desk) -> None:
    desk.fill(8)
    for i in range(4):
        desk.judge(f"looked up {i}", "Eye", source=Annotation.Source.REFERENCE)
    desk.judge("rejected", "Eye", decision="reject")
    version = desk.build()
    assert version.sources == {"person": 8, "reference": 4}
    assert (version.judgements, version.judged, version.train_rows + version.exam_rows) == (12, 12, 12)


def test_a_judgement_taken_back_is_not_among_the_reasons_for_a_row(desk: Desk) -> None:
    desk.fill(6)
    item = desk.judge("wheezing", "Respiratory")
    first = item.annotations.get()
    Annotation.objects.create(item=item, reviewer=desk.reviewer, decision="undo", undoes=first, key="undo")
    again = Annotation.objects.create(item=item, reviewer=desk.reviewer, decision="approve", key="again")
    drawn = datasets.draw(desk.queue, Recipe(exam_rows=1))
    (row,) = [row for row in drawn.train + drawn.exam if row.item == item]
    assert row.judgements == [again]


def test_pressed_twice_builds_one_version(desk: Desk) -> None:
    desk.fill(6)
    first = datasets.start("chapters", desk.queue, Recipe(), "key", desk.engineer)
    assert datasets.start("chapters", desk.queue, Recipe(), "key", desk.engineer) == first
    with pytest.raises(jobs.KeyReusedError):
        datasets.start("chapters", desk.queue, Recipe(seed=9), "key", desk.engineer)


def test_what_cannot_be_built_is_not_begun(desk: Desk) -> None:
    with pytest.raises(jobs.RefusedError, match="judge some"):
        datasets.start("chapters", desk.queue, Recipe(), "key", desk.engineer)
    assert not Job.objects.exists()
    desk.fill(4)
    assert "for the exam" in datasets.plan(desk.queue, Recipe(exam_rows=0)).why_not
    assert "Every row went to the exam" in datasets.plan(desk.queue, Recipe(exam_rows=4)).why_not


def test_a_name_belongs_to_one_queue(desk: Desk) -> None:
    desk.fill(6)
    desk.build()
    desk.queue = Queue.objects.create(slug="other", name="Another queue")
    desk.fill(6)
    with pytest.raises(jobs.RefusedError, match="another queue"):
        datasets.start("chapters", desk.queue, Recipe(), "other", desk.engineer)


def test_a_build_begun_again_after_a_death_gives_one_set_of_rows(desk: Desk) -> None:
    desk.fill(6)
    version = datasets.start("chapters", desk.queue, Recipe(), "key", desk.engineer)
    lease = jobs.claim(version.job_id)
    assert lease is not None
    Job.objects.filter(pk=version.job_id).update(lease_until=timezone.now())
    work(version.job)
    with pytest.raises(jobs.LeaseLostError):
        datasets.build(version, lease)
    doubled = version.rows.values("item").annotate(n=Count("id")).filter(n__gt=1)
    assert not doubled.exists()
    assert version.rows.count() == 6


def test_the_majority_answer_is_that_of_the_rows_to_learn_from(desk: Desk) -> None:
    for i in range(9):
        desk.judge(f"case {i}", "Injury" if i < 6 else "Eye")
    version = desk.build()
    counted = Counter(e.answer for e in datasets.examples(version, DatasetRow.Split.TRAIN))
    assert datasets.majority_answer(version) == counted.most_common(1)[0][0] == "Injury"


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> list[Filter]:
    """The trace store knows every second of the named as matching; returns what it was asked."""
    asked: list[Filter] = []

    def matching(wanted: Filter, named: list[tuple[UUID, int, datetime]]) -> set[tuple[UUID, int]]:
        asked.append(wanted)
        return {(one, attempt) for one, attempt, _ in named[::2]}

    monkeypatch.setattr(queries, "matching", matching)
    return asked


def test_a_filter_says_which_of_the_queue_go_in(desk: Desk, even: list[Filter]) -> None:
    items = desk.fill(20)
    version = desk.build(filter=filters.parse("least_p:<0.5"))
    assert {row.item_id for row in version.rows.all()} == {item.pk for item in items[::2]}
    assert version.left_out == {leftovers.OUTSIDE: 10}
    assert version.recipe["filter"] == "least_p:<0.5"
    assert datasets.manifest(version)["recipe"] == version.recipe


def test_the_same_filter_gives_the_same_hash_and_another_another(desk: Desk, even: list[Filter]) -> None:
    desk.fill(20)
    least = filters.parse("least_p:<0.5")
    first, second = desk.build("one", filter=least), desk.build("two", filter=least)
    other = desk.build("three", filter=filters.parse("least_p:<0.4"))
    assert first.hash == second.hash != other.hash


def test_a_filter_by_age_is_kept_as_a_moment(desk: Desk, even: list[Filter]) -> None:
    desk.fill(20)
    asked = Recipe(filter=filters.parse("since:7d"))
    version = datasets.start("chapters", desk.queue, asked, "key", desk.engineer)
    meant = version.job.created_at - timedelta(days=7)
    assert Recipe.from_dict(version.recipe).filter == Filter((Time("since", meant),))
    assert datasets.start("chapters", desk.queue, asked, "key", desk.engineer) == version
    work(version.job)
    assert even[-1] == Filter((Time("since", meant),))


def test_without_a_filter_the_recipe_is_what_it_was_before_there_were_any(desk: Desk) -> None:
    assert Recipe().as_dict() == {"train_rows": None, "exam_rows": None, "seed": 1}
    assert Recipe.from_dict({"train_rows": 3, "exam_rows": None, "seed": 2}) == Recipe(train_rows=3, seed=2)


def test_with_the_trace_store_away_only_a_filter_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.fill(20)
    recipe = Recipe(filter=filters.parse("least_p:<0.5"))
    with monkeypatch.context() as patch:
        patch.setattr(queries, "matching", lambda wanted, named: {one[:2] for one in named})
        version = datasets.start("chapters", desk.queue, recipe, "key", desk.engineer)
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/nobody")
    with pytest.raises(Unavailable):
        datasets.start("chapters", desk.queue, recipe, "other", desk.engineer)
    job = work(version.job)
    assert job.state == Job.State.FAILED
    assert "The trace store does not answer" in job.error
    assert desk.build("third").train_rows == 16
