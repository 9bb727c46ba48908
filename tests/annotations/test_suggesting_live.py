"""Suggestions over the whole path: the worker's client, the proxy itself, an engine that answers or fails."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from annotations import leases
from annotations.models import Queue, Suggestion
from flywheel import suggesting
from inference.exchange import Exchange
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_views import FRAGMENT, post, signed_in
from tests.inference.double import SECRET, Engine, Message, Send, begin, proxying, reply, serving

pytestmark = pytest.mark.django_db
MODEL = "version:smollm2-135m"
SAYS_NO = json.dumps({"decision": "reject", "reason": "not it"})


@dataclass
class Judge(Engine):
    """An engine that judges; ``fates`` says what becomes of the first requests instead."""

    fates: list[str] = field(default_factory=list)

    async def _answer(self, path: str, asked: Message, send: Send) -> None:
        fate = self.fates.pop(0) if self.fates else ""
        if fate.isdecimal():
            await reply(send, int(fate), {"error": {"message": "not today", "code": int(fate)}})
        elif fate == "hang":
            await asyncio.sleep(3600)
        elif fate == "broken":
            await begin(send, 200, "application/json")
            await send({"type": "http.response.body", "body": b"{oops"})
        elif fate == "page":
            await begin(send, 200, "text/html")
            await send({"type": "http.response.body", "body": b"<h1>Hello</h1>"})
        else:
            text = fate.removeprefix("says ") if fate.startswith("says ") else SAYS_NO
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            await reply(send, 200, {"model": asked["model"], "choices": [] if fate == "none" else [choice]})


@dataclass
class Line:
    """A running proxy and the engine behind it, in a thread of their own."""

    judge: Judge
    spooled: Callable[[], list[Exchange]]


@pytest.fixture
def line(tmp_path: Path, settings: Settings) -> Iterator[Line]:
    judge, ready, over = Judge(), threading.Event(), asyncio.Event()
    made: dict[str, object] = {}

    async def serve() -> None:
        async with serving(judge) as engine, proxying(tmp_path, engine, silence_seconds=1.0) as running:
            made.update(url=running.url, spooled=running.spooled, loop=asyncio.get_running_loop())
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    thread.start()
    assert ready.wait(30)
    settings.PROXY_URL, settings.EVALUATION_KEY = made["url"], SECRET
    yield Line(judge, made["spooled"])  # type: ignore[arg-type]
    made["loop"].call_soon_threadsafe(over.set)  # type: ignore[attr-defined]
    thread.join(30)


def decisions(queue: Queue) -> list[str]:
    found = Suggestion.objects.filter(item__queue=queue).order_by("item__position")
    return list(found.values_list("decision", flat=True))


def test_what_the_model_says_is_captured_and_shown_after_ones_own_word(
    make_queue: MakeQueue, alice: User, line: Line
) -> None:
    queue = make_queue(4, suggested_by=MODEL)
    assert suggesting.run() == 4
    assert decisions(queue) == ["reject"] * 4
    [(path, asked, sent), *_] = line.judge.asked
    assert path == "/v1/chat/completions"
    assert asked["model"] == "smollm2-135m"
    assert "wheezing, case 1" in asked["messages"][1]["content"]
    assert SECRET not in json.dumps(sent)
    kept = line.spooled()
    assert [one.tags for one in kept] == [{"suggestion": "chapters"}] * 4
    client = signed_in(alice)
    page = client.get("/review/chapters/").content.decode()
    ahead = client.get("/review/chapters/next/", headers=FRAGMENT).content.decode()
    for before in (page, ahead):
        assert "A model would" not in before
        assert "not it" not in before
    place = leases.reserve(queue, alice)[0]
    after = post(client, place, "approve", FRAGMENT).content.decode()
    assert after.count("A model would reject it") == 1
    again = client.get("/review/chapters/").content.decode()
    assert "A model would" not in again.partition('id="last"')[0]


@pytest.mark.parametrize("fate", ["500", "503", "429", "broken", "page", "hang"])
def test_an_engine_that_fails_leaves_all_for_later(make_queue: MakeQueue, line: Line, fate: str) -> None:
    queue = make_queue(3, suggested_by=MODEL)
    line.judge.fates = ["says " + SAYS_NO, fate]
    assert suggesting.run() == 1
    assert decisions(queue) == ["reject"]
    assert len(line.judge.asked) == 2, "one that fails is not asked again at once, nor those behind it"
    assert suggesting.run() == 2
    assert decisions(queue) == ["reject"] * 3


@pytest.mark.parametrize("fate", ["none", "400", "422", "says ", "says I can not"])
def test_what_is_no_judgement_is_not_asked_again_and_keeps_nothing_back(
    make_queue: MakeQueue, alice: User, line: Line, fate: str
) -> None:
    queue = make_queue(3, suggested_by=MODEL)
    # What is refused the proxy asks once more, without what it had added.
    line.judge.fates = [fate, fate] if fate.isdecimal() else [fate]
    assert suggesting.run() == 3
    assert decisions(queue) == ["", "reject", "reject"]
    assert suggesting.run() == 0
    place = leases.reserve(queue, alice)[0]
    assert "A model would" not in post(signed_in(alice), place, "approve", FRAGMENT).content.decode()


def test_what_is_refused_of_all_is_asked_again(make_queue: MakeQueue, line: Line) -> None:
    queue = make_queue(2, suggested_by=MODEL)
    line.judge.fates = ["400"] * 4
    assert suggesting.run() == 0
    assert decisions(queue) == []
    assert suggesting.run() == 2


def test_a_client_that_waits_too_long_gives_up(
    make_queue: MakeQueue, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggesting, "_SECONDS", 0.2)
    queue = make_queue(2, suggested_by=MODEL)
    line.judge.fates = ["hang"]
    assert suggesting.run() == 0
    assert decisions(queue) == []


def test_a_queue_whose_model_is_unknown_or_key_is_refused_holds_up_no_other(
    make_queue: MakeQueue, line: Line, settings: Settings
) -> None:
    lost = make_queue(2, slug="lost", suggested_by="version:nobody")
    queue = make_queue(2, suggested_by=MODEL)
    assert suggesting.run() == 2
    assert (decisions(lost), decisions(queue)) == ([], ["reject"] * 2)
    settings.EVALUATION_KEY = "fw-wrong"
    more = make_queue(1, slug="more", suggested_by=MODEL)
    assert suggesting.run() == 0
    assert decisions(more) == []


def test_nothing_listens(make_queue: MakeQueue, settings: Settings) -> None:
    settings.PROXY_URL, settings.EVALUATION_KEY = "http://127.0.0.1:9", "fw-test"
    queue = make_queue(1, suggested_by=MODEL)
    assert suggesting.run() == 0
    assert decisions(queue) == []
