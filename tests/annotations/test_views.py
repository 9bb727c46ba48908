from collections.abc import Mapping

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotations import judging, leases
from annotations.judging import Judgement
from annotations.models import Annotation, Assignment, Queue
from flywheel import copies
from tests.annotations.conftest import MakeQueue

FRAGMENT = {"HX-Request": "true"}
PAGES = ["review", "review-next", "review-mine", "review-sureness"]


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def post(
    client: Client,
    place: Assignment,
    decision: str,
    headers: dict[str, str] | None = None,
    given: Mapping[str, object] | None = None,
    **more: object,
) -> HttpResponse:
    body = {"key": place.key, "item": place.item_id, "reviewer": place.reviewer_id, "decision": decision}
    url = reverse("review-judge", args=[place.queue.slug])
    return client.post(url, {**body, **more, **(given or {})}, headers=headers)  # type: ignore[return-value]


@pytest.mark.parametrize("name", PAGES)
def test_who_is_not_listed_sees_no_queue(
    make_queue: MakeQueue, carol: User, mallory: User, name: str
) -> None:
    url = reverse(name, args=[make_queue().slug])
    assert signed_in(carol).get(url).status_code == 403, "who runs it is told why"
    assert signed_in(carol).get(url, headers=FRAGMENT).status_code == 404
    assert signed_in(mallory).get(url).status_code == 404
    answer = Client().get(url)
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("sign-in"))


def test_one_found_elsewhere_is_judged_next_by_who_is_listed(
    make_queue: MakeQueue, alice: User, carol: User, mallory: User
) -> None:
    queue = make_queue()
    last = queue.items.order_by("-position")[0]
    url = reverse("review-this", args=[queue.slug])
    for person, status in ((carol, 403), (mallory, 404)):
        assert signed_in(person).post(url, {"item": last.pk}).status_code == status
    assert Client().post(url, {"item": last.pk})["Location"].startswith(reverse("sign-in"))
    assert not Assignment.objects.exists()
    client = signed_in(alice)
    assert client.get(url)["Location"] == reverse("review", args=[queue.slug])
    assert client.post(url, {"item": last.pk})["Location"] == reverse("review", args=[queue.slug])
    assert leases.reserve(queue, alice)[0].item == last
    assert client.post(url, {"item": "x"}).status_code == 404
    elsewhere = make_queue(1, slug="other", name="Other").items.get()
    assert client.post(url, {"item": elsewhere.pk}).status_code == 404


@pytest.mark.parametrize("name", ["review-judge", "review-undo"])
def test_who_was_not_shown_an_item_posts_nothing(
    make_queue: MakeQueue, alice: User, bob: User, mallory: User, name: str
) -> None:
    queue = make_queue()
    place = leases.reserve(queue, alice)[0]
    url = reverse(name, args=[queue.slug])
    body = {"key": place.key, "item": place.item_id, "decision": "approve"}
    for person in (bob, mallory):
        assert signed_in(person).post(url, body).status_code == 404
    assert Client().post(url, body).status_code == 302
    assert Client().post(url, body, headers=FRAGMENT).status_code == 401
    assert signed_in(alice).get(url)["Location"] == reverse("review", args=[queue.slug])
    assert not Annotation.objects.exists()


def test_a_post_needs_the_forgery_token(make_queue: MakeQueue, alice: User) -> None:
    place = leases.reserve(make_queue(), alice)[0]
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert post(client, place, "approve").status_code == 403


def test_what_one_person_wrote_is_not_taken_from_another(
    make_queue: MakeQueue, alice: User, bob: User
) -> None:
    place = leases.reserve(make_queue(), alice)[0]
    assert post(signed_in(bob), place, "approve", headers=FRAGMENT).status_code == 403
    assert not Annotation.objects.exists()


def test_the_only_queue_is_where_a_reviewer_lands(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue()
    assert signed_in(alice).get("/review/")["Location"] == f"/review/{queue.slug}/"
    other = Queue.objects.create(slug="other", name="Other")
    other.reviewers.add(alice)
    page = signed_in(alice).get("/review/").content.decode()
    assert "5 answers wait for you" in page
    assert "Other" in page


def test_the_page_shows_the_item_and_no_reload_changes_it(make_queue: MakeQueue, alice: User) -> None:
    client = signed_in(alice)
    url = reverse("review", args=[make_queue().slug])
    one, two = (client.get(url) for _ in range(2))
    page = one.content.decode()
    assert "wheezing, case 1" in page
    assert " left" not in page, "a newcomer has nobody's figures to read"
    assert "<strong>chapter</strong>" in page
    assert one["Cache-Control"] == "no-store"
    assert one.context["showings"][0].key == two.context["showings"][0].key


def test_the_page_is_blind(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(1, judgements_per_item=2)
    item = queue.items.get()
    item.group, item.probability = "R06", 0.125
    item.save()
    place = leases.reserve(queue, bob)[0]
    judging.judge(place.item, bob, place.key, Judgement("correct", "Skin", note="surely skin"))
    page = signed_in(alice).get(reverse("review", args=[queue.slug])).content.decode()
    for secret in ("bob", "surely skin", "R06", "0.125", str(item.exchange_id)):
        assert secret not in page


def test_an_answer_that_was_cut_off_says_so(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1)
    url = reverse("review", args=[queue.slug])
    assert "Cut off here" not in signed_in(alice).get(url).content.decode()
    queue.items.update(cut=True)
    assert "Cut off here" in signed_in(alice).get(url).content.decode()


def test_of_a_pair_the_side_that_was_cut_off_says_so(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1, kind="pair")
    queue.items.update(other_answer="Circulat", other_cut=True)
    page = signed_in(alice).get(reverse("review", args=[queue.slug])).content.decode()
    assert page.count("Cut off here") == 1
    assert page.index("Circulat") < page.index("Cut off here")
    assert "Respiratory" not in page[page.index("Circulat") : page.index("Cut off here")]


def test_what_was_erased_is_not_said_to_be_cut_off(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1)
    queue.items.update(cut=True, other_cut=True)
    copies.empty_items([queue.items.get().pk])
    assert not queue.items.filter(Q(cut=True) | Q(other_cut=True)).exists()


def test_without_script_a_judgement_is_a_plain_form(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue()
    client, url = signed_in(alice), reverse("review", args=[queue.slug])
    first = leases.reserve(queue, alice)[0]
    assert post(client, first, "approve")["Location"] == url
    second = leases.reserve(queue, alice)[0]
    post(client, second, "reject:Wrong chapter")
    page = client.get(url + "?open=correct").content.decode()
    assert 'data-panel="correct" tabindex="-1">' in page
    third = leases.reserve(queue, alice)[0]
    refused = post(client, third, "correct", answer="")
    assert refused.status_code == 422
    assert "Choose the right answer." in refused.content.decode()
    post(client, third, "correct", answer="Skin", seconds="3.5", note="rash")
    told = list(Annotation.objects.values_list("decision", "answer", "reason", "note", "seconds"))
    assert told == [
        ("approve", "", "", "", None),
        ("reject", "", "Wrong chapter", "", None),
        ("correct", "Skin", "", "rash", 3.5),
    ]
    undone = client.post(reverse("review-undo", args=[queue.slug]), {"key": third.key}, headers=FRAGMENT)
    assert "Undone: Corrected to “Skin”" in undone.content.decode()
    assert leases.reserve(queue, alice)[0].item == third.item


def test_a_hint_stands_under_the_answer_and_in_the_list(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(
        hints={"Respiratory": "J00–J99", "Skin": "<L>"}, guidelines="- Choose the *one*.\n- **It’s** it."
    )
    page = signed_in(alice).get(reverse("review", args=[queue.slug])).content.decode()
    assert 'answer-hint">J00–J99</p>' in page
    assert '<option value="Skin" data-hint="&lt;L&gt;">Skin (&lt;L&gt;)</option>' in page
    assert "Read the guidelines (5 words)" in page
    queue.items.update(answer="What nobody listed")
    assert "answer-hint" not in signed_in(alice).get(reverse("review", args=[queue.slug])).content.decode()


def test_what_was_typed_comes_back_with_the_item(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue()
    place, client = leases.reserve(queue, alice)[0], signed_in(alice)
    post(client, place, "correct", answer="Skin", note="Of the hand.")
    page = client.post(
        reverse("review-undo", args=[queue.slug]), {"key": place.key}, headers=FRAGMENT
    ).content.decode()
    assert '<option value="Skin" selected>' in page
    assert "Of the hand.</textarea>" in page


def test_how_many_are_left_is_told_to_who_judges_alone(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue()
    page = post(
        signed_in(alice), leases.reserve(queue, alice)[0], "approve", headers=FRAGMENT
    ).content.decode()
    assert "1 by you" in page
    assert " · 4 left" in page
    post(signed_in(bob), leases.reserve(queue, bob)[0], "approve")
    page = post(
        signed_in(alice), leases.reserve(queue, alice)[0], "approve", headers=FRAGMENT
    ).content.decode()
    assert "2 by you" in page
    assert " left" not in page
    assert "<progress" not in page


def test_a_fragment_brings_progress_and_what_the_page_does_not_hold(
    make_queue: MakeQueue, alice: User
) -> None:
    queue = make_queue()
    a, b, c = leases.reserve(queue, alice)
    answer = post(signed_in(alice), a, "approve", held=f"{b.key},{c.key}", headers=FRAGMENT)
    page = answer.content.decode()
    assert "1 by you" in page
    assert " · 4 left" in page
    assert "<html" not in page
    assert "case 4" in page
    assert "case 2" not in page
    assert "HX-Request" in answer["Vary"]


def test_a_double_send_gives_the_same_answer(make_queue: MakeQueue, alice: User) -> None:
    place = leases.reserve(make_queue(), alice)[0]
    client = signed_in(alice)
    assert post(client, place, "approve", headers=FRAGMENT).status_code == 200
    assert post(client, place, "approve", headers=FRAGMENT).status_code == 200
    assert post(client, place, "reject", headers=FRAGMENT).status_code == 409
    assert Annotation.objects.count() == 1


@pytest.mark.parametrize("headers", [{}, FRAGMENT])
def test_what_is_refused_comes_back_with_what_was_typed(
    make_queue: MakeQueue, alice: User, headers: dict[str, str]
) -> None:
    place = leases.reserve(make_queue(answers=[]), alice)[0]
    answer = post(signed_in(alice), place, "correct", answer="Respiratory", note="as it is", headers=headers)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "That is the model&#x27;s answer. Approve it?" in page
    assert "as it is" in page


@pytest.mark.parametrize("headers", [{}, FRAGMENT])
def test_a_lost_lease_keeps_what_was_typed(
    make_queue: MakeQueue, alice: User, bob: User, headers: dict[str, str]
) -> None:
    queue = make_queue(1)
    place = leases.reserve(queue, alice)[0]
    leases.release(place.pk, queue)
    his = leases.reserve(queue, bob)[0]
    judging.judge(his.item, bob, his.key, Judgement("approve"))
    answer = post(signed_in(alice), place, "correct", answer="Skin", note="a rash", headers=headers)
    page = answer.content.decode()
    assert answer.status_code == 410
    assert "Someone else has answered this one" in page
    assert "Skin" in page
    assert "a rash" in page
    assert "bob" not in page


def test_an_item_of_another_queue_is_not_judged_here(make_queue: MakeQueue, alice: User) -> None:
    queue, other = make_queue(), make_queue(slug="other")
    place = leases.reserve(other, alice)[0]
    body = {"key": place.key, "item": place.item_id, "decision": "approve"}
    assert signed_in(alice).post(reverse("review-judge", args=[queue.slug]), body).status_code == 404
    body["item"] = "nonsense"
    assert signed_in(alice).post(reverse("review-judge", args=[queue.slug]), body).status_code == 404


def test_skipping_is_no_judgement(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue()
    place = leases.reserve(queue, alice)[0]
    post(signed_in(alice), place, "skip")
    assert not Annotation.objects.exists()
    assert leases.reserve(queue, alice)[0].item != place.item


def test_the_endings(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue(2)
    client, url = signed_in(alice), reverse("review", args=[queue.slug])
    leases.reserve(queue, bob)
    assert "The last 2 are with other reviewers" in client.get(url).content.decode()
    for place in leases.reserve(queue, bob):
        judging.judge(place.item, bob, place.key, Judgement("approve"))
    assert "Nothing waits for you" in client.get(url).content.decode()
    assert "you judged 2 in 1 minute" in signed_in(bob).get(url + "?done").content.decode()
    queue.change_state("open", "paused", bob)
    page = client.get(url).content.decode()
    assert "This queue is paused" in page
    assert "Bob paused it" in page


def test_who_stops_leaves_nothing_reserved(
    make_queue: MakeQueue, alice: User, bob: User, mallory: User
) -> None:
    queue = make_queue(3)
    first = leases.reserve(queue, alice)[0]
    judging.judge(first.item, alice, first.key, Judgement("approve"))
    leases.reserve(queue, bob)
    leases.give_up(queue, bob)
    leases.reserve(queue, alice)
    assert leases.reserve(queue, bob) == []
    url = reverse("review-finish", args=[queue.slug])
    assert signed_in(mallory).post(url).status_code == 404
    assert signed_in(alice).get(url)["Location"] == reverse("review", args=[queue.slug])
    answer = signed_in(alice).post(url)
    assert answer["Location"].endswith("?done")
    assert f'name="key" value="{first.key}"' in signed_in(alice).get(answer["Location"]).content.decode()
    assert len(leases.reserve(queue, bob)) == 2
    assert Annotation.objects.count() == 1


def test_mine_is_newest_first_and_only_ones_own(make_queue: MakeQueue, alice: User, bob: User) -> None:
    queue = make_queue()
    for person in (alice, bob):
        for place in leases.reserve(queue, person)[:2]:
            judging.judge(place.item, person, place.key, Judgement("approve", note=person.username))
    answer = signed_in(alice).get(reverse("review-mine", args=[queue.slug]))
    shown = [annotation.note for annotation, _, _, _ in answer.context["mine"]]
    assert shown == ["alice", "alice"]
    ids = [annotation.pk for annotation, _, _, _ in answer.context["mine"]]
    assert ids == sorted(ids, reverse=True)


def test_one_judgement_asks_a_fixed_number_of_questions(
    make_queue: MakeQueue, alice: User, django_assert_max_num_queries: pytest.FixtureRequest
) -> None:
    queue = make_queue(40)
    client = signed_in(alice)
    for _ in range(3):
        place = leases.reserve(queue, alice)[0]
        held = ",".join(p.key for p in leases.reserve(queue, alice)[1:])
        with django_assert_max_num_queries(40):  # type: ignore[operator]
            post(client, place, "approve", held=held, headers=FRAGMENT)


def test_hostile_text_is_text(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1, guidelines="<script>alert(1)</script> [x](javascript:alert(1))")
    queue.items.update(
        messages=[{"role": "user", "content": "<img src=x onerror=alert(1)>"}], answer="</textarea><b>"
    )
    page = signed_in(alice).get(reverse("review", args=[queue.slug])).content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert 'href="javascript' not in page
    assert "</textarea><b>" not in page


@pytest.mark.parametrize("items", [8, 60])
def test_a_judgement_asks_as_many_queries_however_many_items_wait(
    make_queue: MakeQueue, alice: User, items: int
) -> None:
    queue, client = make_queue(items), signed_in(alice)
    for _ in range(2):
        place = leases.reserve(queue, alice)[0]
        with CaptureQueriesContext(connection) as asked:
            assert post(client, place, "approve", FRAGMENT).status_code == 200
    assert len(asked) <= 25, "\n".join(one["sql"] for one in asked)  # savepoints of the test's among them
