import pytest
from django.contrib.auth.models import User

from annotations import judging, leases, milestones
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
