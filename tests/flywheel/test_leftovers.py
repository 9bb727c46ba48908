"""Verdicts that make no row say truly why, and what is no right answer never becomes one."""

import pytest

from annotations.models import Item, Queue
from annotations.questions import VERDICTS
from flywheel import datasets, jobs, leftovers
from flywheel.datasets import Recipe
from tests import people
from tests.flywheel.desk import Desk


def left_out(desk: Desk) -> dict[str, int]:
    return datasets.plan(desk.queue, Recipe(exam_rows=0)).left_out


def test_an_approved_answer_that_is_not_in_the_list_is_left_out(desk: Desk) -> None:
    desk.judge("wheeze", "Lungs")
    desk.judge("cough", " respiratory\n")
    desk.judge("itch", "Skin", right="Eye")
    assert left_out(desk) == {leftovers.UNLISTED: 1}


def test_where_there_is_no_list_any_answer_is_one(desk: Desk) -> None:
    Queue.objects.update(answers=[])
    desk.queue.refresh_from_db()
    desk.judge("wheeze", "Lungs")
    assert left_out(desk) == {}


def test_an_approved_answer_that_was_cut_off_is_left_out_and_its_correction_is_not(desk: Desk) -> None:
    desk.judge("wheeze", "Respiratory")
    desk.judge("itch", "Respir", right="Eye")
    Item.objects.update(cut=True)
    assert left_out(desk) == {leftovers.CUT_OFF: 1}


def test_what_is_left_out_takes_no_duplicates_place(desk: Desk) -> None:
    desk.judge("wheeze", "Lungs")
    desk.judge("wheeze", "Respiratory")
    planned = datasets.plan(desk.queue, Recipe(exam_rows=0))
    assert (planned.left_out, planned.train) == ({leftovers.UNLISTED: 1}, 1)


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("rating", "a rating"),
        ("choice", "a choice"),
        ("text", "free text"),
        ("pair", "comparing two answers"),
    ],
)
def test_a_question_without_right_answers_is_named(desk: Desk, kind: str, by: str) -> None:
    Queue.objects.update(kind=kind)
    desk.queue.refresh_from_db()
    desk.judge("wheeze", "Lungs")
    Item.objects.update(verdict="answered", verdict_answer="", verdict_values={"main": 4})
    assert left_out(desk) == {f"judged by {by}, which gives no right answer": 1}
    with pytest.raises(jobs.RefusedError, match="approves or corrects texts") as told:
        datasets.start("chapters", desk.queue, Recipe(), "key", desk.engineer)
    assert "judge some" not in str(told.value)
    page = people.client(desk.engineer).get("/datasets/new/?queue=chapters").content.decode()
    assert f"left out: judged by {by}, which gives no right answer" in page
    assert "rejected without" not in page
    assert people.client(desk.reviewer).get("/datasets/new/?queue=chapters").status_code == 403


def test_of_every_kind_of_question_it_is_known_what_to_say() -> None:
    for kind, _ in Queue._meta.get_field("kind").choices or []:
        assert kind in VERDICTS or leftovers.no_right_answer(kind)


def test_a_queue_of_tool_calls_is_not_told_to_judge_some(desk: Desk) -> None:
    Queue.objects.update(kind="tool_call", answers=[])
    desk.queue.refresh_from_db()
    desk.judge("wheeze", "{}")
    Item.objects.update(tools=[])
    planned = datasets.plan(desk.queue, Recipe())
    assert planned.left_out == {leftovers.A_CALL: 1}
    assert "approves or corrects texts" in planned.why_not
