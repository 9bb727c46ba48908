"""The kinds of question in Chromium: by keys alone, with marks, on small screens."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from annotations.models import Annotation
from tests.annotations.conftest import MakeQueue, alice, bob, make_queue
from tests.annotations.test_questions import FLUENT, WHY
from tests.browser.conftest import Visit
from tests.browser.test_review import item, press, saved

__all__ = ["alice", "bob", "make_queue"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def values() -> list[dict[str, object]]:
    return list(Annotation.objects.values_list("values", flat=True))


def test_one_press_answers_a_choice_a_rating_and_a_pair(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(3, kind="choice", question="Which chapter?")
    make_queue(
        3, slug="many", kind="choice", question="Which one?", answers=[f"Chapter {n}" for n in range(12)]
    )
    pairs = make_queue(3, slug="pairs", kind="pair", question="Which is better?")
    pairs.items.update(other_answer="Circulatory, " * 30)
    page = visit("/review/chapters/", alice)
    press(page, "2")
    item(page, 2)
    saved(page)
    page.goto(page.url.replace("chapters", "many"))
    press(page, "9")
    item(page, 2)
    page.wait_for_timeout(260)
    page.get_by_role("button", name="Chapter 11").click()
    item(page, 3)
    saved(page)
    page.goto(page.url.replace("many", "pairs"))
    press(page, "4")
    item(page, 2)
    press(page, "1")
    item(page, 3)
    saved(page)
    assert values()[:4] == [
        {"main": "Digestive"},
        {"main": "Chapter 8"},
        {"main": "Chapter 11"},
        {"main": "neither"},
    ]
    assert values()[4]["main"] in ("first", "second")
    assert Annotation.objects.latest("id").sides_swapped is not None


def test_what_is_asked_beside_the_verdict_must_be_answered_first(
    visit: Visit, make_queue: MakeQueue, alice: User
) -> None:
    make_queue(4, also=[FLUENT, WHY])
    page = visit("/review/chapters/", alice)
    press(page, "a")
    item(page, 1)
    expect(page.locator("#stage [data-wrong]").first).to_have_text("Choose an answer.")
    press(page, "4", "a")
    item(page, 2)
    press(page, "r", "1")
    item(page, 2)
    press(page, "2")
    press(page, "q")
    page.keyboard.type("arr")
    page.keyboard.press("Escape")
    press(page, "r", "1")
    item(page, 3)
    saved(page)
    assert list(Annotation.objects.values_list("decision", "values")) == [
        ("approve", {"fluent": 4}),
        ("reject", {"fluent": 2, "why": "arr"}),
    ]


def test_enter_in_a_box_presses_no_hidden_button(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(4, also=[FLUENT])
    page = visit("/review/chapters/", alice)
    page.wait_for_timeout(260)
    page.get_by_role("radio", name="3").check()
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    item(page, 1)
    assert page.locator("#stage").get_by_role("radio", name="3").is_checked()


def test_several_are_chosen_and_sent_by_enter(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    make_queue(3, kind="choices", question="Which chapters?")
    page = visit("/review/chapters/", alice)
    press(page, "Enter")
    expect(page.locator("#stage [data-wrong]").first).to_have_text("Choose at least one.")
    press(page, "3", "1", "Enter")
    item(page, 2)
    saved(page)
    assert values() == [{"main": ["Circulatory", "Respiratory"]}]


def test_words_are_marked_by_keys_alone(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(3, kind="spans", question="Mark what is said.", answers=["sign", "cause"])
    queue.items.update(answer="🫁 wheezing after\nheavy exercise")
    page = visit("/review/chapters/", alice)
    press(page, "Enter")
    expect(page.locator("#stage [data-wrong]").first).to_have_text("Mark at least one piece of the answer.")
    press(page, "w", "ArrowRight", "ArrowRight", "1")
    expect(page.locator("#stage mark")).to_have_text("wheezing")
    expect(page.locator("#polite")).to_have_text("Marked “wheezing” as sign")
    press(page, "w", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "2")
    expect(page.locator("#stage mark")).to_have_count(2)
    page.get_by_role("button", name="Take back: wheezing, sign").click()
    press(page, "Enter")
    item(page, 2)
    saved(page)
    assert values() == [{"main": [{"start": 17, "end": 31, "label": "cause"}]}]


def test_words_are_marked_by_mouse(visit: Visit, make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(2, kind="spans", question="Mark what is said.", answers=["sign", "cause"])
    queue.items.update(answer="wheezing")
    page = visit("/review/chapters/", alice)
    page.wait_for_timeout(260)
    page.locator("#stage [data-answer]").dblclick(position={"x": 40, "y": 28})
    page.get_by_role("button", name="sign").click()
    expect(page.locator("#stage mark")).to_have_text("wheezing")
    page.get_by_role("button", name="Send").click()
    item(page, 2)
    saved(page)
    assert values() == [{"main": [{"start": 0, "end": 8, "label": "sign"}]}]


@pytest.mark.parametrize("kind", ["choice", "choices", "rating", "text", "spans", "pair"])
def test_no_kind_scrolls_sideways_and_the_bar_stays_small(
    visit: Visit, make_queue: MakeQueue, alice: User, sideways: Callable[[Page], int], kind: str
) -> None:
    also = [] if kind == "pair" else [FLUENT]
    queue = make_queue(3, kind=kind, question="What do you say of it?", also=also)
    queue.items.update(answer="Supercalifragilistic" * 8, other_answer="b" * 80 if kind == "pair" else "")
    page = visit("/review/chapters/", alice, 320, 640)
    assert sideways(page) == 0
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways(page) == 0
    bar = page.locator(".review-bar").bounding_box()
    assert bar is not None
    assert bar["height"] <= 0.2 * 844
