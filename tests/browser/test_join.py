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
    page.keyboard.type("rita")
    page.keyboard.press("Tab")
    page.keyboard.type("three wise owls")
    page.keyboard.press("Enter")
    item(page, 1)
    expect(page.locator("#stage .hint-first").first).to_contain_text("Read what was asked")
    press(page, "a")
    item(page, 2)
    saved(page)
    expect(page.locator("#stage .hint-first")).to_have_count(0)
    said = Annotation.objects.get()
    assert (said.reviewer.username, said.decision) == ("rita", "approve")


def test_what_was_typed_stays_when_the_name_is_taken(
    visit: Visit, make_queue: MakeQueue, carol: User, alice: User, sideways: Callable[[Page], int]
) -> None:
    page = visit(link(make_queue, carol), None, 320, 568)
    page.get_by_label("A name to sign in with").fill("alice")
    page.get_by_label("A password").fill("three wise owls")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("form")).to_contain_text("Somebody has this name already")
    assert sideways(page) == 0
    page.get_by_label("A name to sign in with").fill("rita")
    page.get_by_role("button", name="Begin").click()
    item(page, 1)
    assert sideways(page) == 0
    page.wait_for_timeout(GUARD)
    page.get_by_role("button", name="Approve").click()
    item(page, 2)
    saved(page)
    assert Annotation.objects.get().reviewer.username == "rita"
