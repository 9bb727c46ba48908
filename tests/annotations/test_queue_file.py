"""A queue copied, exported and imported: what it asks travels, people and items do not."""

import json
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotations import queue_file, sampling
from annotations.models import Queue
from annotations.questions import Question
from annotations.queue_file import NotAQueue
from inference import clickhouse as store
from inference import storing
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_questions import CALL, FLUENT, TOOLS
from tests.annotations.test_queue_views import engineer, exchanges, form
from tests.inference import spooled

__all__ = ["engineer", "exchanges"]  # fixtures
pytestmark = pytest.mark.django_db


def upload(client: Client, content: bytes) -> Any:
    return client.post("/queues/import/", {"file": SimpleUploadedFile("q.json", content)})


def test_strangers_and_reviewers_neither_export_nor_import(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue()
    client = Client()
    for status in (302, 403):
        assert client.get(f"/queues/{queue.slug}/file/").status_code == status
        assert upload(client, queue_file.dump(queue)).status_code == status
        client.force_login(alice)


def test_an_exported_queue_fills_the_form_of_a_new_one(
    make_queue: MakeQueue, engineer: Client, no_store: None
) -> None:
    queue = make_queue(3, also=[FLUENT], question="Which “chapter”?", heat_map="never", filter="route:icd")
    content = engineer.get(f"/queues/{queue.slug}/file/").content
    assert b"wheezing" not in content
    assert b"alice" not in content
    page = upload(engineer, content)
    given = page.context["form"].initial
    assert {field: given[field] for field in queue_file.FIELDS} == queue_file.definition(queue)
    html = page.content.decode()
    assert "Which “chapter”?" in html
    assert "How fluent is it?" in html
    assert Queue.objects.count() == 1, "nothing is made before the form is sent"
    copied = engineer.get(f"/queues/new/?copy={queue.slug}")
    assert copied.context["form"].initial["name"] == "Chapters (copy)"
    assert "How fluent is it?" in copied.content.decode()


def test_hints_travel_with_the_answers(make_queue: MakeQueue, engineer: Client, no_store: None) -> None:
    queue = make_queue(3, answers=["Skin", "Ear"], hints={"Skin": "L00–L99"}, filter="route:icd")
    for page in (
        upload(engineer, engineer.get(f"/queues/{queue.slug}/file/").content),
        engineer.get(f"/queues/new/?copy={queue.slug}"),
    ):
        assert "Skin | L00–L99\nEar</textarea>" in page.content.decode()


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/none")


GOOD = {"format": queue_file.FORMAT, "name": "N", "kind": "rating"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "csv"}, "no queue"),
        ({"name": 3}, "“name” in this file"),
        ({"answers": "a"}, "“answers” in this file"),
        ({"answers": [1]}, "“answers” in this file"),
        ({"hints": ["a"]}, "“hints” in this file"),
        ({"hints": {"a": 1}}, "“hints” in this file"),
        ({"also": [{"name": "x"}]}, "A question in this file"),
        ({"also": ["x"]}, "or one is none"),
        ({"also": [FLUENT, FLUENT]}, "the same name"),
        ({"also": [FLUENT | {"name": str(n)} for n in range(9)]}, "at most 8"),
        ({"also": [FLUENT | {"kind": "approve"}]}, "leading question"),
    ],
)
def test_what_is_no_queue_says_what_is_wrong(changes: dict[str, Any], words: str) -> None:
    queue_file.load(json.dumps(GOOD).encode())
    with pytest.raises(NotAQueue, match=words):
        queue_file.load(json.dumps(GOOD | changes).encode())


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"name,kind\n", b"{" * 5000])
def test_bytes_that_are_no_queue_are_refused_by_the_field(engineer: Client, content: bytes) -> None:
    page = upload(engineer, content)
    assert page.status_code == 422
    assert 'id="queue-file-wrong"' in page.content.decode()
    assert not Queue.objects.exists()


def test_an_imported_value_out_of_range_is_refused_by_the_form(engineer: Client, no_store: None) -> None:
    page = upload(engineer, json.dumps(GOOD | {"heat_map": "always"}).encode())
    assert page.status_code == 200
    refused = engineer.post("/queues/new/", form(heat_map="always"))
    assert refused.status_code == 422


def test_further_questions_are_made_changed_and_dropped(engineer: Client, make_queue: MakeQueue) -> None:
    queue = make_queue(0)
    url = f"/queues/{queue.slug}/settings/"
    rows = {
        "also-TOTAL_FORMS": "2",
        "also-INITIAL_FORMS": "0",
        "also-0-words": "How fluent is it?",
        "also-0-kind": "rating",
        "also-0-required": "on",
        "also-1-kind": "choice",
    }
    assert engineer.post(url, form(**rows)).status_code == 302
    queue = Queue.objects.get()
    assert [Question.from_dict(q).name for q in queue.also] == ["how-fluent-is-it"]
    refused = engineer.post(url, form(**(rows | {"also-1-words": "Why?"})))
    assert refused.status_code == 422
    assert "what can be chosen" in refused.content.decode()
    assert engineer.post(url, form()).status_code == 302
    assert Queue.objects.get().also == queue.also, "a form without them leaves them"
    assert engineer.post(url, form(**(rows | {"also-0-words": ""}))).status_code == 302
    assert Queue.objects.get().also == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "choice", "answers": "one"}, "what can be chosen"),
        ({"kind": "essay"}, "not one of the available choices"),
        ({"kind": "tokens", "answers": "wrong", "heat_map": "never"}, "may ask how sure"),
    ],
)
def test_a_question_that_cannot_be_asked_is_said_by_the_field(
    engineer: Client, make_queue: MakeQueue, changes: dict[str, str], words: str
) -> None:
    queue = make_queue(0)
    refused = engineer.post(f"/queues/{queue.slug}/settings/", form(**changes))
    assert refused.status_code == 422
    assert words in refused.content.decode()


def test_calls_are_drawn_with_the_tools_the_model_had(
    clickhouse: str, exchanges: list[str], make_queue: MakeQueue
) -> None:
    call = spooled.call(40, CALL, TOOLS, route="caller")
    storing.store(
        store.connect(), [call, *spooled.exchanges(range(41, 43), route="caller")], "calls", again=False
    )
    queue = make_queue(0, kind="tool_call", filter="route:caller")
    assert sampling.fill(queue, 5) == 1
    item = queue.items.get()
    assert json.loads(item.answer) == {"name": "icd_search", "arguments": {"term": "wheeze", "limit": 3}}
    assert item.tools == TOOLS
    plain = make_queue(0, slug="plain", filter="route:caller")
    assert sampling.fill(plain, 5) == 2


def test_an_item_knows_that_its_answer_was_cut_off(
    clickhouse: str, exchanges: list[str], make_queue: MakeQueue
) -> None:
    whole, cut = spooled.exchanges(range(60, 62), route="short")
    cut = replace(cut, end_reason="length", choices=[replace(cut.choices[0], finish_reason="length")])
    storing.store(store.connect(), [whole, cut], "cut", again=False)
    queue = make_queue(0, filter="route:short")
    assert sampling.fill(queue, 5) == 2
    assert [str(item.exchange_id) for item in queue.items.filter(cut=True)] == [cut.exchange_id]


def test_a_pair_is_two_answers_to_the_very_same_messages(
    clickhouse: str, exchanges: list[str], make_queue: MakeQueue
) -> None:
    ours = spooled.exchanges(range(50, 53), route="ours")
    theirs = [
        *spooled.exchanges([50], route="theirs", text="Circulatory"),
        *spooled.exchanges([51], route="theirs", text="Respiratory"),
    ]
    storing.store(store.connect(), [*ours, *theirs], "pairs", again=False)
    queue = make_queue(0, kind="pair", filter="route:ours", against="route:theirs")
    assert sampling.fill(queue, 5) == 1, "an equal answer is no pair, and one question has only one answer"
    item = queue.items.get()
    assert (item.answer, item.other_answer) == ("Respiratory", "Circulatory")
    assert str(item.other_exchange_id) == theirs[0].exchange_id
