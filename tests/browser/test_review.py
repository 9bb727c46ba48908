"""The review screen in Chromium: keys alone, no connection, sent twice, small screens, nothing blocked."""

import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Dialog, Page, Route, expect

from annotations import judging, leases, sampling
from annotations.judging import Judgement
from annotations.models import Annotation, Queue
from tests.annotations.conftest import MakeQueue, alice, bob, make_queue
from tests.annotations.test_queue_views import artefacts, exchanges
from tests.browser.conftest import Visit

__all__ = ["alice", "artefacts", "bob", "exchanges", "make_queue"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

GUARD = 260
"""Milliseconds in which a new item takes no key."""


def press(page: Page, *keys: str) -> None:
    """Press keys as a person does: after the item could be seen."""
    page.wait_for_timeout(GUARD)
    for key in keys:
        page.keyboard.press(key)


def saved(page: Page) -> None:
    """Wait until the server has everything."""
    expect(page.locator("#sent")).to_contain_text("Saved")


def said() -> list[tuple[str, str, str]]:
    return list(Annotation.objects.values_list("decision", "answer", "reason"))


def item(page: Page, number: int) -> None:
    """Wait until a page shows this item and has its scripts; before that it takes no key or press."""
    expect(page.locator("#stage .item-title")).to_have_text(f"Item {number}")
    page.wait_for_load_state("load")


def test_five_items_are_judged_by_keys_alone(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(8)
    page = visit("/review/chapters/", alice)
    press(page, "a")
    item(page, 2)
    expect(page.locator("#polite")).to_have_text("Approved. Item 2")
    assert page.evaluate("document.activeElement.className") == "item-title"
    press(page, "r", "2")
    item(page, 3)
    press(page, "r", "Enter")
    item(page, 4)
    press(page, "c")
    page.keyboard.type("ski")
    page.keyboard.press("Enter")
    item(page, 5)
    press(page, "n", "1")
    item(page, 6)
    saved(page)
    expect(page.locator("#progress")).to_contain_text("5 by you · 3 left")
    assert said() == [
        ("approve", "", ""),
        ("reject", "", "Not one answer"),
        ("reject", "", ""),
        ("correct", "Skin", ""),
        ("cant_judge", "", "Not my field"),
    ]
    assert all(seconds is not None for seconds in Annotation.objects.values_list("seconds", flat=True))


def test_undo_brings_the_last_one_back(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(5)
    page = visit("/review/chapters/", alice)
    press(page, "a")
    item(page, 2)
    expect(page.locator("#last")).to_contain_text("Approved the last one")
    press(page, "z")
    item(page, 1)
    expect(page.locator("#last")).to_contain_text("Undone: Approved")
    expect(page.locator("#stage")).to_contain_text("case 1")
    press(page, "r", "1")
    item(page, 2)
    expect(page.locator("#stage")).to_contain_text("case 2")
    saved(page)
    assert [decision for decision, _, _ in said()] == ["approve", "undo", "reject"]


def test_keys_are_dead_while_typing_held_or_too_early(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(9)
    page = visit("/review/chapters/", alice)
    press(page, "m")
    page.keyboard.type("arrr")
    press(page, "Control+a", "Shift+A")
    item(page, 1)
    page.keyboard.press("Escape")
    press(page, "Control+Alt+a", "Shift+A")
    item(page, 1)
    page.wait_for_timeout(GUARD)
    page.evaluate(
        """() => { for (const repeat of [true, false, true, false]) {
            document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', bubbles: true, repeat}));
        } }"""
    )
    item(page, 2)
    saved(page)
    assert Annotation.objects.count() == 1
    page.wait_for_timeout(GUARD)
    page.get_by_role("button", name="Skip").dblclick()
    expect(page.locator("#stage")).to_contain_text("case 3")
    press(page, "?")
    page.get_by_label("Use keys on this device").uncheck()
    page.keyboard.press("Escape")
    press(page, "a")
    item(page, 2)


def test_without_a_connection_two_are_kept_and_sent_once(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(6)
    page = visit("/review/chapters/", alice)
    page.context.set_offline(True)
    press(page, "a")
    item(page, 2)
    press(page, "r", "1")
    item(page, 3)
    expect(page.locator("#sent")).to_contain_text("2 waiting, no connection")
    kept = page.evaluate("Object.entries(localStorage).find(([k]) => k.startsWith('flywheel.outbox'))")
    assert len(json.loads(kept[1])) == 2
    assert "wheezing" not in kept[1]
    press(page, "a")
    expect(page.locator("#stage")).to_contain_text("Keep this page open")
    assert not Annotation.objects.exists()
    page.context.set_offline(False)
    item(page, 4)
    saved(page)
    assert [decision for decision, _, _ in said()] == ["approve", "reject", "approve"]
    assert page.evaluate("Object.keys(localStorage).filter((k) => k.startsWith('flywheel.outbox'))") == []


def test_an_answer_whose_reply_was_lost_counts_once(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(5)
    page = visit("/review/chapters/", alice)
    calls: list[str] = []

    def lose_the_first_reply(route: Route) -> None:
        calls.append(route.request.url)
        if len(calls) == 1:
            route.fetch()
            route.fulfill(status=502, body="")
        else:
            route.continue_()

    page.route("**/judge/", lose_the_first_reply)
    press(page, "a")
    saved(page)
    assert len(calls) == 2
    assert Annotation.objects.count() == 1


def test_signed_out_answers_wait_and_go_after_signing_in_again(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(5)
    page = visit("/review/chapters/", alice)
    cookies = page.context.cookies()
    page.context.clear_cookies(name="sessionid")
    press(page, "a")
    expect(page.locator("#strip")).to_contain_text("Sign in again")
    item(page, 2)
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.evaluate("dispatchEvent(new Event('focus'))")
    saved(page)
    expect(page.locator("#strip")).to_be_hidden()
    assert Annotation.objects.count() == 1


def test_a_lost_item_comes_back_with_what_was_typed(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(4, answers=[])
    page = visit("/review/chapters/", alice)
    expect(page.locator("#stage")).to_contain_text("case 1")
    for place in leases.held(queue, alice)[:1]:
        leases.release(place.pk, queue)
    his = leases.reserve(queue, bob, 2)
    for place in his:
        if place.item.position == 0:
            judging.judge(place.item, bob, place.key, Judgement("approve"))
    press(page, "c")
    page.keyboard.type("Skin, surely")
    expect(page.locator("#stage [data-difference] ins").first).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#stage [role=alert]")).to_contain_text("Someone else has answered this one")
    expect(page.locator("#stage")).to_contain_text("Skin, surely")
    page.get_by_role("link", name="Next item").click()
    expect(page.locator("#stage")).to_contain_text("case 2")
    assert Annotation.objects.count() == 1


def test_the_choice_is_a_combobox_found_by_letters(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(3)
    page = visit("/review/chapters/", alice)
    press(page, "c")
    box = page.get_by_role("combobox")
    expect(box).to_be_focused()
    expect(page.get_by_role("option")).to_have_count(4)
    assert box.get_attribute("aria-activedescendant") is None
    page.keyboard.press("Enter")  # nothing is chosen by chance
    expect(page.locator("#stage .item-title")).to_have_text("Item 1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = box.get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_have_text("Digestive")
    page.keyboard.type("resp")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#stage [data-wrong]")).to_have_text("That is the model's answer. Approve it?")
    expect(page.get_by_role("button", name="Approve it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    press(page, "c")
    expect(box).to_have_value("Respiratory")
    box.fill("zzz")
    expect(page.locator("#stage")).to_contain_text("None fits")
    box.fill("circ")
    page.get_by_role("option", name="Circulatory").click()
    item(page, 2)
    saved(page)
    assert said() == [("correct", "Circulatory", "")]


def test_the_end_says_what_came_of_it(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(2)
    page = visit("/review/chapters/", alice)
    press(page, "a")
    item(page, 2)
    press(page, "s")
    item(page, 2)
    expect(page.locator("#stage")).to_contain_text("You skipped this before")
    press(page, "a")
    expect(page.locator("#stage h2")).to_contain_text("Nothing waits for you: you judged 2 in 1 minute.")
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()


def test_a_paused_queue_says_so_after_the_judgement_counted(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> None:
    queue = make_queue(9)
    page = visit("/review/chapters/", alice)
    queue.change_state("open", "paused", bob)
    for number in (2, 3):
        press(page, "a")
        item(page, number)
    press(page, "a")
    expect(page.locator("#stage h2")).to_have_text("This queue is paused.")
    assert Annotation.objects.count() == 3
    assert Queue.objects.get().state == "paused"


def test_everything_works_without_script(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(6)
    page = visit("/review/chapters/", alice, java_script_enabled=False)
    page.get_by_role("button", name="Approve").click()
    item(page, 2)
    page.get_by_role("button", name="Correct").click()
    page.locator("#stage").get_by_label("The right answer").select_option("Skin")
    page.get_by_role("button", name="Send").click()
    item(page, 3)
    page.get_by_role("button", name="Reject").click()
    page.get_by_role("button", name="Wrong chapter").click()
    item(page, 4)
    page.get_by_role("button", name="Skip").click()
    expect(page.locator("#stage")).to_contain_text("case 5")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#stage")).to_contain_text("case 3")
    assert [decision for decision, _, _ in said()] == ["approve", "correct", "reject", "undo"]


def test_an_answer_is_found_by_its_hint(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(answers=["Skin", "Ear", "Lung"], hints={"Ear": "H60, S9", "Lung": "J00–J99"})
    page = visit("/review/chapters/", alice)
    press(page, "c")
    page.keyboard.type("s")
    expect(page.get_by_role("option")).to_have_text(["Skin", "Ear H60, S9"])
    page.keyboard.press("Backspace")
    for code in ("j9", "j18.1", "j"):
        page.keyboard.type(code)
        expect(page.get_by_role("option")).to_have_text(["Lung J00–J99"])
        page.keyboard.press("Control+a")
    page.keyboard.type("i50")
    expect(page.get_by_role("option")).to_have_count(0)
    page.keyboard.press("Control+a")
    page.keyboard.type("s9")
    expect(page.get_by_role("option")).to_have_text(["Ear H60, S9"])
    page.keyboard.press("Enter")
    item(page, 2)
    saved(page)
    assert said() == [("correct", "Ear", "")]


@pytest.mark.parametrize("size", [(390, 844), (320, 640), (320, 256), (1440, 900)])
def test_nothing_scrolls_sideways_and_the_bar_is_small(
    visit: Visit, make_queue: MakeQueue, alice: User, sideways: Callable[[Page], int], size: tuple[int, int]
) -> None:
    width, height = size
    queue = make_queue(40, answers=["Diseases of the respiratory system", "Skin", "A" * 90])
    queue.items.update(answer="Supercalifragilistic" * 12)
    page = visit("/review/chapters/", alice, width, height)
    assert sideways(page) == 0
    press(page, "c")
    assert sideways(page) == 0
    bar = page.locator(".review-bar").bounding_box()
    assert bar is not None
    assert height < 480 or bar["height"] <= 0.155 * height
    for path in ("/review/chapters/?done", "/review/chapters/mine/", "/review/?all"):
        page.goto(page.url.partition("/review/")[0] + path)
        assert sideways(page) == 0


def test_how_sure_the_model_was_opens_in_the_answers_place(
    visit: Visit, make_queue: MakeQueue, alice: User, exchanges: list[str], artefacts: None
) -> None:
    queue = make_queue(0, filter="route:icd-chapter")
    sampling.fill(queue, 4)
    page = visit(f"/review/{queue.slug}/", alice)
    press(page, "h")
    expect(page.locator("#stage [data-heat-text]")).to_be_visible()
    expect(page.locator("#stage [data-answer]")).to_be_hidden()
    press(page, "u")
    expect(page.locator(".heat-pop")).to_be_visible()
    press(page, "h")
    expect(page.locator("#stage [data-answer]")).to_be_visible()
    press(page, "a")
    item(page, 2)
    press(page, "a")
    item(page, 3)
    saved(page)
    assert list(Annotation.objects.values_list("heat_map_seen", flat=True)) == [True, False]


def test_a_newcomer_is_told_in_place_and_only_once(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(4)
    page = visit("/review/chapters/", alice)
    expect(page.locator("#stage .hint-first")).to_have_count(2)
    press(page, "a")
    item(page, 2)
    saved(page)
    page.reload()
    item(page, 2)
    expect(page.locator("#stage .hint-first")).to_have_count(0)


def test_signing_out_names_what_is_not_sent_and_then_forgets_it(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(4)
    page = visit("/review/chapters/", alice)
    page.route("**/judge/", lambda route: route.abort())
    press(page, "a")
    expect(page.locator("#sent")).to_contain_text("1 waiting")
    page.goto(page.url + "mine/")
    asked: list[str] = []

    def agree(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    page.on("dialog", agree)
    page.locator("details.person summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in/**")
    assert asked == ["1 answer was not sent yet: no connection. Sign out and lose it?"]
    assert page.evaluate("Object.keys(localStorage).filter((k) => k.startsWith('flywheel.outbox'))") == []
    assert not Annotation.objects.exists()
