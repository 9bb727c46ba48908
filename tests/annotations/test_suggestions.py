"""A model judges along: asked through the proxy, shown after one's own judgement, measured against people."""

import json
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from annotations import judging, leases, suggestions
from annotations.judging import Judgement
from annotations.models import Item, Queue, Suggestion
from flywheel import suggesting
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_people import with_role
from tests.annotations.test_views import FRAGMENT, post, signed_in
from tests.flywheel.tiny_engine import TinyEngine, serve

MODEL = "version:judge"


@pytest.fixture
def engine(settings: Settings) -> Iterator[TinyEngine]:
    with serve(TinyEngine()) as engine:
        settings.PROXY_URL, settings.EVALUATION_KEY = engine.url, "fw-test"
        yield engine


def reply(**said: object) -> str:
    return f"Sure. {json.dumps(said)}"


def suggest(queue: Queue, **by_position: str) -> None:
    for position, decision in by_position.items():
        item = queue.items.get(position=int(position[1:]))
        Suggestion.objects.create(item=item, model=queue.suggested_by, decision=decision, reason="secret why")


def test_what_waits_is_asked_about_once_through_the_proxy(make_queue: MakeQueue, engine: TinyEngine) -> None:
    queue = make_queue(3, suggested_by=MODEL)
    make_queue(2, slug="without")
    engine.answer = lambda model, question: reply(decision="reject", reason="not it")
    assert suggesting.run() == 3
    assert suggesting.run() == 0
    assert len(engine.asked) == 3
    asked = engine.asked[0]
    assert (asked["model"], asked["tags"], asked["temperature"]) == (MODEL, "suggestion=chapters", 0)
    assert "wheezing, case 1" in asked["messages"][1]["content"]
    assert "**chapter**" in asked["messages"][0]["content"]
    made = list(Suggestion.objects.values_list("decision", "reason", "item__queue"))
    assert made == [("reject", "not it", queue.pk)] * 3


def test_a_proxy_that_fails_leaves_the_rest_for_later(make_queue: MakeQueue, engine: TinyEngine) -> None:
    make_queue(2, suggested_by=MODEL)
    engine.status = 503
    assert suggesting.run() == 0
    assert not Suggestion.objects.exists()
    engine.status = 200
    assert suggesting.run() == 2
    assert set(Suggestion.objects.values_list("decision", flat=True)) == {""}  # "Injury" is no judgement


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (reply(decision="approve"), ("approve", "", "")),
        (reply(decision="correct", answer="Skin", reason="rash"), ("correct", "Skin", "rash")),
        (reply(decision="correct", answer="Respiratory"), ("approve", "", "")),
        (reply(decision="correct", answer="Moon"), ("reject", "", "")),
        (reply(decision="correct"), ("reject", "", "")),
        (reply(decision="maybe"), ("", "", "")),
        ("[1, 2]", ("", "", "")),
        ("{broken", ("", "", "")),
        ("", ("", "", "")),
    ],
)
def test_replies_are_read_as_they_are_meant(
    make_queue: MakeQueue, text: str, read: tuple[str, str, str]
) -> None:
    queue = make_queue(1)
    assert suggestions.parse(text, queue.items.get(), queue) == read


def test_it_is_seen_only_after_ones_own_judgement(make_queue: MakeQueue, alice: User) -> None:
    queue, client = make_queue(4, suggested_by=MODEL), signed_in(alice)
    suggest(queue, p0="reject", p1="reject", p2="approve")
    page = client.get("/review/chapters/").content.decode()
    first, second = leases.reserve(queue, alice)[:2]
    for secret in ("A model would", "secret why", MODEL):
        assert secret not in page
    after = post(client, first, "approve", FRAGMENT).content.decode()
    assert "Approved the last one" in after
    assert after.count("A model would reject it") == 1
    assert "secret why" not in after
    assert MODEL not in after
    skipped = post(client, second, "skip", FRAGMENT).content.decode()
    assert skipped.count("A model would reject it") == 1  # of the one that was judged


def test_a_queue_may_show_it_before(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1, suggested_by=MODEL, suggested_before=True)
    suggest(queue, p0="reject")
    page = signed_in(alice).get("/review/chapters/").content.decode()
    assert "A model would reject it" in page
    assert "It may be wrong" in page


@pytest.mark.slow
def test_agreement_with_people_is_measured_and_shown(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(6, suggested_by=MODEL)
    assert suggestions.agreed(queue) is None
    suggest(queue, p0="approve", p1="reject", p2="approve", p3="correct", p4="")
    Suggestion.objects.create(item=queue.items.get(position=0), model="version:older", decision="reject")
    for said in ("approve", "reject", "reject", "reject", "approve"):
        place = leases.reserve(queue, alice, 1)[0]
        judging.judge(place.item, alice, place.key, Judgement(said))
    found = suggestions.agreed(queue)
    assert found is not None
    assert (found.n, found.agreed) == (4, 3)
    assert found.kappa == pytest.approx(0.5)
    page = signed_in(with_role(queue, "reader")).get(queue.get_absolute_url()).content.decode()
    assert "of 4 judgements" in page
    assert "kappa 0.50" in page
    assert "agree on 75" in signed_in(alice).get("/review/chapters/mine/").content.decode()


def test_only_texts_that_are_approved_are_asked_about(make_queue: MakeQueue, engine: TinyEngine) -> None:
    make_queue(1, suggested_by=MODEL, kind="choice")
    assert suggesting.run() == 0
    assert not engine.asked


def test_a_lead_can_not_choose_the_model(make_queue: MakeQueue) -> None:
    queue = make_queue(1)
    client = signed_in(with_role(queue, "lead"))
    form = client.get("/queues/chapters/settings/").content.decode()
    assert "suggested_by" not in form
    client.post("/queues/chapters/settings/", {"suggested_by": MODEL, "name": "x"})
    assert Item.objects.filter(queue__suggested_by="").count() == 1
