"""Verdict rules, and a lead's second opinion where judgements differ."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from annotations import export, judging, leases, people
from annotations.judging import Judgement
from annotations.models import Adjudication, Item, Queue
from annotations.people import Role
from inference.audit import Look
from tests.annotations.conftest import MakeQueue

URL = "/queues/chapters/conflicts/"


def say(queue: Queue, person: User, said: Judgement) -> Item:
    (place, *_) = leases.reserve(queue, person, 1)
    judging.judge(place.item, person, place.key, said)
    return Item.objects.get(pk=place.item_id)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana")


@pytest.fixture
def conflict(make_queue: MakeQueue, alice: User, bob: User) -> Item:
    """Alice approves, Bob corrects."""
    queue = make_queue(1, judgements_per_item=2)
    say(queue, alice, Judgement("approve"))
    item = say(queue, bob, Judgement("correct", answer="Skin", note="it itches"))
    assert item.state == Item.State.CONFLICT
    return item


def decide(client: Client, item: Item, **body: object) -> int:
    sent = {"key": "k1", "revision": item.revision, **body}
    return client.post(f"/queues/chapters/items/{item.pk}/decide/", sent).status_code


def test_only_leads_decide(conflict: Item, alice: User, mallory: User, dana: User) -> None:
    people.give(conflict.queue, dana, Role.READER, alice)
    for person in (alice, mallory, dana):
        assert signed_in(person).get(URL).status_code == 403
        assert decide(signed_in(person), conflict, decision="approve") == 403
    assert Client().get(URL).status_code == 302
    assert not Adjudication.objects.exists()
    people.give(conflict.queue, dana, Role.LEAD, alice)
    assert decide(signed_in(dana), conflict, decision="approve") == 302


def test_a_lead_sees_both_sides_and_takes_one(conflict: Item, carol: User, bob: User) -> None:
    client = signed_in(carol)
    page = client.get(URL).content.decode()
    assert Look.objects.get().exchanges.split() == [str(conflict.exchange_id)]
    assert "1 item waits for a second opinion" in page
    assert "it itches" in page
    assert "Approved" in page
    side = judging.standing(conflict.queue, bob).get()
    assert decide(client, conflict, side=side.pk, why="The guideline says so.") == 302
    conflict.refresh_from_db()
    assert (conflict.state, conflict.verdict, conflict.verdict_answer, conflict.verdict_rule) == (
        *("settled", "corrected", "Skin", "adjudicated by carol"),
    )
    assert decide(client, conflict, decision="approve") == 302, "the same form again"
    assert Adjudication.objects.get().why == "The guideline says so."
    assert "No item waits" in client.get(URL).content.decode()


def test_what_a_lead_decided_stands(conflict: Item, carol: User, bob: User) -> None:
    decide(signed_in(carol), conflict, decision="reject")
    said = judging.standing(conflict.queue, bob).get()
    with pytest.raises(judging.Refused, match="second opinion has used"):
        judging.undo(conflict.queue, bob, said.key)
    conflict.refresh_from_db()
    assert conflict.verdict == "rejected"
    # Decided anew: appended, the newest counts.
    page = signed_in(carol).get(URL, {"item": conflict.pk}).content.decode()
    assert "Decided by carol" in page
    assert decide(signed_in(carol), conflict, key="k2", decision="correct", answer="Digestive") == 302
    conflict.refresh_from_db()
    assert conflict.verdict_answer == "Digestive"
    assert Adjudication.objects.count() == 2


def test_a_decision_on_what_has_changed_or_does_not_fit_is_refused(conflict: Item, carol: User) -> None:
    client = signed_in(carol)
    assert decide(client, conflict, revision=conflict.revision - 1, decision="approve") == 409
    assert decide(client, conflict, revision="x", decision="approve") == 409
    for body in ({"decision": "correct", "answer": "Nonsense"}, {"decision": "flag"}, {"decision": ""}):
        conflict.refresh_from_db()
        assert decide(client, conflict, **body) == 422
    assert not Adjudication.objects.exists()
    refused = client.post(
        f"/queues/chapters/items/{conflict.pk}/decide/",
        {"key": "k", "revision": conflict.revision, "decision": "correct", "answer": "", "why": "because"},
    )
    assert "because" in refused.content.decode(), "what was typed stays"


def test_a_choice_is_decided_by_an_option(make_queue: MakeQueue, alice: User, bob: User, carol: User) -> None:
    queue = make_queue(1, judgements_per_item=2, kind="choice")
    say(queue, alice, Judgement("answer", given={"main": ["Skin"]}))
    item = say(queue, bob, Judgement("answer", given={"main": ["Digestive"]}))
    assert decide(signed_in(carol), item, decision="answer") == 422
    item.refresh_from_db()
    assert decide(signed_in(carol), item, decision="answer", **{"q-main": "Respiratory"}) == 302
    item.refresh_from_db()
    assert (item.verdict, item.verdict_values) == ("answered", {"main": "Respiratory"})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("majority", ("settled", "approved", "majority: 2 of 3 agree")),
        ("unanimity", ("conflict", "", "3 judgements differ")),
    ],
)
def test_more_than_half_settle_where_the_queue_says_so(
    make_queue: MakeQueue, dana: User, rule: str, expected: tuple[str, str, str]
) -> None:
    queue = make_queue(1, judgements_per_item=3, rule=rule)
    queue.reviewers.add(dana)
    for name, decision in (("alice", "approve"), ("bob", "reject")):
        say(queue, queue.reviewers.get(username=name), Judgement(decision))
    item = say(queue, dana, Judgement("approve"))
    assert (item.state, item.verdict, item.verdict_rule) == expected


def test_half_is_no_majority(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(1, judgements_per_item=2, rule="majority")
    say(queue, alice, Judgement("approve"))
    assert say(queue, bob, Judgement("reject")).state == Item.State.CONFLICT


def test_a_decision_can_be_read_afterwards_with_its_why(
    conflict: Item, carol: User, dana: User, mallory: User
) -> None:
    page = f"/queues/chapters/items/{conflict.pk}/"
    decide(signed_in(carol), conflict, decision="correct", answer="Digestive", why="See chapter <11>.")
    conflict.refresh_from_db()
    decide(signed_in(carol), conflict, key="k2", decision="reject", why="On second thoughts.")
    people.give(conflict.queue, dana, Role.READER, carol)
    seen = signed_in(dana).get(page).content.decode()
    for told in ("See chapter &lt;11&gt;.", "Digestive", "On second thoughts.", "carol decided"):
        assert told in seen
    assert seen.index("On second thoughts.") < seen.index("See chapter"), "the newest first"
    assert signed_in(mallory).get(page).status_code == 403


def test_the_export_holds_the_verdicts_answer_and_the_why(conflict: Item, carol: User) -> None:
    assert {(row["verdict_answer"], row["decided_why"]) for row in export.rows(conflict.queue)} == {("", "")}
    decide(signed_in(carol), conflict, decision="correct", answer="Digestive", why="See chapter 11.")
    rows = list(export.rows(conflict.queue))
    assert {(row["verdict_answer"], row["decided_why"]) for row in rows} == {("Digestive", "See chapter 11.")}
    Item.objects.filter(pk=conflict.pk).update(state=Item.State.FLAGGED)
    assert {(row["verdict_answer"], row["decided_why"]) for row in export.rows(conflict.queue)} == {
        (None, None)
    }


def test_a_choice_that_was_decided_is_told_in_words(
    make_queue: MakeQueue, alice: User, bob: User, carol: User
) -> None:
    queue = make_queue(1, judgements_per_item=2, kind="pair", question="Which is better?", answers=[])
    Item.objects.update(other_answer="Skin")
    say(queue, alice, Judgement("answer", given={"main": ["equal"]}))
    item = say(queue, bob, Judgement("answer", given={"main": ["neither"]}))
    assert decide(signed_in(carol), item, decision="answer", **{"q-main": "left"}) == 302
    seen = signed_in(carol).get(f"/queues/chapters/items/{item.pk}/").content.decode()
    assert seen.count("the first is better") == 2, "in the verdict and in the decision"
    assert next(export.rows(queue))["verdict_values"] == {"main": "first"}


def test_who_reads_masked_reads_verdicts_and_decisions_masked(
    conflict: Item, carol: User, dana: User
) -> None:
    Queue.objects.update(masked=True, answers=[])
    wrong, why = "Skin of ann@example.org", "Asked bo@example.org."
    decide(signed_in(carol), conflict, decision="correct", answer=wrong, why=why)
    people.give(conflict.queue, dana, Role.READER, carol)
    seen = signed_in(dana).get(f"/queues/chapters/items/{conflict.pk}/").content.decode()
    (row, *_) = export.rows(Queue.objects.get(), masked=True)
    for text in (seen, row["verdict_answer"], row["decided_why"]):
        assert "[email " in text
        assert "@example.org" not in text
    assert next(export.rows(Queue.objects.get()))["decided_why"] == why
