import json

import pytest
from django.contrib.auth.models import User

from annotations import gold_file, judging, leases, milestones
from annotations.judging import Judgement
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_views import FRAGMENT, post, signed_in


def test_every_so_many_say_how_fast_the_last_were(
    make_queue: MakeQueue, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milestones, "EVERY", 3)
    queue = make_queue(8)
    for done, seconds in enumerate((9.0, 4.0, 5.0)):
        assert milestones.reached(queue, alice, done) is None
        place = leases.reserve(queue, alice, 1)[0]
        judging.judge(place.item, alice, place.key, Judgement("approve"), seconds=seconds)
    found = milestones.reached(queue, alice, 3)
    assert found is not None
    assert (found.count, found.median_seconds) == (3, 5.0)
    assert "You have judged 3 here, half of the last 3 in 5 s or less" in found.words
    assert milestones.reached(queue, bob, 0) is None


def test_it_comes_with_the_reply_to_the_judgement_and_not_to_a_skip(
    make_queue: MakeQueue, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milestones, "EVERY", 1)
    queue, client = make_queue(5), signed_in(alice)
    skipped, judged = leases.reserve(queue, alice)[:2]
    assert "data-milestone" not in post(client, skipped, "skip", headers=FRAGMENT).content.decode()
    assert "data-milestone" in post(client, judged, "approve", headers=FRAGMENT).content.decode()


def test_it_says_how_many_check_questions_were_right_and_comes_with_ones_own_word(
    make_queue: MakeQueue, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milestones, "EVERY", 2)
    queue = make_queue(9, gold_every=1)
    rows = [{"asked": f"case {n}", "model_answer": "Skin", "answer": "Skin"} for n in range(4)]
    content = "\n".join(map(json.dumps, rows)).encode()
    gold_file.add(queue, gold_file.load(queue, content), bob)
    client = signed_in(alice)
    said = []
    for decision in ("approve", "reject", "approve", "approve"):
        place = next(one for one in leases.reserve(queue, alice) if one.item.uploaded)
        said.append(post(client, place, decision, headers=FRAGMENT).content.decode())
    assert "So far 1 of 2 check questions were right." in said[1]
    assert "That was a check question. The known answer" in said[1]
    assert "check questions were right" not in said[2]
    assert "So far 3 of 4 check questions were right." in said[3]
    assert milestones.Milestone(50, None).words.startswith("You have judged 50 here. A pause")
