"""Each kind of question: what it takes, what it refuses and in which words, what a double send is."""

import contextlib
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from hypothesis import given
from hypothesis import strategies as st

from annotations import calls, judging, leases, panels, questions
from annotations.judging import Judgement, Refused
from annotations.models import Annotation, Item, Queue
from annotations.questions import Kind, Question, Unfit
from inference.panels import Subject
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_views import post, signed_in

TEXT = "wheezing 🫁 after exercise"


def ask(kind: str, *options: str, required: bool = True) -> Question:
    return Question("main", kind, "What is it?", options, required)


@pytest.mark.parametrize(
    ("question", "given", "value"),
    [
        (ask(Kind.CHOICE, "a", "b"), ["b"], "b"),
        (ask(Kind.CHOICES, "a", "b", "c"), ["c", "a", "c"], ["a", "c"]),
        (ask(Kind.RATING), ["4"], 4),
        (ask(Kind.RATING, "poor", "good"), ["2"], 2),
        (ask(Kind.PAIR), ["equal"], "equal"),
        (ask(Kind.PAIR), ["left"], "first"),
        (ask(Kind.TEXT), [" because \n"], "because"),
        (ask(Kind.TEXT, required=False), ["  "], None),
        (ask(Kind.APPROVE), [], None),
        (ask(Kind.SPANS, "sign"), ["sign: after"], [{"start": 11, "end": 16, "label": "sign"}]),
        (
            ask(Kind.SPANS, "sign", "cue"),
            ['[{"start":9,"end":10,"label":"cue"},{"start":0,"end":8,"label":"sign","extra":1}]'],
            [{"start": 0, "end": 8, "label": "sign"}, {"start": 9, "end": 10, "label": "cue"}],
        ),
        (
            ask(Kind.TOKENS, "wrong"),
            ['[{"index":3,"label":"wrong","text":"Resp"},{"index":3,"label":"wrong"}]'],
            [{"index": 3, "label": "wrong", "text": ""}],
        ),
    ],
)
def test_what_is_taken(question: Question, given: list[str], value: Any) -> None:
    assert questions.read(question, given, TEXT) == value


@pytest.mark.parametrize(
    ("question", "given", "words"),
    [
        (ask(Kind.CHOICE, "a", "b"), ["c"], "is not one of the answers"),
        (ask(Kind.CHOICE, "a", "b"), [], "Choose an answer."),
        (ask(Kind.CHOICES, "a", "b"), ["a", "z"], "is not one of the answers"),
        (ask(Kind.RATING), ["6"], "from 1 to 5"),
        (ask(Kind.RATING), ["²"], "from 1 to 5"),
        (ask(Kind.PAIR), ["first"], "one of the four"),
        (ask(Kind.TEXT), [""], "Write an answer."),
        (ask(Kind.TEXT), ["x" * 20_001], "longer than"),
        (ask(Kind.SPANS, "sign"), ["[1]"], "could not be read"),
        (ask(Kind.SPANS, "sign"), ['[{"start":0,"end":99,"label":"sign"}]'], "does not fit"),
        (ask(Kind.SPANS, "sign"), ['[{"start":2,"end":2,"label":"sign"}]'], "does not fit"),
        (ask(Kind.SPANS, "sign"), ['[{"start":0,"end":8,"label":"cue"}]'], "not one of the labels"),
        (
            ask(Kind.SPANS, "sign"),
            ['[{"start":0,"end":8,"label":"sign"},{"start":7,"end":9,"label":"sign"}]'],
            "overlap",
        ),
        (ask(Kind.SPANS, "sign"), ["sign: coughing"], "does not stand in the answer"),
        (ask(Kind.TOKENS, "wrong"), ['[{"index":-1,"label":"wrong"}]'], "does not fit"),
        (ask(Kind.TOKENS, "wrong"), ["{"], "could not be read"),
    ],
)
def test_what_is_refused_and_why(question: Question, given: list[str], words: str) -> None:
    with pytest.raises(Unfit, match=words):
        questions.read(question, given, TEXT)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(set(questions.KINDS) - set(questions.VERDICTS))), st.lists(st.text(), max_size=3)
)
def test_nothing_that_is_sent_breaks_it(kind: str, sent: list[str]) -> None:
    with contextlib.suppress(Unfit):
        questions.read(ask(kind, "a", "b"), sent, TEXT)


def test_sides_are_stored_as_what_they_were_not_where_they_stood() -> None:
    pair = ask(Kind.PAIR)
    assert questions.read(pair, ["left"], "", swapped=True) == "second"
    assert questions.read(pair, ["right"], "", swapped=True) == "first"
    tossed = {leases.sides_swapped(leases.make_key(1, 1)) for _ in range(64)}
    assert tossed == {True, False}


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (ask(Kind.CHOICE, "only"), "what can be chosen"),
        (ask(Kind.RATING, *"abcdefghij"), "at most 9 steps"),
        (ask(Kind.SPANS, *"abcdefghij"), "At most 9 labels"),
        (ask(Kind.CHOICE, *map(str, range(61))), "At most 60"),
        (Question("main", "essay", "?"), "no kind"),
        (Question("more", Kind.PAIR, "Which?"), "leading question"),
        (Question("a b", Kind.TEXT, "Why?"), "no name"),
    ],
)
def test_a_definition_that_cannot_be_asked(question: Question, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        questions.check(question)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "icd_search",
            "parameters": {
                "type": "object",
                "properties": {"term": {"type": "string"}, "limit": {"type": "integer", "minimum": 1}},
                "required": ["term"],
                "additionalProperties": False,
            },
        },
    }
]
CALL = {"function": {"name": "icd_search", "arguments": '{"term": "wheeze", "limit": 3}'}}


def test_a_call_reads_as_json_and_fits_its_schema() -> None:
    text = calls.text_of([CALL])
    assert json.loads(text) == {"name": "icd_search", "arguments": {"term": "wheeze", "limit": 3}}
    calls.check(text, TOOLS)
    calls.check(calls.text_of([CALL, CALL]), TOOLS)
    assert calls.text_of([]) == ""
    for broken in ("{broken", "[" * 10_000 + "]" * 10_000):
        assert broken in calls.text_of([{"function": {"name": "x", "arguments": broken}}])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON: line 1"),
        ("[" * 10_000 + "]" * 10_000, "nested too deep"),
        ('{"name": "icd_lookup", "arguments": {}}', "There is no tool “icd_lookup”. There are: icd_search."),
        ('{"name": "icd_search", "arguments": {"term": 3}}', r"arguments\.term: 3 is not of type 'string'"),
        ('{"name": "icd_search", "arguments": {"limit": 2}}', "'term' is a required property"),
        ('{"arguments": {}}', "a name and arguments"),
        ("7", "a name and arguments"),
    ],
)
def test_a_call_that_the_schema_refuses(text: str, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        calls.check(text, TOOLS)


def test_a_broken_schema_holds_nothing_against_a_call() -> None:
    tools = [{"function": {"name": "x", "parameters": {"type": "nonsense"}}}]
    calls.check('{"name": "x", "arguments": {"a": 1}}', tools)


pytestmark = pytest.mark.django_db


def test_a_choice_settles_and_a_double_send_counts_once(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(2, kind="choice", question="Which chapter?")
    place, other = leases.reserve(queue, alice)
    said = Judgement("answer", given={"main": ["Skin"]})
    judging.judge(place.item, alice, place.key, said)
    judging.judge(place.item, alice, place.key, said)
    with pytest.raises(judging.Answered):
        judging.judge(place.item, alice, place.key, Judgement("answer", given={"main": ["Digestive"]}))
    item = Item.objects.get(pk=place.item_id)
    assert (item.state, item.verdict, item.verdict_values) == ("settled", "answered", {"main": "Skin"})
    assert item.verdict_answer == "", "a dataset would take it for the right answer"
    for wrong in (
        Judgement("approve"),
        Judgement("answer"),
        Judgement("answer", given={"main": ["Astrology"]}),
    ):
        with pytest.raises(Refused):
            judging.judge(other.item, alice, other.key, wrong)
    judging.judge(other.item, alice, other.key, Judgement("cant_judge"))
    assert Annotation.objects.count() == 2


def test_two_people_can_differ_in_a_choice_but_not_in_words(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    for kind, state in (("choice", "conflict"), ("text", "settled")):
        queue = make_queue(1, slug=kind, kind=kind, judgements_per_item=2)
        for person, answer in ((alice, "Skin"), (bob, "Digestive")):
            place = leases.reserve(queue, person)[0]
            judging.judge(place.item, person, place.key, Judgement("answer", given={"main": [answer]}))
        assert queue.items.get().state == state


FLUENT = Question("fluent", Kind.RATING, "How fluent is it?").as_dict()
WHY = Question("why", Kind.TEXT, "Why?", required=False).as_dict()


def test_further_questions_are_asked_beside_the_verdict(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(1, also=[FLUENT, WHY], judgements_per_item=2)
    hers, his = leases.reserve(queue, alice)[0], leases.reserve(queue, bob)[0]
    with pytest.raises(Refused) as told:
        judging.judge(hers.item, alice, hers.key, Judgement("approve"))
    assert told.value.field == "q-fluent"
    given = {"fluent": ["4"], "why": ["It is plain."]}
    made = judging.judge(hers.item, alice, hers.key, Judgement("approve", given=given))
    assert made.values == {"fluent": 4, "why": "It is plain."}
    judging.judge(his.item, bob, his.key, Judgement("approve", given={"fluent": ["4"]}))
    item = queue.items.get()
    assert (item.state, item.verdict, item.verdict_values) == ("settled", "approved", {"fluent": 4})


def test_a_pair_is_stored_as_it_was_shown(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(12, kind="pair", question="Which is better?")
    queue.items.update(other_answer="Circulatory")
    client = signed_in(alice)
    seen: set[bool] = set()
    for place in leases.reserve(queue, alice, 12):
        page = client.get(f"/review/{queue.slug}/").content.decode()
        swapped = leases.sides_swapped(place.key)
        assert (page.index("Circulatory</div>") < page.index("Respiratory</div>")) == swapped
        assert post(client, place, "", given={"q-main": "left"}).status_code == 302
        made = Annotation.objects.latest("id")
        assert (made.values, made.sides_swapped) == ({"main": "second" if swapped else "first"}, swapped)
        seen.add(swapped)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("kind", "sent", "value"),
    [
        ("choice", ["Skin"], "Skin"),
        ("choices", ["Skin", "Digestive"], ["Digestive", "Skin"]),
        ("rating", ["2"], 2),
        ("text", ["Because."], "Because."),
        ("spans", ["Skin: Resp"], [{"start": 0, "end": 4, "label": "Skin"}]),
    ],
)
def test_every_kind_is_a_plain_form(
    make_queue: MakeQueue, alice: User, kind: str, sent: list[str], value: Any
) -> None:
    queue = make_queue(1, kind=kind, question="What do you say?")
    client = signed_in(alice)
    page = client.get(f"/review/{queue.slug}/").content.decode()
    assert "What do you say?" in page
    assert 'name="q-main"' in page
    assert "Approve" not in page
    place = leases.reserve(queue, alice)[0]
    refused = post(client, place, "answer", given={"q-main": ["Wrong: nowhere", "9"]}, note="my note")
    if kind != "text":
        assert refused.status_code == 422
        assert "my note" in refused.content.decode()
    post(client, place, "answer", given={"q-main": sent})
    assert Annotation.objects.get().values["main"] == (value if kind != "text" else "9")
    assert client.get(f"/review/{queue.slug}/mine/").status_code == 200


def test_a_corrected_call_must_fit_its_schema(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1, kind="tool_call")
    queue.items.update(answer=calls.text_of([CALL]), tools=TOOLS)
    place = leases.reserve(queue, alice)[0]
    wrong = '{"name": "icd_search", "arguments": {"term": 3}}'
    answer = post(signed_in(alice), place, "correct", answer=wrong)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "arguments.term: 3 is not of type &#x27;string&#x27;" in page
    assert "&quot;term&quot;: 3" in page, "what was typed stays"
    right = '{"name": "icd_search", "arguments": {"term": "wheezing"}}'
    post(signed_in(alice), place, "correct", answer=right)
    item = Item.objects.get()
    assert (item.verdict, item.verdict_answer) == ("corrected", right)


def test_hostile_options_are_text(make_queue: MakeQueue, alice: User) -> None:
    evil = '"><script>alert(1)</script>'
    make_queue(1, kind="choices", question=evil, answers=[evil, "b"], also=[WHY | {"words": evil}])
    page = signed_in(alice).get("/review/chapters/").content.decode()
    assert "<script>alert" not in page


def test_the_page_of_the_exchange_shows_answers_in_words(make_queue: MakeQueue, alice: User) -> None:
    queue: Queue = make_queue(1, kind="choice", question="Which chapter?")
    place = leases.reserve(queue, alice)[0]
    judging.judge(place.item, alice, place.key, Judgement("answer", given={"main": ["Skin"]}))
    [panel] = panels.judgements(Subject(place.item.exchange_id, 0, "", ""))
    assert "Skin" in render_to_string(panel.template, {"panel": panel.context})
