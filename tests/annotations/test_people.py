"""Who gets into a queue, who does not, and links that let one person in once."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotations import leases, people
from annotations.audit import QueueEvent
from annotations.models import Assignment, Queue
from annotations.people import Invitation, Role
from tests.annotations.conftest import MakeQueue, person
from tests.annotations.test_queue_views import form
from tests.annotations.test_views import signed_in
from tests.patience import patiently

READS = ["queue", "queue-people", "queue-export"]
LEADS = ["queue-settings"]
ACTS = ["queue-state", "queue-release", "queue-draw", "queue-invite", "queue-uninvite", "queue-remove"]
NEW = {"name": "New  Comer"}


def address(name: str, queue: Queue) -> str:
    numbered = name in ("queue-release", "queue-uninvite", "queue-remove")
    return reverse(name, args=[queue.slug, 1] if numbered else [queue.slug])


def with_role(queue: Queue, role: str, name: str = "") -> User:
    somebody = person(name or role)
    people.give(queue, somebody, role, somebody)
    return somebody


def token_of(queue: Queue, lead: User, role: str = Role.REVIEWER) -> str:
    return people.invite(queue, lead, role, 7)


@pytest.mark.parametrize("name", READS + LEADS)
def test_each_page_lets_in_whom_it_should(
    make_queue: MakeQueue, alice: User, carol: User, mallory: User, name: str
) -> None:
    queue = make_queue()
    other = make_queue(0, slug="other")
    url = address(name, queue)
    lets_in = {"reader": name in READS, "lead": True, "admin": True}
    for role, may in lets_in.items():
        answer = signed_in(with_role(queue, role)).get(url)
        assert answer.status_code == (200 if may else 403), role
    assert signed_in(carol).get(url).status_code == 200
    leads_another = with_role(other, "admin", "leads-another")
    for stranger in (alice, mallory, leads_another):
        assert signed_in(stranger).get(url).status_code == 403
        assert signed_in(stranger).get(url.replace(queue.slug, "no-such")).status_code == 403
    assert Client().get(url).status_code == 302


@pytest.mark.parametrize("name", ACTS)
def test_who_only_reads_reviews_or_leads_another_changes_nothing(
    make_queue: MakeQueue, alice: User, mallory: User, name: str
) -> None:
    queue, other = make_queue(), make_queue(0, slug="other")
    place = leases.reserve(queue, alice)[0]
    before = QueueEvent.objects.count()
    outsiders = [with_role(queue, "reader"), with_role(other, "admin"), alice, mallory]
    for outsider in outsiders:
        answer = signed_in(outsider).post(address(name, queue), {"action": "close", "role": "reviewer"})
        assert answer.status_code == 403
        assert signed_in(outsider).get(address(name, queue)).status_code in (302, 403, 405)
    queue.refresh_from_db()
    assert queue.state == Queue.State.OPEN
    assert Assignment.objects.filter(pk=place.pk).exists()
    assert not Invitation.objects.exists()
    assert QueueEvent.objects.count() == before + 2  # the two roles given above


def test_a_deactivated_lead_gets_nowhere(make_queue: MakeQueue) -> None:
    queue = make_queue()
    lead = with_role(queue, "lead")
    client = signed_in(lead)
    User.objects.filter(pk=lead.pk).update(is_active=False)
    assert client.get(queue.get_absolute_url()).status_code == 302


def test_a_lead_sees_only_her_queues_and_no_list_of_people(make_queue: MakeQueue, mallory: User) -> None:
    queue = make_queue()
    make_queue(0, slug="other", name="Another desk")
    lead = with_role(queue, "lead")
    page = signed_in(lead).get("/queues/").content.decode()
    assert "Chapters" in page
    assert "Another desk" not in page
    assert signed_in(lead).get("/review/")["Location"] == "/queues/"
    assert signed_in(lead).get("/queues/new/").status_code == 403
    settings = signed_in(lead).get(f"/queues/{queue.slug}/settings/").content.decode()
    assert "mallory" not in settings
    answer = signed_in(lead).post(f"/queues/{queue.slug}/state/", {"action": "pause"})
    assert answer.status_code == 302
    event = queue.events.first()
    assert event is not None
    assert (event.who, event.act, event.about) == (lead, "state", "paused")


def test_a_stranger_joins_by_link_and_judges(make_queue: MakeQueue, carol: User) -> None:
    queue = make_queue()
    client = Client()
    url = reverse("join", args=[token_of(queue, carol)])
    for _ in range(2):  # a mail program looks first
        page = client.get(url).content.decode()
        assert "check answers that a computer model gave" in page
        assert "wheezing" not in page
    answer = client.post(url, NEW)
    assert answer["Location"] == f"/review/{queue.slug}/"
    assert "wheezing, case 1" in client.get(answer["Location"]).content.decode()
    newcomer = User.objects.get(username="new-comer")
    assert newcomer.get_full_name() == "New Comer"
    assert not newcomer.has_usable_password()
    assert (newcomer.is_staff, newcomer.is_superuser, newcomer.groups.count()) == (False, False, 0)
    assert client.get("/queues/").status_code == 403
    assert client.get("/exchanges/").status_code == 403
    used = Invitation.objects.get()
    assert (used.used_by, used.role) == (newcomer, "reviewer")
    assert list(queue.events.values_list("act", flat=True)) == ["joined", "invited"]


def test_the_secret_is_not_kept(make_queue: MakeQueue, carol: User) -> None:
    token = token_of(make_queue(), carol)
    kept = Invitation.objects.values().get()
    assert all(token not in str(value) for value in kept.values())


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("used", "If that was you, sign in"),
        ("revoked", "Carol took it back"),
        ("expired", "It ended"),
        ("made up", "Nobody here made this link"),
    ],
)
def test_a_link_that_is_over_lets_nobody_in_and_says_why(
    make_queue: MakeQueue, carol: User, why: str, words: str
) -> None:
    queue = make_queue()
    token = token_of(queue, carol)
    if why == "used":
        assert people.accept(Invitation.objects.get(), person("first"))
    elif why == "revoked":
        assert people.revoke(queue, Invitation.objects.get().pk, carol)
    elif why == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    else:
        token = "x" * len(token)
    url = reverse("join", args=[token])
    for answer in (Client().get(url), Client().post(url, NEW)):
        assert answer.status_code == 410
        assert "no longer works" in answer.content.decode()
        assert words in answer.content.decode()
    assert not User.objects.filter(username="new-comer").exists()


def test_who_used_it_comes_back_by_it_and_nobody_else(
    make_queue: MakeQueue, carol: User, mallory: User
) -> None:
    url = reverse("join", args=[token_of(make_queue(), carol)])
    client = Client()
    landed = client.post(url, NEW)["Location"]
    assert client.get(url)["Location"] == landed
    for other in (Client(), signed_in(mallory)):
        assert other.get(url).status_code == 410


def test_an_account_takes_the_role_once(make_queue: MakeQueue, carol: User, mallory: User) -> None:
    queue = make_queue()
    url = reverse("join", args=[token_of(queue, carol, Role.LEAD)])
    assert "signed in as" in signed_in(mallory).get(url).content.decode()
    assert signed_in(mallory).post(url)["Location"] == queue.get_absolute_url()
    assert signed_in(mallory).get(queue.get_absolute_url()).status_code == 200
    assert mallory not in queue.reviewers.all()
    assert Client().post(url, NEW).status_code == 410


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": " "}, "required"),
        ({"name": "…"}, "has letters"),
        ({"name": "x" * 101}, "at most 100"),
    ],
)
def test_a_wrong_field_is_told_and_uses_nothing_up(
    make_queue: MakeQueue, carol: User, given: dict[str, str], told: str
) -> None:
    url = reverse("join", args=[token_of(make_queue(), carol)])
    answer = Client().post(url, NEW | given)
    assert answer.status_code == 422
    assert told in answer.content.decode()
    assert Invitation.objects.get().used_at is None
    assert Client().post(url, NEW).status_code == 302


def test_namesakes_get_a_number_and_letters_of_any_alphabet_are_a_name(alice: User) -> None:
    made = [people.create_person(name) for name in ("Alice", "ALICE", "Ольга Петрова", "李雷")]
    assert [one.username for one in made] == ["alice-2", "alice-3", "ольга-петрова", "李雷"]
    assert [one.first_name for one in made] == ["Alice", "ALICE", "Ольга Петрова", "李雷"]


@pytest.mark.parametrize(("role", "gives"), [("lead", {"reviewer", "reader"}), ("admin", set(Role.values))])
def test_nobody_gives_more_than_they_have(make_queue: MakeQueue, role: str, gives: set[str]) -> None:
    queue = make_queue()
    client = signed_in(with_role(queue, role))
    for wanted in Role.values:
        answer = client.post(reverse("queue-invite", args=[queue.slug]), {"role": wanted, "days": "3"})
        assert answer.status_code == (200 if wanted in gives else 403), wanted
    assert set(Invitation.objects.values_list("role", flat=True)) == gives


def test_a_lead_removes_reviewers_but_no_admin_and_their_items_go_back(
    make_queue: MakeQueue, alice: User
) -> None:
    queue = make_queue()
    lead, admin = with_role(queue, "lead"), with_role(queue, "admin")
    leases.reserve(queue, alice)
    remove = reverse("queue-remove", args=[queue.slug, alice.pk])
    assert signed_in(lead).post(remove, {"role": "reviewer"}).status_code == 302
    assert not Assignment.objects.filter(reviewer=alice).exists()
    assert signed_in(alice).get(f"/review/{queue.slug}/").status_code == 404
    other = reverse("queue-remove", args=[queue.slug, admin.pk])
    assert signed_in(lead).post(other, {"role": "admin"}).status_code == 403
    signed_in(admin).post(other, {"role": "admin"})
    assert queue.roles.filter(person=admin).exists()
    assert signed_in(admin).post(other, {"role": "nonsense"}).status_code == 403


def test_an_invitation_never_lowers_a_role(make_queue: MakeQueue, carol: User) -> None:
    queue = make_queue()
    admin = with_role(queue, "admin")
    token_of(queue, carol, Role.READER)
    assert people.accept(Invitation.objects.get(), admin)
    assert queue.roles.get(person=admin).role == "admin"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_many_who_race_for_a_link_one_gets_in(make_queue: MakeQueue, carol: User) -> None:
    queue = make_queue()
    token_of(queue, carol)
    found = Invitation.objects.get()
    racers = [person(f"racer-{n}") for n in range(6)]
    start, won = Barrier(len(racers)), []

    def race(racer: User) -> None:
        start.wait()
        try:
            patiently(lambda: won.append(racer) if people.accept(found, racer) else None)
        finally:
            connection.close()

    threads = [Thread(target=race, args=[racer]) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert queue.reviewers.filter(pk__in=[racer.pk for racer in racers]).count() == 1


def test_the_audit_says_which_settings_changed_and_who_came_and_went(
    make_queue: MakeQueue, alice: User, carol: User, mallory: User
) -> None:
    queue = make_queue(1)
    rows = {"also-TOTAL_FORMS": "1", "also-INITIAL_FORMS": "0"}
    rows |= {"also-0-words": "How fluent?", "also-0-kind": "rating"}
    given = form(name="Chapters", reviewers=[alice.pk, mallory.pk], heat_map="never", **rows)
    assert signed_in(carol).post("/queues/chapters/settings/", given).status_code == 302
    about = queue.events.get(act="changed").about
    assert "heat_map" in about
    assert about.endswith("+question “How fluent?”, +reviewer mallory, −reviewer bob")


def test_who_manages_a_queue_without_reviewing_it_is_told_so(
    make_queue: MakeQueue, carol: User, mallory: User
) -> None:
    queue, other = make_queue(), make_queue(0, slug="other")
    lead, reader = with_role(queue, "lead"), with_role(queue, "reader")
    elsewhere = with_role(other, "admin", "leads-another")
    for manager in (carol, lead, reader):
        answer = signed_in(manager).get("/review/chapters/")
        assert answer.status_code == 403
        page = answer.content.decode()
        assert "You are not a reviewer of this queue" in page
        assert 'href="/queues/chapters/"' in page
        assert ("/queues/chapters/settings/" in page) == (manager == carol)
    for stranger in (mallory, elsewhere):
        answer = signed_in(stranger).get("/review/chapters/")
        assert answer.status_code == 404
        assert "not a reviewer" not in answer.content.decode()
    assert signed_in(carol).get("/review/no-such/").status_code == 404
    queue.reviewers.add(lead)
    assert signed_in(lead).get("/review/chapters/").status_code == 200
