"""What is typed and not sent yet, time on an item, keys of one's own, in Chromium."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Dialog, Page, expect

from annotations import judging, leases
from annotations.judging import Judgement
from annotations.models import Annotation, Assignment
from tests.annotations.conftest import MakeQueue, alice, bob, make_queue
from tests.browser.conftest import Visit, become
from tests.browser.test_review import item, press, saved

__all__ = ["alice", "bob", "make_queue"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ASKS = [
    {"name": "why", "kind": "text", "words": "Why?", "options": [], "required": False},
    {"name": "how", "kind": "choices", "words": "How?", "options": ["one", "two"], "required": False},
]


def kept(page: Page) -> dict[str, Any]:
    """Everything this browser holds of drafts, by name."""
    found: dict[str, Any] = json.loads(
        page.evaluate(
            "JSON.stringify(Object.fromEntries(Object.entries(localStorage)"
            ".filter(([name]) => name.startsWith('flywheel.draft'))))"
        )
    )
    return found


def type_a_correction(page: Page) -> None:
    press(page, "c")
    page.keyboard.press("End")
    page.keyboard.type(" tract")
    page.keyboard.press("Escape")
    press(page, "m")
    page.keyboard.type("an odd one")
    page.locator("#stage").get_by_label("two").check()
    page.locator("#stage textarea[data-text]").fill("it says so")


def type_a_correction_without_questions(page: Page, more: str) -> None:
    press(page, "c")
    page.keyboard.press("End")
    page.keyboard.type(more)
    page.keyboard.press("Escape")
    press(page, "m")
    page.keyboard.type("an odd one")
    page.keyboard.press("Escape")


def expect_the_correction(page: Page) -> None:
    expect(page.locator("#stage [data-note]")).to_have_value("an odd one")
    expect(page.locator("#stage").get_by_label("two")).to_be_checked()
    expect(page.locator("#stage textarea[data-text]")).to_have_value("it says so")
    expect(page.locator("#stage [data-edit]")).to_have_value("Respiratory tract")


def test_what_was_typed_and_sent_by_a_key_is_no_draft(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(3)
    page = visit("/review/chapters/", alice)
    for number, letters in enumerate(("circ", "skin"), 1):
        press(page, "c")
        page.keyboard.type(letters)
        page.keyboard.press("Enter")
        item(page, number + 1)
    saved(page)
    assert kept(page) == {}
    page.goto(page.url + "?done")
    expect(page.locator("[data-ending] h2")).to_contain_text("you judged 2")
    expect(page.locator("#drafts")).to_be_empty()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("You are signed out")


def test_what_was_typed_outlives_a_reload_and_the_sessions_end(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(4, answers=[], also=ASKS)
    page = visit("/review/chapters/", alice)
    type_a_correction(page)
    page.reload()
    expect_the_correction(page)
    page.context.clear_cookies(name="sessionid")
    page.reload()
    expect(page.locator("h1")).to_have_text("Sign in")
    become(page, alice)
    page.goto(page.url.partition("/sign-in/")[0] + "/review/chapters/")
    expect_the_correction(page)
    press(page, "c", "Control+Enter")
    item(page, 2)
    saved(page)
    sent = Annotation.objects.get()
    assert (sent.decision, sent.answer, sent.note) == ("correct", "Respiratory tract", "an odd one")
    assert sent.values == {"why": "it says so", "how": ["two"]}
    assert kept(page) == {}


def typed_and_lost(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> tuple[Page, list[Assignment]]:
    """A page on which Alice typed, whose items are now Bob's."""
    queue = make_queue(8, answers=[])
    page = visit("/review/chapters/", alice)
    type_a_correction_without_questions(page, " tract")
    Assignment.objects.filter(reviewer=alice).update(leased_until=timezone.now() - timedelta(minutes=1))
    return page, leases.reserve(queue, bob)


def approve(places: list[Assignment]) -> None:
    for place in places:
        judging.judge(place.item, place.reviewer, place.key, Judgement("approve"))


def test_what_was_typed_is_shown_when_its_place_was_lost_at_a_reload(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> None:
    page, places = typed_and_lost(visit, make_queue, alice, bob)
    approve(places)
    page.reload()
    expect(page.locator("#stage")).to_contain_text("case 4")
    left = page.locator("#drafts")
    expect(left).to_contain_text("What you typed is kept: 1 item no longer here")
    expect(left).to_contain_text("case 1” Someone else has answered it.")
    expect(left.locator(".kept")).to_have_text("Respiratory tract\nan odd one")
    expect(page.locator("#polite")).to_contain_text("What you typed is kept")
    page.reload()
    expect(left).to_contain_text("case 1")
    left.get_by_role("button", name="Throw away").click()
    expect(left).to_be_empty()
    expect(page.locator("#stage h2")).to_be_focused()
    assert kept(page) == {}
    page.reload()
    expect(page.locator("#stage")).to_contain_text("case 4")
    expect(left).to_be_empty()


def test_an_item_that_nobody_took_can_be_had_again_with_what_was_typed(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> None:
    page, _ = typed_and_lost(visit, make_queue, alice, bob)
    page.reload()
    expect(page.locator("#drafts")).to_contain_text("It is reserved for another reviewer now.")
    Assignment.objects.filter(reviewer=bob).delete()
    page.reload()
    expect(page.locator("#drafts")).to_contain_text("nobody has answered it yet")
    page.get_by_role("button", name="Open it again").click()
    expect(page.locator("#stage")).to_contain_text("case 1")
    expect(page.locator("#stage [data-edit]")).to_have_value("Respiratory tract")
    expect(page.locator("#drafts")).to_be_empty()


def test_what_was_refused_for_good_outlives_a_reload_until_one_goes_on(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> None:
    page, places = typed_and_lost(visit, make_queue, alice, bob)
    approve(places)
    press(page, "c", "Control+Enter")
    expect(page.locator("#stage [data-told]")).to_contain_text("Someone else has answered this one.")
    page.reload()
    expect(page.locator("#drafts .kept")).to_contain_text("Respiratory tract")


def test_a_skipped_items_draft_waits_for_it_in_silence(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(8, answers=[])
    page = visit("/review/chapters/", alice)
    type_a_correction_without_questions(page, " tract")
    press(page, "s")
    expect(page.locator("#stage")).to_contain_text("case 2")
    saved(page)
    with page.expect_response("**/drafts/**"):
        page.reload()
    expect(page.locator("#drafts")).to_be_empty()
    assert len(kept(page)) == 1


def test_letters_at_a_closed_list_are_there_again(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(4)
    page = visit("/review/chapters/", alice)
    press(page, "c")
    page.keyboard.type("ski")
    page.reload()
    expect(page.get_by_role("combobox")).to_have_value("ski")
    expect(page.get_by_role("option")).to_have_count(1)
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.press("Enter")
    item(page, 2)
    saved(page)
    assert kept(page) == {}


def test_a_draft_is_its_own_items_only(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(2, answers=[])
    page = visit("/review/chapters/", alice)
    press(page, "m")
    page.keyboard.type("of the first")
    page.keyboard.press("Escape")
    press(page, "s")
    expect(page.locator("#stage")).to_contain_text("case 2")
    expect(page.locator("#stage [data-note]")).to_have_value("")
    press(page, "a")
    expect(page.locator("#stage")).to_contain_text("case 1")
    expect(page.locator("#stage [data-note]")).to_have_value("of the first")


def test_what_was_emptied_again_is_no_draft(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(4)
    page = visit("/review/chapters/", alice)
    press(page, "m")
    page.keyboard.type("x")
    assert len(kept(page)) == 1
    page.keyboard.press("Backspace")
    assert kept(page) == {}


def test_somebody_else_finds_nothing_of_it(
    visit: Visit, make_queue: MakeQueue, alice: User, bob: User
) -> None:
    make_queue(4, answers=[], also=ASKS)
    page = visit("/review/chapters/", alice)
    type_a_correction(page)
    assert list(kept(page)) == [f"flywheel.draft.{alice.pk}"]
    become(page, bob)
    page.goto(page.url)
    expect(page.locator("#stage [data-note]")).to_have_value("")
    assert kept(page) == {}


@pytest.mark.parametrize("way", ["the bar", "the admin", "another tab"])
def test_signing_out_leaves_nothing_of_an_item(
    visit: Visit, make_queue: MakeQueue, alice: User, way: str
) -> None:
    make_queue(4, answers=[], also=ASKS)
    page = visit("/review/chapters/", alice)
    type_a_correction(page)
    asked: list[str] = []

    def agree(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    other = page.context.new_page() if way == "another tab" else page
    other.on("dialog", agree)
    other.goto(page.url + "mine/")
    if way == "the admin":
        page.evaluate(
            """() => {
              const form = document.querySelector('[data-sign-out]');
              form.action = '/admin/logout/';
              form.submit();
            }"""
        )
    else:
        other.locator("details.person summary").click()
        other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/sign-in/**")
    page.wait_for_url("**/sign-in/**")
    expect(page.locator("body")).not_to_contain_text("wheezing")
    assert kept(page) == {}
    if way != "the admin":
        assert asked == ["What you typed on 1 item was not sent yet. Sign out and lose it?"]


def test_time_counts_while_the_page_is_seen_and_in_use(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(8)
    page = visit("/review/chapters/", alice)
    page.clock.install()
    page.route("**/judge/", lambda route: route.abort())  # what would be sent stays to be read
    page.reload()
    page.evaluate(
        """() => {
          window.seen = true;
          const get = () => (window.seen ? 'visible' : 'hidden');
          Object.defineProperty(document, 'visibilityState', { get });
          window.see = (yes) => { window.seen = yes; document.dispatchEvent(new Event('visibilitychange')); };
        }"""
    )

    def judge(seconds: int, then: str = "", more: int = 0) -> None:
        page.clock.run_for(seconds * 1000)
        if then:
            page.evaluate(then)
            page.clock.run_for(more * 1000)
            page.evaluate("see(true)")
        page.keyboard.press("a")

    judge(300)  # nobody touched anything after the first minute
    judge(10, then="see(false)", more=40)
    judge(50, then="dispatchEvent(new Event('pointermove'))", more=50)
    outbox = page.evaluate(f"JSON.parse(localStorage.getItem('flywheel.outbox.{alice.pk}'))")
    assert [round(entry["body"]["seconds"]) for entry in outbox] == [60, 10, 100]


def test_a_key_can_be_changed_and_is_drawn_where_it_is_pressed(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(6)
    page = visit("/review/chapters/", alice)
    press(page, "?")
    change = page.get_by_role("button", name="Change the key for Approve")
    change.click()
    page.keyboard.press("s")
    expect(page.locator("[data-keys-told]")).to_have_text("S is already Skip. Choose another letter.")
    page.keyboard.press("1")
    expect(page.locator("[data-keys-told]")).to_have_text("1 can’t be used here. Choose another letter.")
    page.keyboard.press("y")
    expect(page.locator("[data-keys-told]")).to_have_text("Approve is Y now.")
    expect(change).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(page.locator(".review-bar [data-act=approve] kbd")).to_have_text("Y")
    press(page, "a")
    item(page, 1)
    press(page, "y")
    item(page, 2)
    saved(page)
    page.reload()
    expect(page.locator(".review-bar [data-act=approve] kbd")).to_have_text("Y")
    press(page, "y")
    item(page, 3)
    press(page, "?")
    page.get_by_role("button", name="The usual keys").click()
    page.keyboard.press("Escape")
    press(page, "a")
    item(page, 4)
    saved(page)
    assert Annotation.objects.filter(decision="approve").count() == 3


def test_after_fifty_the_page_says_how_it_went(
    visit: Visit, make_queue: MakeQueue, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotations.milestones.EVERY", 2)
    make_queue(6)
    page = visit("/review/chapters/", alice)
    press(page, "a")
    item(page, 2)
    press(page, "a")
    expect(page.locator("#strip")).to_contain_text("You have judged 2 here")
    item(page, 3)
    press(page, "a")
    expect(page.locator("#strip")).to_be_hidden()
