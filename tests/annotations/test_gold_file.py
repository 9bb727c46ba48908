"""Check questions from a file: all of it comes in or nothing, and every problem names its line."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotations import gold_file, golds, leases, progress
from annotations.gold_file import NotGold
from annotations.models import Annotation, Gold, Item, Queue, QueueEvent
from flywheel import datasets
from flywheel.datasets import Recipe
from inference.audit import Look
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_people import with_role
from tests.annotations.test_questions import TOOLS
from tests.annotations.test_views import FRAGMENT, post, signed_in

pytestmark = pytest.mark.django_db
WHEEZE = {"asked": "wheeze", "model_answer": "Skin", "answer": "Respiratory", "note": "Breath."}
RASH = {"asked": "rash", "model_answer": "Skin", "answer": "Skin"}
WRONG = {"asked": "fever", "model_answer": "Skin", "decision": "reject"}


def jsonl(*rows: object) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def upload(client: Client, queue: Queue, content: bytes) -> Any:
    return client.post(f"/queues/{queue.slug}/checks/", {"file": SimpleUploadedFile("gold.jsonl", content)})


def problems(queue: Queue, content: bytes) -> list[str]:
    with pytest.raises(NotGold) as told:
        gold_file.load(queue, content)
    return told.value.problems


def test_only_a_lead_sees_them_or_adds_any(make_queue: MakeQueue, alice: User, mallory: User) -> None:
    queue = make_queue()
    others = with_role(make_queue(0, slug="other"), "admin", "leads-another")
    for somebody in (alice, mallory, others, with_role(queue, "reader")):
        assert signed_in(somebody).get("/queues/chapters/checks/").status_code == 403
        assert upload(signed_in(somebody), queue, jsonl(WHEEZE)).status_code == 403
    assert upload(Client(), queue, jsonl(WHEEZE)).status_code == 302
    assert not Gold.objects.exists()
    lead = signed_in(with_role(queue, "lead"))
    assert lead.get("/queues/chapters/checks/").status_code == 200
    assert upload(lead, queue, jsonl(WHEEZE)).status_code == 302
    assert QueueEvent.objects.filter(act="check", about="1 new, 0 known, from a file").exists()


def test_a_file_makes_check_questions_that_reviewers_are_asked(make_queue: MakeQueue, bob: User) -> None:
    queue = make_queue(3, gold_every=1)
    lead = with_role(queue, "lead", "lea")
    added = gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE, RASH, WRONG)), lead)
    assert (added.new, added.known) == (3, 0)
    known = list(Gold.objects.order_by("pk").values_list("decision", "answer", "note", "item__verdict"))
    assert known == [
        ("correct", "Respiratory", "Breath.", "corrected"),
        ("approve", "", "", "approved"),
        ("reject", "", "", "rejected"),
    ]
    assert set(Gold.objects.values_list("rule", flat=True)) == {"known, uploaded by lea"}
    client = signed_in(bob)
    for place in leases.reserve(queue, bob):
        assert place.item.uploaded
        told = post(client, place, "approve", FRAGMENT).content.decode()
        assert "That was a check question" in told
    right = golds.accuracy(queue)[bob.pk]
    assert (right.right, right.given) == (1, 3)
    page = signed_in(lead).get("/queues/chapters/checks/").content.decode()
    assert "wheeze" in page
    assert page.count('data-label="Right">100') == 1


def test_they_are_no_traffic(make_queue: MakeQueue, bob: User) -> None:
    queue = make_queue(3)
    gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE, RASH)), bob)
    assert progress.counted(queue) == (3, 0)
    overview = progress.overview(queue)
    assert (overview.total, overview.by_state) == (3, {"waiting": 3})
    assert overview.wrong is None
    assert datasets.draw(queue, Recipe()).train == []
    assert [place.item.uploaded for place in leases.reserve(queue, bob)] == [False] * 3
    page = signed_in(with_role(queue, "lead")).get("/queues/").content.decode()
    assert '<td class="num" data-label="All">3</td>' in page


def test_the_same_file_again_changes_only_what_is_known(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1)
    gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE)), alice)
    added = gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE | {"answer": "Skin"}, RASH)), alice)
    assert (added.new, added.known) == (1, 1)
    assert sorted(Item.objects.filter(uploaded=True).values_list("verdict", flat=True)) == ["approved"] * 2


def test_one_that_is_flagged_stays_out_when_it_comes_again(make_queue: MakeQueue, bob: User) -> None:
    queue = make_queue(1, gold_every=1)
    gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE)), bob)
    place = next(one for one in leases.reserve(queue, bob) if one.item.uploaded)
    post(signed_in(bob), place, "flag")
    gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE)), bob)
    assert Item.objects.get(uploaded=True).state == "flagged"
    assert progress.overview(queue).by_state["flagged"] == 1


def test_a_table_is_read_with_quotes_line_ends_and_our_exports_apostrophes(make_queue: MakeQueue) -> None:
    queue = make_queue(0, answers=[])
    content = (
        '\ufeffasked,model_answer,answer,note\r\n"wheeze,\nat night","say ""A""",\'=B,\r\n\r\n'
        "rash,Skin,Skin,'quoted'\r\n"
    )
    known = gold_file.load(queue, content.encode())
    assert [one.item.messages[0]["content"] for one in known] == ["wheeze,\nat night", "rash"]
    assert (known[0].item.answer, known[0].said.answer) == ('say "A"', "=B")
    assert (known[1].said.decision, known[1].note) == ("approve", "'quoted'")


def test_our_own_export_can_be_edited_and_brought_in(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(2)
    place = leases.reserve(queue, alice)[0]
    post(signed_in(alice), place, "correct", answer="Skin")
    reader = signed_in(with_role(queue, "reader"))
    for form in ("jsonl", "csv"):
        content = b"".join(reader.get(f"/queues/chapters/annotations.{form}"))
        [known] = gold_file.load(queue, content)
        assert (known.said.decision, known.said.answer) == ("correct", "Skin")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (WHEEZE | {"answer": "Moon"}, "Line 2: answer: “Moon” is not in the list of answers."),
        ({"asked": "x", "answer": "Skin"}, "Line 2: model_answer: write what the model answered"),
        ({"model_answer": "x", "answer": "Skin"}, "Line 2: asked: write what was asked"),
        ({"asked": "x", "model_answer": "y"}, "Line 2: answer: write the right answer, or a decision"),
        (WHEEZE | {"decision": "approve"}, "Line 2: decision: this approves the model’s answer"),
        (WHEEZE | {"decision": "maybe"}, "Line 2: decision: Choose one of the answers"),
        (
            WHEEZE | {"decision": "cant_judge"},
            "Line 2: decision: nobody knows an answer that can’t be judged",
        ),
        (WHEEZE | {"wheight": 3}, "Line 2: “wheight” is no name here. There are: asked,"),
        (WHEEZE | {"asked": 3}, "Line 2: asked: this is no text."),
        (WHEEZE | {"asked": "x" * 20_001}, "Line 2: asked: that is longer than 20,000 characters."),
        (WHEEZE | {"note": "a\0b"}, "Line 2: note: this holds characters that are none."),
        (WHEEZE | {"answer": "\ud800"}, "Line 2: answer: this holds characters that are none."),
        (WHEEZE | {"messages": [{"role": "user", "content": ["\0"]}]}, "Line 2: messages: this holds char"),
        (WHEEZE | {"messages": "wheeze"}, "Line 2: messages: write a list of {role, content}."),
        (["wheeze"], "Line 2: one object a line is read"),
        (RASH, "Line 2: this asks and answers the same as line 1."),
    ],
)
def test_what_is_wrong_is_told_with_its_line(make_queue: MakeQueue, row: object, words: str) -> None:
    [told] = problems(make_queue(0), jsonl(RASH, row))
    assert told.startswith(words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "This file holds no check question"),
        (b"\n \n", "This file holds no check question"),
        (jsonl(RASH) + b"\n\xff", "Line 2: this is not UTF-8 text."),
        (jsonl(RASH) + b"\n{broken", "Line 2: this is no JSON, column 2"),
        (jsonl(RASH) + b'\n{"messages": ' + b"[" * 100_000, "Line 2: this is nested too deep."),
        (b"question,answer\nx,y", "Line 1: the first line names the columns"),
        (b"asked,model_answer,answer\nx,y,Skin\nx,y\n", "Line 3: 2 cells stand under 3 columns."),
        (b'asked,model_answer,answer\nx,y,Skin\n"x,y\n', "Line 3: this is no CSV"),
        (b"\x89PNG\r\n\x1a\n\x00", "Line 1: this is not UTF-8 text."),
        (b"x" * (gold_file.LONGEST + 1), "This file is larger than 8 MiB"),
    ],
)
def test_what_is_no_such_file_is_told(make_queue: MakeQueue, content: bytes, words: str) -> None:
    assert problems(make_queue(0), content)[0].startswith(words)


def test_nothing_is_written_when_anything_is_wrong_and_it_is_told_beside_the_field(
    make_queue: MakeQueue,
) -> None:
    queue = make_queue(1)
    client = signed_in(with_role(queue, "lead"))
    bad = [WHEEZE | {"asked": f"case {n}", "answer": "<b>Moon"} for n in range(30)]
    answer = upload(client, queue, jsonl(WHEEZE, *bad, RASH))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in page
    assert "Line 2: answer: “&lt;b&gt;Moon”" in page
    assert page.count("Line ") == gold_file.MOST_TOLD
    assert "Nothing was added." in page
    assert Item.objects.count() == 1
    none = client.post("/queues/chapters/checks/")
    assert (none.status_code, "Choose a file first." in none.content.decode()) == (422, True)


@pytest.mark.parametrize(
    ("kind", "options", "row", "known"),
    [
        ("choice", ["a", "b; c"], {"answer": "b; c"}, "b; c"),
        ("choices", ["a", "b"], {"answer": "b; a"}, ["a", "b"]),
        ("choices", ["a", "b"], {"answer": ["b"]}, ["b"]),
        ("rating", [], {"answer": 4}, 4),
        ("rating", [], {"answer": "4"}, 4),
        ("pair", [], {"answer": "second", "other_answer": "z"}, "second"),
    ],
)
def test_every_question_that_can_be_compared_can_be_known(
    make_queue: MakeQueue, kind: str, options: list[str], row: dict[str, object], known: object
) -> None:
    queue = make_queue(0, kind=kind, answers=options)
    [one] = gold_file.load(queue, jsonl({"asked": "x", "model_answer": "y"} | row))
    assert one.said.values["main"] == known
    wrong = {"asked": "x", "model_answer": "y", "other_answer": "z"}
    assert problems(queue, jsonl(wrong | {"answer": "no such"}))[0].startswith("Line 1: answer: ")


def test_a_known_call_must_fit_its_schema(make_queue: MakeQueue) -> None:
    queue = make_queue(0, kind="tool_call", answers=[])
    row = {"asked": "x", "model_answer": "{}", "tools": TOOLS}
    right = json.dumps({"name": "icd_search", "arguments": {"term": "wheeze"}})
    [one] = gold_file.load(queue, jsonl(row | {"answer": right}))
    assert one.item.tools == TOOLS
    [told] = problems(queue, jsonl(row | {"answer": right.replace("term", "word")}))
    assert told.startswith("Line 1: answer: arguments")


def test_marks_can_not_be_known(make_queue: MakeQueue) -> None:
    queue = make_queue(0, kind="spans", answers=["odd"])
    assert "can’t" in problems(queue, jsonl(RASH))[0]
    page = signed_in(with_role(queue, "lead")).get("/queues/chapters/checks/").content.decode()
    assert "checks-file" not in page


def test_stopped_and_used_again_it_keeps_its_note(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(0)
    gold_file.add(queue, gold_file.load(queue, jsonl(WHEEZE)), alice)
    client, item = signed_in(with_role(queue, "lead")), Item.objects.get()
    for page in ("checks/", f"items/{item.pk}/"):
        assert "wheeze" in client.get(f"/queues/chapters/{page}").content.decode()
    assert not Look.objects.exists(), "no exchange was looked at"
    for use, over in (("no", True), ("yes", False)):
        client.post(f"/queues/chapters/items/{item.pk}/check/", {"use": use})
        gold = Gold.objects.get()
        assert (gold.ended_at is not None, gold.note, gold.answer) == (over, "Breath.", "Respiratory")
    assert not Annotation.objects.exists()
