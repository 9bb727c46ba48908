"""The frame around every page, in a real browser."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from annotations.models import Item, Queue
from inference import spools
from inference.report import Report
from tests import people
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_sign_in_by_keyboard_lands_on_the_page_wanted(visit: Visit) -> None:
    people.engineer(password=people.PASSWORD)
    page = visit("/words/")
    page.goto(page.url.replace("/words/", "/settings/"))
    expect(page).to_have_title("Sign in · Flywheel")
    page.keyboard.type("emil")
    page.keyboard.press("Tab")
    page.keyboard.type(people.PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(
        page.url.split("/sign-in")[0].rstrip("/").removesuffix("/settings") + "/settings/"
    )


def test_a_slash_goes_to_the_search_box_but_not_while_typing(visit: Visit) -> None:
    page = visit("/words/", people.engineer())
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.locator("#search")).to_have_value("a/b")


@pytest.mark.parametrize("path", ["/words/", "/settings/", "/sign-in/", "/no-such-page/", "/search/?q=xyzzy"])
def test_nothing_scrolls_sideways_on_the_narrowest_screen(
    visit: Visit, sideways: Callable[[Page], int], path: str
) -> None:
    user = None if path == "/sign-in/" else people.operator()
    assert sideways(visit(path, user, 320, 568)) == 0


def test_the_bar_holds_long_names_counts_and_warnings_at_every_width(
    visit: Visit, sideways: Callable[[Page], int]
) -> None:
    spools.heard_from_drain(Report("gpu-host-17.internal:/var/lib/flywheel/spool", unstored_age=40_000.0))
    olga = people.operator()
    User.objects.update(first_name="Olga-Maria Konstantinopolous")
    queue = Queue.objects.create(slug="desk", name="Desk")
    queue.reviewers.add(olga)
    Item.objects.bulk_create(
        Item(queue=queue, exchange_id=uuid4(), started_at=timezone.now(), messages=[], answer="x")
        for _ in range(1214)
    )
    page = visit("/words/", olga)
    expect(page.locator(".nav .count")).to_contain_text("1,214")
    expect(page.locator("#alarm a")).to_contain_text("oldest unstored 11")
    for width in (320, 390, 768, 1024, 1280, 1344, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert sideways(page) == 0, width


def test_on_a_phone_the_bar_is_a_menu_that_escape_closes(visit: Visit) -> None:
    page = visit("/words/", people.engineer(), 390, 844)
    links = page.locator(".nav-menu nav a")
    expect(links.first).to_be_hidden()
    page.locator(".nav-menu summary").click()
    expect(links).to_have_count(8)
    expect(links.first).to_be_visible()
    page.keyboard.press("Escape")
    expect(links.first).to_be_hidden()
    expect(page.locator(".nav-menu summary")).to_be_focused()


def test_the_chosen_theme_is_there_from_the_first_byte_on(visit: Visit) -> None:
    page = visit("/settings/", people.reviewer(), color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Dark").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_the_system_decides_when_nothing_is_chosen(visit: Visit) -> None:
    page = visit("/words/", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"


def test_the_skip_link_is_first_and_goes_to_the_page(visit: Visit) -> None:
    page = visit("/words/", people.engineer())
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_browsers_time_zone_reaches_the_server(visit: Visit) -> None:
    page = visit("/words/", people.engineer(), timezone_id="Asia/Tokyo")
    page.goto(page.url.replace("words", "settings"))
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")


def test_the_admin_works_under_its_own_policy(visit: Visit) -> None:
    olga = people.operator()
    page = visit("/admin/inference/apikey/add/", olga)
    page.locator("[name=name]").fill("coding desk")
    page.locator("[name=every_route]").check()
    page.locator("[name=_save]").click()
    expect(page.locator("#secret")).to_contain_text("fw-")
    visit("/admin/", olga, color_scheme="dark").wait_for_load_state("networkidle")
