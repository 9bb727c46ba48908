"""Reading masked: who does, that nothing of an item slips by, and what is typed over placeholders."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from annotations import access, export, golds, judging, leases, masks, people
from annotations.judging import Judgement
from annotations.masks import Mask
from annotations.models import Annotation, Assignment, Item, Queue, QueueEvent, Suggestion
from flywheel import datasets
from flywheel.datasets import Recipe
from flywheel.leftovers import UNCLEAR
from inference.masking import PLACEHOLDER
from tests.annotations.conftest import MakeQueue, person
from tests.annotations.test_people import NEW, with_role
from tests.annotations.test_questions import TOOLS
from tests.annotations.test_views import FRAGMENT, post, signed_in

pytestmark = pytest.mark.django_db
MAIL, PHONE, CARD = "ada@example.org", "+44 20 7946 0018", "4111 1111 1111 1111"
SECRETS = (MAIL, PHONE, CARD)
CALL = {"function": {"name": "find", "arguments": '{"by": "' + r"\n" + PHONE + '"}'}}


def personal(queue: Queue, **more: object) -> Item:
    """An item with personal data in every place of it."""
    item = queue.items.order_by("position")[0]
    item.messages = [
        {"role": "system", "content": f"Answer {MAIL}."},
        {"role": "user", "content": f"I am {MAIL}."},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "user", "content": [{"type": "text", "text": f"Call {PHONE} or {MAIL}, card {CARD}?"}]},
    ]
    item.answer, item.group = f"Write to {MAIL}, then call {PHONE}.", "conversation 1"
    for name, value in more.items():
        setattr(item, name, value)
    item.save()
    return item


def placeholder(item: Item, value: str) -> str:
    """What stands for a value in an item."""
    return Mask(item).text(value)


@pytest.fixture
def outsider(db: None) -> User:
    somebody = person("oscar")
    access.set_outside(somebody, outside=True)
    return somebody


@pytest.fixture
def queue(make_queue: MakeQueue, outsider: User) -> Queue:
    made = make_queue(4, answers=[])
    made.reviewers.add(outsider)
    personal(made)
    return made


def told(answer: Any) -> str:
    """The body, once it is certain that it holds nothing personal."""
    page = (b"".join(answer) if answer.streaming else answer.content).decode()
    for secret in (*SECRETS, "7946", "4111", r"ada@"):
        assert secret not in page, secret
    return page


def test_every_page_of_a_reviewer_from_outside_is_masked(queue: Queue, outsider: User, alice: User) -> None:
    client, place = signed_in(outsider), leases.reserve(queue, outsider)[0]
    item = Item.objects.get(pk=place.item_id)
    url = reverse("review", args=[queue.slug])
    for address in (url, f"{url}?open=correct"):
        page = told(client.get(address))
        assert page.count(placeholder(item, MAIL)) >= 4
        assert placeholder(item, PHONE) in page
    told(client.get(f"{url}next/", headers=FRAGMENT))
    told(post(client, place, "correct", FRAGMENT, answer=""))
    told(post(client, place, "correct", answer=""))
    told(client.get(f"{url}sureness/?item={place.item_id}"))
    page = told(client.get(f"{url}sureness/?item={place.item_id}", headers=FRAGMENT))
    assert "is not shown where personal data is masked" in page
    assert "How sure was the model?" not in told(client.get(url)).partition('id="ahead"')[0]
    told(post(client, place, "correct", FRAGMENT, answer=f"Write to {placeholder(item, MAIL)}."))
    page = told(client.get(f"{url}mine/"))
    assert f"Write to {placeholder(item, MAIL)}." in page
    told(client.post(f"{url}undo/", {"key": place.key}, headers=FRAGMENT))
    Assignment.objects.all().delete()
    assert MAIL in signed_in(alice).get(url).content.decode()


def test_in_a_masked_queue_everybody_reads_masked_but_who_leads_it(
    make_queue: MakeQueue, alice: User, carol: User
) -> None:
    queue = make_queue(2, answers=[], masked=True)
    item = personal(queue)
    told(signed_in(alice).get("/review/chapters/"))
    address = f"/queues/chapters/items/{item.pk}/"
    told(signed_in(with_role(queue, "reader")).get(address))
    for leads in (with_role(queue, "lead"), carol):
        assert MAIL in signed_in(leads).get(address).content.decode()


@pytest.mark.slow
def test_who_looks_on_from_outside_sees_nothing_personal(
    queue: Queue, outsider: User, alice: User, bob: User
) -> None:
    queue.judgements_per_item, queue.filter = 2, f"text:{MAIL}"
    queue.save()
    item = queue.items.order_by("position")[0]
    said = Judgement("correct", f"Only {MAIL}", note=f"{PHONE} is wrong")
    for somebody, what in ((alice, said), (bob, Judgement("approve"))):
        place = leases.reserve(queue, somebody, 1)[0]
        judging.judge(place.item, somebody, place.key, what)
    people.give(queue, outsider, "lead", alice)
    client = signed_in(outsider)
    pages = ["", "conflicts/", f"items/{item.pk}/", "agreement/", "file/"]
    for page in [*pages, "annotations.jsonl", "annotations.csv"]:
        told(client.get(f"/queues/chapters/{page}"))
    assert placeholder(item, MAIL) in told(client.get("/queues/chapters/conflicts/"))
    assert b"ada@" in b"".join(export.jsonl(queue))
    item.refresh_from_db()
    refused = {"key": "k", "revision": item.revision, "decision": "correct", "answer": "[email 3fa"}
    answer = client.post(f"/queues/chapters/items/{item.pk}/decide/", refused)
    assert answer.status_code == 422
    assert "is a piece of a placeholder" in told(answer)
    refused["answer"] = f"To {placeholder(item, MAIL)}"
    assert client.post(f"/queues/chapters/items/{item.pk}/decide/", refused).status_code == 302
    item.refresh_from_db()
    assert item.verdict_answer == f"To {MAIL}"


def test_a_suggestion_and_a_check_questions_word_are_masked(
    queue: Queue, outsider: User, alice: User
) -> None:
    queue.suggested_by, queue.gold_every = "version:judge", 1
    queue.save()
    place = leases.reserve(queue, alice, 1)[0]
    judging.judge(place.item, alice, place.key, Judgement("correct", f"Only {MAIL}"))
    item = Item.objects.get(pk=place.item_id)
    assert golds.mark(item, alice, f"As {PHONE} says.")
    Suggestion.objects.create(
        item=item, model=queue.suggested_by, decision="correct", answer=f"{'x' * 72} {MAIL}", reason=MAIL
    )
    mine = next(one for one in leases.reserve(queue, outsider) if one.item_id == item.pk)
    page = told(post(signed_in(outsider), mine, "approve", FRAGMENT))
    assert "A model would correct it" in page
    assert "The known answer" in page
    queue.suggested_before = True
    queue.save()
    waits = leases.held(queue, outsider)[0].item
    Suggestion.objects.create(item=waits, model=queue.suggested_by, decision="reject", reason=f"as {MAIL}")
    assert "A model would reject it" in told(signed_in(outsider).get("/review/chapters/"))


def correct(queue: Queue, somebody: User, answer: str, note: str = "") -> HttpResponse:
    place = leases.reserve(queue, somebody, 1)[0]
    return post(signed_in(somebody), place, "correct", FRAGMENT, answer=answer, note=note)


def test_a_placeholder_that_was_typed_is_what_it_stands_for(queue: Queue, outsider: User) -> None:
    item = queue.items.order_by("position")[0]
    written = f"Write to {placeholder(item, MAIL)} only."
    place = leases.reserve(queue, outsider, 1)[0]
    for _ in range(2):  # sent twice, counted once
        assert post(signed_in(outsider), place, "correct", FRAGMENT, answer=written).status_code == 200
    said = Annotation.objects.get()
    assert (said.answer, said.masked) == (f"Write to {MAIL} only.", True)
    item.refresh_from_db()
    assert item.verdict_answer == f"Write to {MAIL} only."
    drawn = datasets.draw(queue, Recipe(exam_rows=0))
    assert [row.answer for row in drawn.train] == [f"Write to {MAIL} only."]


def test_the_models_own_answer_is_known_behind_its_placeholders(queue: Queue, outsider: User) -> None:
    item = queue.items.order_by("position")[0]
    answer = correct(queue, outsider, Mask(item).item.answer)
    assert answer.status_code == 422
    assert "That is the model&#x27;s answer. Approve it?" in told(answer)


@pytest.mark.parametrize("broken", ["[email 3fa9c1", "[email 3fa]", "[phone", "Write to [email]"])
def test_a_broken_placeholder_is_refused_beside_the_field_and_kept(
    queue: Queue, outsider: User, broken: str
) -> None:
    answer = correct(queue, outsider, broken, note="mine")
    page = told(answer)
    assert answer.status_code == 422
    assert "is a piece of a placeholder" in page
    assert broken in page
    assert not Annotation.objects.exists()


def test_one_that_could_be_several_stays_and_comes_into_no_dataset(queue: Queue, outsider: User) -> None:
    item = personal(queue, answer="See above.")
    item.messages[-1]["content"] = f"Call {PHONE} or +44 (20) 79460018."
    item.save()
    made = placeholder(item, PHONE)
    assert placeholder(item, "+44 (20) 79460018") == made
    answer = correct(queue, outsider, f"Call {made}.")
    assert answer.status_code == 200
    item.refresh_from_db()
    assert item.verdict_answer == f"Call {made}."
    drawn = datasets.draw(queue, Recipe(exam_rows=0))
    assert drawn.left_out[UNCLEAR] == 1
    assert drawn.train == []
    # The answer's own spelling is the one that is meant.
    Item.objects.filter(pk=item.pk).update(answer=f"Ring {PHONE}.", state="waiting", verdict="")
    item.refresh_from_db()
    assert Mask(item).read(Judgement("correct", f"Call {made}.")).answer == f"Call {PHONE}."


def test_what_stands_behind_escapes_in_json_is_found(queue: Queue) -> None:
    """A line end before a number is written as a letter: the number is then no word of its own."""
    number = CARD.replace(" ", "")
    inner = json.dumps({"card": f"pay\n{number}"})
    for written in (inner, json.dumps({"arguments": inner})):
        mask = Mask(personal(queue, answer=written))
        assert number not in mask.item.answer
        assert mask.item.answer.count("[card ") == 1
        made = mask.item.answer
        assert mask.read(Judgement("correct", made)).answer == written


def test_a_copy_of_a_masked_queue_is_masked(make_queue: MakeQueue, carol: User) -> None:
    make_queue(1, masked=True)
    page = signed_in(carol).get("/queues/new/?copy=chapters").content.decode()
    assert re.search('name="masked"[^>]* checked', page)


def test_placeholders_that_came_with_the_item_are_its_own_words(queue: Queue) -> None:
    """A route that masks stored them: they are what the model reads and should write."""
    item = personal(queue, answer="Write to [email aaaaaa].")
    assert not masks.unclear("To [email aaaaaa].", item)
    assert masks.unclear("To [email bbbbbb].", item)


def test_one_conversation_has_one_placeholder_and_two_have_two(queue: Queue) -> None:
    one, two, three = queue.items.order_by("position")[:3]
    two.group, three.group = one.group, "conversation 2"
    assert placeholder(one, MAIL) == placeholder(two, MAIL) != placeholder(three, MAIL)
    assert PLACEHOLDER.fullmatch(placeholder(one, MAIL))


def test_marks_on_masked_words_are_marks_on_the_words(queue: Queue, outsider: User) -> None:
    queue.also = [
        {"name": "where", "kind": "spans", "words": "Where?", "options": ["odd"], "required": False}
    ]
    queue.save()
    item = queue.items.order_by("position")[0]
    item.queue = queue
    shown = Mask(item).item.answer
    start = shown.index("call")
    made = placeholder(item, MAIL)
    marks = f'[{{"start": {start}, "end": {start + 4}, "label": "odd"}},'
    marks += f'{{"start": {shown.index(made) + 2}, "end": {shown.index(made) + 5}, "label": "odd"}}]'
    place = leases.reserve(queue, outsider, 1)[0]
    post(signed_in(outsider), place, "approve", FRAGMENT, {"q-where": marks})
    found = Annotation.objects.get().values["where"]
    assert [item.answer[one["start"] : one["end"]] for one in found] == [MAIL, "call"]


def test_a_tool_call_is_corrected_by_its_placeholders_and_no_refusal_tells(
    make_queue: MakeQueue, outsider: User
) -> None:
    queue = make_queue(1, kind="tool_call", answers=[])
    queue.reviewers.add(outsider)
    name = "icd_search"
    answer = f'{{\n  "name": "{name}",\n  "arguments": {{\n    "term": 4111111111111111\n  }}\n}}'
    item = personal(queue, answer=answer, tools=TOOLS)
    made = placeholder(item, "4111111111111111")
    given = f'{{"name": "{name}", "arguments": {{"term": {made}}}}}'
    refused = correct(queue, outsider, given)
    assert refused.status_code == 422
    page = told(refused)
    assert "is not of type" in page
    assert made in page
    taken = correct(queue, outsider, given.replace(made, f'"{made}"'))
    assert taken.status_code == 200
    assert '"4111111111111111"' in Annotation.objects.get().answer


def test_a_new_account_by_a_link_from_outside_is_from_outside_and_no_other(
    make_queue: MakeQueue, alice: User, mallory: User
) -> None:
    queue = make_queue(1)
    for outside, name in ((True, "newcomer"), (False, "colleague")):
        token = people.invite(queue, alice, "reviewer", 1, outside=outside)
        Client().post(reverse("join", args=[token]), NEW | {"name": name})
        assert access.is_outside(User.objects.get(username=name)) is outside
    token = people.invite(queue, alice, "reviewer", 1, outside=True)
    signed_in(mallory).post(reverse("join", args=[token]))
    assert queue.reviewers.filter(pk=mallory.pk).exists()
    assert not access.is_outside(User.objects.get(pk=mallory.pk))


def test_a_lead_from_outside_invites_from_outside_only_and_lifts_no_mask(
    queue: Queue, outsider: User
) -> None:
    people.give(queue, outsider, "lead", outsider)
    queue.masked = True
    queue.save()
    client = signed_in(outsider)
    client.post("/queues/chapters/invite/", {"role": "reviewer", "days": 1})
    assert queue.invitations.get().outside
    assert 'name="masked"' not in client.get("/queues/chapters/settings/").content.decode()
    client.post("/queues/chapters/settings/", {"name": "x"})
    queue.refresh_from_db()
    assert queue.masked


def test_only_an_engineer_says_who_is_from_outside(
    queue: Queue, outsider: User, carol: User, mallory: User
) -> None:
    address = reverse("queue-outside", args=[queue.slug, outsider.pk])
    for somebody in (with_role(queue, "admin"), mallory, outsider):
        assert signed_in(somebody).post(address, {"outside": "no"}).status_code == 403
    assert Client().post(address).status_code == 302
    assert access.is_outside(User.objects.get(pk=outsider.pk))
    signed_in(carol).post(address, {"outside": "no"})
    assert not access.is_outside(User.objects.get(pk=outsider.pk))
    signed_in(carol).post(address, {"outside": "yes"})
    assert access.is_outside(User.objects.get(pk=outsider.pk))
    assert QueueEvent.objects.filter(who=carol, about__contains="from outside, oscar").count() == 2
    assert re.search("from outside", signed_in(carol).get("/queues/chapters/people/").content.decode())
