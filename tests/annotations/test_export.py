import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import reverse

from annotations import export, judging, leases
from annotations.judging import Judgement
from annotations.models import Queue
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_people import with_role
from tests.annotations.test_views import signed_in


@pytest.fixture
def queue(make_queue: MakeQueue, alice: User, bob: User) -> Queue:
    """A formula for a note, an answer in two lines, one taken back, one flagged."""
    made = make_queue(5, answers=[])
    say = [
        Judgement("approve", note="=HYPERLINK(1)"),
        Judgement("correct", answer='Skin, "or"\nso', note="naïve"),
        Judgement("reject", reason="Wrong chapter"),
        Judgement("flag", note="her name is Ann"),
    ]
    for said in say:
        place = leases.reserve(made, alice, 1)[0]
        last = judging.judge(place.item, alice, place.key, said, seconds=2.5)
        if said.decision == "reject":
            judging.undo(made, alice, last.key)
            leases.skip(place.item, alice, leases.held(made, alice)[0].key)
    return made


def taken(client: Client, queue: Queue, form: str) -> str:
    answer: Any = client.get(reverse("queue-annotations", args=[queue.slug, form]))
    assert isinstance(answer, StreamingHttpResponse)
    assert f"{queue.slug}.annotations.{form}" in answer["Content-Disposition"]
    return b"".join(answer.streaming_content).decode()  # type: ignore[arg-type]


def test_both_forms_hold_every_annotation_with_the_same_fields(queue: Queue) -> None:
    reader = signed_in(with_role(queue, "reader"))
    lines = [json.loads(line) for line in taken(reader, queue, "jsonl").splitlines()]
    table = list(csv.DictReader(io.StringIO(taken(reader, queue, "csv"), newline="")))
    assert [line["decision"] for line in lines] == ["approve", "correct", "reject", "undo", "flag"]
    assert [row["decision"] for row in table] == [line["decision"] for line in lines]
    assert tuple(table[0]) == tuple(lines[0]) == export.FIELDS
    assert lines[1]["answer"] == table[1]["answer"] == 'Skin, "or"\nso'
    assert (lines[1]["note"], lines[1]["seconds"], table[1]["seconds"]) == ("naïve", 2.5, "2.5")
    assert [line["withdrawn"] for line in lines] == [False, False, True, False, False]
    assert lines[3]["undoes"] == lines[2]["annotation"]
    assert {line["reviewer"] for line in lines} == {"alice"}
    assert lines[0]["asked"] == "wheezing, case 1"
    assert queue.events.filter(act="exported").count() == 2


def test_a_formula_is_no_formula_in_a_spreadsheet(queue: Queue) -> None:
    reader = signed_in(with_role(queue, "reader"))
    assert json.loads(taken(reader, queue, "jsonl").splitlines()[0])["note"] == "=HYPERLINK(1)"
    [first, *_] = csv.DictReader(io.StringIO(taken(reader, queue, "csv")))
    assert first["note"] == "'=HYPERLINK(1)"


def test_what_is_flagged_leaves_without_its_texts(queue: Queue) -> None:
    whole = taken(signed_in(with_role(queue, "admin")), queue, "jsonl")
    assert "Ann" not in whole
    last = json.loads(whole.splitlines()[-1])
    assert (last["state"], last["asked"], last["model_answer"], last["note"]) == ("flagged", None, None, None)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_reviewers_and_strangers_take_nothing_out(
    queue: Queue, alice: User, mallory: User, form: str
) -> None:
    url = reverse("queue-annotations", args=[queue.slug, form])
    for outsider in (alice, mallory):
        assert signed_in(outsider).get(url).status_code == 403
    assert Client().get(url).status_code == 302
    reader = signed_in(with_role(queue, "reader"))
    assert reader.post(url).status_code == 405
    assert reader.get(reverse("queue-annotations", args=[queue.slug, "xlsx"])).status_code == 404


def test_many_are_read_in_chunks(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(export, "_CHUNK", 2)
    with django_assert_max_num_queries(1):
        assert sum(1 for _ in export.rows(queue)) == 5
