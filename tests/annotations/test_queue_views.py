import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse

from annotations import judging, leases, sampling
from annotations.judging import Judgement
from annotations.models import Assignment, Item, Queue
from inference import clickhouse as store
from inference import storing
from tests.annotations.conftest import MakeQueue
from tests.inference import spooled, tiny

FRAGMENT = {"HX-Request": "true"}
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def exchanges(clickhouse: str) -> Iterator[list[str]]:
    """Thirty answered exchanges in the trace store; the last ten on another route."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        store.migrate()
        known = hashlib.sha256(tiny.tokenizer_json().encode()).hexdigest()
        made = [
            *spooled.exchanges(range(20), tokenizer=known),
            *spooled.exchanges(range(20, 30), route="billing"),
        ]
        storing.store(store.connect(), made, "batch", again=False)
        yield [one.exchange_id for one in made]


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/none")


@pytest.fixture
def engineer(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


def form(**changes: object) -> dict[str, object]:
    return {
        "filter": "route:icd-chapter",
        "size": "15",
        "order": "random",
        "key": "a-key",
        "name": "Which chapter?",
        "kind": "approve",
        "question": "Is it right?",
        "answers": "Skin\nRespiratory\n\nSkin\n",
        "reasons": "Wrong chapter",
        "guidelines": "Choose.",
        "judgements_per_item": "2",
        "heat_map": "never",
        "lease_minutes": "20",
    } | changes


LEADS = ["queues", "queue-new", "queue", "queue-settings"]
ACTIONS = ["queue-state", "queue-release", "queue-draw", "queue-settings"]


def address(name: str, queue: Queue) -> str:
    more = {"queues": [], "queue-new": [], "queue-release": [queue.slug, 1]}.get(name, [queue.slug])
    return reverse(name, args=more)


@pytest.mark.parametrize("name", LEADS)
def test_reviewers_and_strangers_do_not_lead(
    make_queue: MakeQueue, alice: User, mallory: User, name: str
) -> None:
    url = address(name, make_queue())
    for person in (alice, mallory):
        client = Client()
        client.force_login(person)
        assert client.get(url).status_code == 403
    assert Client().get(url).status_code == 302


@pytest.mark.parametrize("name", ACTIONS)
def test_reviewers_and_strangers_change_nothing(
    make_queue: MakeQueue, alice: User, mallory: User, name: str
) -> None:
    queue = make_queue()
    for person in (alice, mallory):
        client = Client()
        client.force_login(person)
        assert client.post(address(name, queue), {"action": "close"}).status_code == 403
    assert Client().post(address(name, queue), {"action": "close"}).status_code == 302
    queue.refresh_from_db()
    assert queue.state == Queue.State.OPEN


def test_the_preview_says_how_many_match_before_the_button(engineer: Client, exchanges: list[str]) -> None:
    page = engineer.get("/queues/new/", {"filter": "route:billing"}).content.decode()
    assert "10 exchanges match" in page
    assert page.count("wheezing after exercise") == 3
    fragment = engineer.get("/queues/new/", {"filter": "route:nowhere"}, headers=FRAGMENT).content.decode()
    assert "No exchange matches" in fragment
    assert "<html" not in fragment
    assert "there is no colour:" in engineer.get("/queues/new/", {"filter": "colour:red"}).content.decode()


def test_a_queue_is_made_from_a_filter_once(engineer: Client, exchanges: list[str], alice: User) -> None:
    one = engineer.post("/queues/new/", form(reviewers=[alice.pk]))
    two = engineer.post("/queues/new/", form(reviewers=[alice.pk]))
    assert one["Location"] == two["Location"] == "/queues/which-chapter/"
    queue = Queue.objects.get()
    assert queue.answers == ["Skin", "Respiratory"]
    assert list(queue.reviewers.all()) == [alice]
    items = list(queue.items.order_by("position"))
    assert len(items) == 15
    assert {str(item.exchange_id) for item in items} <= set(exchanges[:20])
    assert {item.probability for item in items} == {0.75}
    assert items[0].answer == "Respiratory"
    assert engineer.post("/queues/new/", form(key="other"))["Location"] == "/queues/which-chapter-2/"


def test_preview_without_script_makes_nothing_and_keeps_what_was_typed(
    engineer: Client, exchanges: list[str]
) -> None:
    answer = engineer.post("/queues/new/", form(preview="1", name="", filter="route:billing"))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "10 exchanges match" in page
    assert "Is it right?" in page
    assert not Queue.objects.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filter": "colour:red"}, "there is no colour:"),
        ({"filter": "route:nowhere"}, "No exchange matches."),
        ({"reasons": "\n".join("abcdefghij")}, "At most 9 reasons"),
        ({"size": "0"}, "greater than or equal to 1"),
        ({"name": ""}, "required"),
    ],
)
def test_what_does_not_fit_is_said_by_the_field(
    engineer: Client, exchanges: list[str], changes: dict[str, str], words: str
) -> None:
    answer = engineer.post("/queues/new/", form(**changes))
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not Queue.objects.exists()


def test_without_the_store_nothing_is_drawn_and_it_says_so(engineer: Client, no_store: None) -> None:
    assert sampling.UNREADABLE.replace("'", "&#x27;") in engineer.get("/queues/new/").content.decode()
    answer = engineer.post("/queues/new/", form())
    assert answer.status_code == 422
    assert not Queue.objects.exists()


def test_drawing_more_adds_what_is_not_there(make_queue: MakeQueue, exchanges: list[str]) -> None:
    queue = make_queue(0, filter="route:icd-chapter")
    assert sampling.fill(queue, 8) == 8
    assert sampling.fill(queue, 8) == 8
    assert sampling.fill(queue, 8) == 4
    assert sampling.fill(queue, 8) == 0
    assert queue.items.count() == 20
    positions = list(queue.items.order_by("id").values_list("position", flat=True))
    assert positions == sorted(positions)
    drawn = sampling.draw(queue.filter, 20, "newest", 0)
    assert sampling.add(queue, drawn) == 0


def test_newest_and_least_sure_come_first(make_queue: MakeQueue, exchanges: list[str]) -> None:
    newest = [one.exchange_id for one in sampling.draw("", 3, "newest", 0)]
    assert newest == exchanges[:-4:-1]
    unsure = sampling.draw("", 3, "uncertain", 0)
    keys = [one.key for one in unsure]
    assert keys == sorted(keys)


def test_the_leads_page_says_who_holds_what_and_releases_it(
    make_queue: MakeQueue, engineer: Client, alice: User, bob: User
) -> None:
    queue = make_queue(6)
    hers = leases.reserve(queue, alice)
    judging.judge(hers[0].item, alice, hers[0].key, Judgement("flag"), seconds=4)
    judging.judge(hers[1].item, alice, hers[1].key, Judgement("cant_judge"), seconds=8)
    page = engineer.get(f"/queues/{queue.slug}/").content.decode()
    assert "4 of 6 exchanges wait" in page
    assert "1 flagged as personal data" in page
    assert "6.0\N{NO-BREAK SPACE}s" in page
    assert page.count("Release<span") == 1
    [place] = Assignment.objects.filter(done_at=None)
    engineer.post(f"/queues/{queue.slug}/release/{place.pk}/")
    assert not Assignment.objects.filter(pk=place.pk).exists()
    assert (
        "Nothing was released"
        in engineer.post(f"/queues/{queue.slug}/release/{place.pk}/", follow=True).content.decode()
    )


def test_the_live_part_answers_204_when_nothing_changed(
    make_queue: MakeQueue, engineer: Client, alice: User
) -> None:
    queue = make_queue()
    page = engineer.get(f"/queues/{queue.slug}/", headers=FRAGMENT).content.decode()
    [seen] = re.findall(r"seen=(\w+)", page)
    url = f"/queues/{queue.slug}/?seen={seen}"
    assert engineer.get(url, headers=FRAGMENT).status_code == 204
    leases.reserve(queue, alice)
    assert engineer.get(url, headers=FRAGMENT).status_code == 200


def test_pause_close_reopen(make_queue: MakeQueue, engineer: Client, carol: User, alice: User) -> None:
    queue = make_queue()
    url = reverse("queue-state", args=[queue.slug])
    for action, state in (("pause", "paused"), ("resume", "open"), ("close", "closed"), ("reopen", "open")):
        engineer.post(url, {"action": action})
        queue.refresh_from_db()
        assert (queue.state, queue.state_changed_by) == (state, carol)
    said = engineer.post(url, {"action": "reopen"}, follow=True).content.decode()
    assert "Nothing was changed" in said


def test_settings_keep_old_guidelines(make_queue: MakeQueue, engineer: Client, alice: User) -> None:
    queue = make_queue()
    answer = engineer.post(f"/queues/{queue.slug}/settings/", form(reviewers=[alice.pk]))
    assert answer.status_code == 302
    queue.refresh_from_db()
    assert (queue.guidelines, queue.guidelines_version, queue.judgements_per_item) == ("Choose.", 2, 2)
    assert list(queue.reviewers.all()) == [alice]
    assert "Version 1" in engineer.get(f"/queues/{queue.slug}/settings/").content.decode()
    refused = engineer.post(f"/queues/{queue.slug}/settings/", form(judgements_per_item="0"))
    assert refused.status_code == 422


def test_hints_stand_beside_answers_and_come_back_as_they_were_written(
    make_queue: MakeQueue, engineer: Client, alice: User
) -> None:
    queue = make_queue(answers=["Ear"])
    lines = "Skin | L00–L99\nRespiratory\n| none\n Ear|H60 | H95"
    engineer.post(f"/queues/{queue.slug}/settings/", form(answers=lines, reviewers=[alice.pk]))
    queue.refresh_from_db()
    assert queue.answers == ["Skin", "Respiratory", "Ear"]
    assert queue.hints == {"Skin": "L00–L99", "Ear": "H60 | H95"}
    page = engineer.get(f"/queues/{queue.slug}/settings/").content.decode()
    assert "Skin | L00–L99\nRespiratory\nEar | H60 | H95" in page
    queue.kind = "choice"
    queue.save()
    engineer.post(f"/queues/{queue.slug}/settings/", form(kind="choice", answers="a|b\nc"))
    queue.refresh_from_db()
    assert (queue.answers, queue.hints) == (["a|b", "c"], {}), "only a closed list has hints"


@pytest.fixture
def artefacts(tmp_path: Path) -> Iterator[None]:
    """A folder that holds the exchanges' tokenizer."""
    text = tiny.tokenizer_json()
    folder = tmp_path / "tokenizers"
    folder.mkdir()
    (folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json").write_text(text)
    with override_settings(ARTEFACTS=str(tmp_path)):
        yield


def test_without_the_pieces_text_nothing_is_painted(
    make_queue: MakeQueue, exchanges: list[str], alice: User
) -> None:
    queue = make_queue(0, filter="route:billing")
    sampling.fill(queue, 1)
    client = Client()
    client.force_login(alice)
    place = leases.reserve(queue, alice)[0]
    page = client.get(f"/review/{queue.slug}/sureness/?item={place.item_id}").content.decode()
    assert "is not known for this answer" in page
    assert not judging.judge(place.item, alice, place.key, Judgement("approve")).heat_map_seen


def test_the_heat_map_is_shown_as_the_queue_says_and_noted(
    make_queue: MakeQueue, exchanges: list[str], artefacts: None, alice: User
) -> None:
    queue = make_queue(0, filter="route:icd-chapter")
    sampling.fill(queue, 3)
    client = Client()
    client.force_login(alice)
    place = leases.reserve(queue, alice)[0]
    url = f"/review/{queue.slug}/sureness/?item={place.item_id}"
    page = client.get(url, headers=FRAGMENT).content.decode()
    assert "How sure the model was" in page
    for secret in ("smollm2", "icd-chapter", "token"):
        assert secret not in page
    assert judging.judge(place.item, alice, place.key, Judgement("approve")).heat_map_seen
    Queue.objects.update(heat_map="never")
    assert client.get(url).status_code == 404
    Queue.objects.update(heat_map="after")
    assert client.get(url).status_code == 200
    waiting = leases.reserve(queue, alice)[0]
    assert client.get(f"/review/{queue.slug}/sureness/?item={waiting.item_id}").status_code == 404


def test_judging_works_without_the_store(make_queue: MakeQueue, alice: User, no_store: None) -> None:
    queue = make_queue(1)
    client = Client()
    client.force_login(alice)
    place = leases.reserve(queue, alice)[0]
    page = client.get(f"/review/{queue.slug}/sureness/?item={place.item_id}").content.decode()
    assert "be read right now" in page
    assert client.get(f"/review/{queue.slug}/").status_code == 200
    assert not judging.judge(place.item, alice, place.key, Judgement("approve")).heat_map_seen
    assert Item.objects.get().state == Item.State.SETTLED


def test_what_hangs_on_all_that_matches_is_drawn_from_what_was_there_only(
    engineer: Client, exchanges: list[str]
) -> None:
    page = engineer.post("/queues/new/", form(order="stratified", size="4", daily_cap="3"))
    assert page.status_code == 422
    assert "none can come by itself" in page.content.decode()
    engineer.post("/queues/new/", form(order="stratified", size="4"))
    queue = Queue.objects.get()
    before = queue.population
    storing.store(store.connect(), spooled.exchanges([99]), "late", again=False)
    sampling.fill(queue, 2)
    queue.refresh_from_db()
    assert (queue.population, queue.items.count()) == (before, 6)
