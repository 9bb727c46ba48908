from django.contrib.auth.models import User

from annotations import guidelines, judging, leases
from annotations.guidelines import Change
from annotations.judging import Judgement
from tests.annotations.conftest import MakeQueue


def test_changes_are_lines_that_came_and_went() -> None:
    told = guidelines.changes("one\ntwo\nthree", "one\n\nthree\nfour")
    assert told == [Change("gone", "two"), Change("new", "four")]


def test_a_reviewer_sees_what_changed_since_she_last_answered(
    make_queue: MakeQueue, alice: User, carol: User
) -> None:
    queue = make_queue()
    assert guidelines.changes_for(queue, None) == []
    place = leases.reserve(queue, alice)[0]
    said = judging.judge(place.item, alice, place.key, Judgement("approve"))
    assert guidelines.changes_for(queue, said) == []
    queue.rewrite_guidelines(queue.guidelines + "\nSkin comes last.", carol)
    assert guidelines.changes_for(queue, said) == [Change("new", "Skin comes last.")]
