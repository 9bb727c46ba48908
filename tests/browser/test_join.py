"""Somebody who was never here, from the link to a first stored judgement, by keys alone; and on a phone."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from annotations import people
from annotations.models import Annotation
from tests.annotations.conftest import MakeQueue, alice, bob, carol, make_queue
from tests.browser.conftest import Visit
from tests.browser.test_review import GUARD, item, press, saved

__all__ = ["alice", "bob", "carol", "make_queue"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def link(make_queue: MakeQueue, carol: User) -> str:
    return f"/join/{people.invite(make_queue(4), carol, people.Role.REVIEWER, 7)}/"


def test_from_the_link_to_the_first_judgement_by_keys(
    visit: Visit, make_queue: MakeQueue, carol: User
) -> None:
    page = visit(link(make_queue, carol))
    page.keyboard.type("Rita")
    page.keyboard.press("Enter")
    item(page, 1)
    expect(page.locator("#stage .hint-first").first).to_contain_text("Read what was asked")
    press(page, "a")
    item(page, 2)
    saved(page)
    expect(page.locator("#stage .hint-first")).to_have_count(0)
    said = Annotation.objects.get()
    assert (said.reviewer.username, said.decision) == ("rita", "approve")


def test_before_leaving_a_newcomer_chooses_a_password(
    visit: Visit, make_queue: MakeQueue, carol: User, sideways: Callable[[Page], int]
) -> None:
    page = visit(link(make_queue, carol), None, 320, 568)
    page.get_by_label("Your name").fill("Rita")
    page.get_by_role("button", name="Begin").click()
    item(page, 1)
    page.goto(page.url + "?done")
    page.get_by_role("link", name="choose a password").click()
    expect(page.get_by_label("A password")).to_be_focused()
    assert sideways(page) == 0
    page.keyboard.type("short")
    page.keyboard.press("Enter")
    expect(page.locator("form")).to_contain_text("at least 10 characters")
    page.get_by_label("A password").fill("three wise owls")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("as rita, with this password")
    expect(page.get_by_role("link", name="choose a password")).to_have_count(0)
    assert sideways(page) == 0
    assert User.objects.get(username="rita").check_password("three wise owls")


def test_a_name_that_is_none_is_told_by_the_field(
    visit: Visit, make_queue: MakeQueue, carol: User, alice: User, sideways: Callable[[Page], int]
) -> None:
    page = visit(link(make_queue, carol), None, 320, 568)
    page.get_by_label("Your name").fill("!")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("form")).to_contain_text("A name has letters or digits")
    assert sideways(page) == 0
    page.get_by_label("Your name").fill("Alice")
    page.get_by_role("button", name="Begin").click()
    item(page, 1)
    assert sideways(page) == 0
    page.wait_for_timeout(GUARD)
    page.get_by_role("button", name="Approve").click()
    item(page, 2)
    saved(page)
    assert Annotation.objects.get().reviewer.username == "alice-2"
