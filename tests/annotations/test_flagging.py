"""Personal data leaves every queue at once, its leads are told, and a wrong flag gives everything back."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from annotations import flagging, judging, leases, progress, sampling
from annotations.judging import Judgement
from annotations.models import Annotation, Assignment, Flag, Item, Queue
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_people import with_role
from tests.annotations.test_views import signed_in


@pytest.fixture
def shared(make_queue: MakeQueue) -> tuple[Queue, Queue]:
    """Two queues of three items; the first item of each is the same exchange."""
    here, there = make_queue(3), make_queue(3, slug="there", name="There")
    exchange = here.items.order_by("position")[0].exchange_id
    there.items.filter(position=0).update(exchange_id=exchange)
    for queue in (here, there):
        queue.size, queue.decided = progress.counted(queue)
        queue.save()
    return here, there


def flag(queue: Queue, reviewer: User) -> Annotation:
    place = leases.reserve(queue, reviewer)[0]
    return judging.judge(place.item, reviewer, place.key, Judgement("flag", note="a name"))


def states(queue: Queue) -> list[str]:
    return list(queue.items.order_by("position").values_list("state", flat=True))


def test_it_leaves_every_queue_and_whoever_holds_it(
    shared: tuple[Queue, Queue], alice: User, bob: User
) -> None:
    here, there = shared
    held = leases.reserve(there, bob)
    flag(here, alice)
    assert states(here) == states(there) == ["flagged", "waiting", "waiting"]
    assert not Assignment.objects.filter(pk=held[0].pk).exists()
    with pytest.raises(judging.Lost, match="has left the queue"):
        judging.judge(held[0].item, bob, held[0].key, Judgement("approve"))
    assert [place.item.position for place in leases.reserve(there, bob)] == [1, 2]
    assert [progress.of(queue, bob).done for queue in shared] == [1, 1]
    assert [queue.events.get().act for queue in shared] == ["flagged", "flagged"]


def test_it_leaves_as_the_second_answer_of_a_pair_too(make_queue: MakeQueue, alice: User) -> None:
    here, pairs = make_queue(1), make_queue(1, slug="pairs", kind="pair", answers=[])
    pairs.items.update(other_answer="Skin", other_exchange_id=here.items.get().exchange_id)
    flag(here, alice)
    assert states(pairs) == ["flagged"]


def test_a_flagged_exchange_is_drawn_into_no_other_queue(
    shared: tuple[Queue, Queue], make_queue: MakeQueue, alice: User
) -> None:
    here, _ = shared
    flag(here, alice)
    later = make_queue(2, slug="later")
    later.items.filter(position=0).update(exchange_id=here.items.get(state="flagged").exchange_id)
    sampling.add(later, [])
    assert states(later) == ["flagged", "waiting"]


def test_taken_back_it_waits_again_everywhere(shared: tuple[Queue, Queue], alice: User, bob: User) -> None:
    here, there = shared
    annotation = flag(here, alice)
    judging.undo(here, alice, annotation.key)
    assert states(here) == states(there) == ["waiting"] * 3
    assert [progress.of(queue, bob).done for queue in shared] == [0, 0]
    assert not flagging.standing().exists()


def test_flagged_twice_it_stays_out_until_both_are_gone(
    shared: tuple[Queue, Queue], alice: User, bob: User
) -> None:
    here, there = shared
    one = leases.reserve(here, alice)[0]
    mine = judging.judge(one.item, alice, one.key, Judgement("flag"))
    # Bob's word on it came in the moment before it left his queue.
    other = there.items.get(position=0)
    his = Annotation.objects.create(item=other, reviewer=bob, decision="flag", key=uuid.uuid4().hex)
    Flag.objects.create(exchange_id=other.exchange_id, item=other, annotation=his)
    judging.undo(here, alice, mine.key)
    assert states(here) == states(there) == ["flagged", "waiting", "waiting"]


def test_a_lead_who_finds_none_gives_it_back_to_all(
    shared: tuple[Queue, Queue], alice: User, bob: User
) -> None:
    here, there = shared
    flag(here, alice)
    lead = with_role(here, "lead")
    item = here.items.get(state="flagged")
    page = signed_in(lead).get(here.get_absolute_url()).content.decode()
    assert "1 flagged as personal data" in page
    assert (
        "What do you find?"
        in signed_in(lead).get(reverse("queue-item", args=[here.slug, item.pk])).content.decode()
    )
    url = reverse("queue-flag", args=[here.slug, item.pk])
    signed_in(lead).post(url, {"found": "no"})
    assert states(here) == states(there) == ["waiting"] * 3
    assert list(item.annotations.order_by("id").values_list("decision", "reviewer__username")) == [
        ("flag", "alice"),
        ("undo", "lead"),
    ]
    assert item.pk in {place.item_id for place in leases.reserve(here, alice)}
    again = signed_in(lead).post(url, {"found": "yes"}, follow=True).content.decode()
    assert "Nothing was changed" in again


def test_upheld_it_stays_out_and_nobody_is_asked_again(shared: tuple[Queue, Queue], alice: User) -> None:
    here, _ = shared
    flag(here, alice)
    lead = with_role(here, "lead")
    assert flagging.undecided(lead).count() == 1
    item = here.items.get(state="flagged")
    signed_in(lead).post(reverse("queue-flag", args=[here.slug, item.pk]), {"found": "yes"})
    assert flagging.undecided(lead).count() == 0
    assert states(here)[0] == "flagged"
    found = Flag.objects.get()
    assert (found.upheld, found.decided_by) == (True, lead)


def test_what_is_flagged_is_shown_to_leads_only(
    shared: tuple[Queue, Queue], alice: User, mallory: User, carol: User
) -> None:
    here, there = shared
    flag(here, alice)
    flagged, other = here.items.get(state="flagged"), here.items.filter(state="waiting")[0]
    may = {"reader": (403, 200), "lead": (200, 200), "admin": (200, 200)}
    for role, (of_flagged, of_other) in may.items():
        client = signed_in(with_role(here, role))
        assert client.get(reverse("queue-item", args=[here.slug, flagged.pk])).status_code == of_flagged
        assert client.get(reverse("queue-item", args=[here.slug, other.pk])).status_code == of_other
    assert signed_in(carol).get(reverse("queue-item", args=[here.slug, flagged.pk])).status_code == 200
    leads_there = with_role(there, "lead", "leads-there")
    for outsider in (alice, mallory, leads_there):
        for item in (flagged, other):
            url = reverse("queue-item", args=[here.slug, item.pk])
            assert signed_in(outsider).get(url).status_code == 403
            deed = reverse("queue-flag", args=[here.slug, item.pk])
            assert signed_in(outsider).post(deed, {"found": "no"}).status_code == 403
    reader = with_role(here, "reader", "reads")
    assert signed_in(reader).post(reverse("queue-flag", args=[here.slug, flagged.pk])).status_code == 403
    assert signed_in(carol).get(reverse("queue-item", args=[there.slug, flagged.pk])).status_code == 404
    assert Item.objects.filter(state="flagged").count() == 2
