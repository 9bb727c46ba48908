"""The explorer and an exchange in a real browser: the heat map by keys and mouse, and no text that runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from inference import otlp
from inference.exchange import Exchange
from tests import people
from tests.browser.conftest import Visit
from tests.inference import answered

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LONG = "wheezing after exercise of the respiratory system, "
ONE = answered.exchange(1, "wheezing after exercise")
HOSTILE = answered.exchange(2, answered.HOSTILE, messages=[{"role": "user", "content": answered.HOSTILE}])
WIDE = answered.exchange(
    3, LONG * 6, messages=[{"role": "user", "content": "W" * 400}], user="u" * 300, session="wide"
)


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
RICH = answered.exchange(
    4,
    "**Yes**: see `R06`.",
    messages=[
        {"role": "tool", "content": '{"found": ["' + "wheezing, " * 20 + '"]}'},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "image_url", "image_url": {"url": "https://tracker.example/p.png"}},
            ],
        },
    ],
    parent_span_id="9" * 16,
)
STEP = otlp.SpanBatch(
    "",
    [
        answered.step(RICH.trace_id, "9" * 16, "look up"),
        answered.step(RICH.trace_id, "8" * 16, "store", "no such table: " + "t" * 40, parent="9" * 16),
    ],
)


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(ONE, HOSTILE, WIDE, RICH, STEP)
    return clickhouse


@pytest.fixture(autouse=True)
def addresses(filled: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    settings.ARTEFACTS = str(tmp_path)
    answered.keep_tokenizer(tmp_path)


def address(one: Exchange) -> str:
    return f"/exchanges/{one.exchange_id}/"


def test_from_the_list_to_a_token_by_keys_alone(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    page.keyboard.press("j")
    expect(page.locator("tbody tr").first.locator(".asked a")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("tbody tr").nth(1).locator(".asked a")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("o")
    expect(page.locator("h1")).to_contain_text("finished by itself")
    page.keyboard.press("u")
    popover = page.locator(".heat-pop")
    expect(popover).to_be_visible()
    expect(popover).to_contain_text("15 %, 2nd choice")
    expect(page.locator("#polite")).to_contain_text("15 %, 2nd choice. Instead: x 68 %")
    expect(page.locator("[data-heat-text]")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(popover).to_contain_text("95 %, 1st choice")
    page.keyboard.press("Escape")
    expect(popover).to_be_hidden()


def test_enter_and_click_pin_and_moving_on_keeps_it(visit: Visit) -> None:
    page = visit(address(ONE), people.engineer())
    pieces = page.locator("[data-heat-text] .p")
    pieces.nth(2).click()
    expect(pieces.nth(2)).to_have_class("p h4 on pinned")
    page.mouse.move(2, 2)
    expect(page.locator(".heat-pop")).to_be_visible()
    pieces.nth(2).click()
    expect(page.locator(".heat-pop")).to_be_hidden()
    page.locator("[data-heat-text]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(pieces.first).to_have_class("p h0 on pinned")


def test_a_click_elsewhere_and_escape_close_what_a_click_opened(visit: Visit) -> None:
    page = visit(address(ONE), people.engineer())
    pieces, popover = page.locator("[data-heat-text] .p"), page.locator(".heat-pop")
    pieces.nth(2).click()
    popover.locator("p").click()
    expect(popover).to_be_visible()
    page.locator("h1").click(position={"x": 1, "y": 1})
    expect(popover).to_be_hidden()
    expect(pieces.nth(2)).to_have_class("p h4")
    for take_focus_away in (False, True):
        pieces.nth(2).click()
        if take_focus_away:
            page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Escape")
        expect(popover).to_be_hidden()
    page.get_by_role("button", name="Next unsure").click()
    expect(popover).to_be_visible()


def test_escape_closes_the_popover_first_and_then_the_panel(visit: Visit) -> None:
    page = visit(f"/exchanges/?peek={ONE.exchange_id}", people.engineer())
    page.locator("#peek [data-heat-text] .p").nth(2).click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    expect(page.locator(".heat-pop")).to_be_hidden()
    expect(page.locator("#peek")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#peek")).to_be_hidden()


def test_the_popover_is_never_over_its_piece(visit: Visit) -> None:
    page = visit(address(WIDE), people.engineer(), 390, 844)
    pieces = page.locator("[data-heat-text] .p")
    for place in (0, 12, pieces.count() - 1):
        pieces.nth(place).scroll_into_view_if_needed()
        pieces.nth(place).click()
        piece, popover = pieces.nth(place).bounding_box(), page.locator(".heat-pop").bounding_box()
        assert piece is not None
        assert popover is not None
        assert popover["y"] >= piece["y"] + piece["height"] or popover["y"] + popover["height"] <= piece["y"]
        assert popover["x"] >= 0
        assert popover["x"] + popover["width"] <= 390


def test_a_link_to_a_token_opens_it(visit: Visit) -> None:
    page = visit(address(ONE) + "#t2", people.engineer())
    expect(page.locator(".heat-pop")).to_contain_text("2nd choice")


def test_what_is_copied_is_the_answer(visit: Visit) -> None:
    page = visit(address(ONE), people.engineer())
    text = page.evaluate("""() => {
        const box = document.querySelector("[data-heat-text]");
        getSelection().selectAllChildren(box);
        return getSelection().toString();
    }""")
    assert text.removesuffix("end") == "wheezing after exercise"


def test_the_measure_repaints_and_renames_the_classes(visit: Visit) -> None:
    page = visit(address(ONE), people.engineer())
    page.get_by_label("Measure").select_option("entropy, bits")
    expect(page.locator("[data-legend]")).to_contain_text("≥ 2")
    expect(page.locator("[data-heat-text] .p").nth(2)).to_have_class("p h3")
    expect(page.locator("[data-heat-text] .p").first).to_have_class("p h1")


def test_h_switches_between_how_sure_and_as_written(visit: Visit) -> None:
    page = visit(address(ONE), people.engineer())
    page.keyboard.press("h")
    expect(page.locator("[data-shown=heat]")).to_be_hidden()
    expect(page.locator("[data-shown=text]")).to_have_text("wheezing after exercise")
    assert "view=text" in page.url
    page.reload()
    expect(page.locator("[data-shown=heat]")).to_be_hidden()


def test_hostile_text_runs_nothing_and_breaks_no_policy(visit: Visit) -> None:
    emil = people.engineer()
    for path in (address(HOSTILE), address(HOSTILE) + "?view=text", "/exchanges/", address(HOSTILE) + "raw/"):
        page = visit(path, emil)
        page.wait_for_load_state("networkidle")
        assert "owned" not in page.title()
        assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_nothing_scrolls_sideways(visit: Visit, sideways: Callable[[Page], int], width: int) -> None:
    emil = people.engineer()
    paths = ["/exchanges/", "/exchanges/?q=nothing:x", address(WIDE), address(WIDE) + "raw/"]
    paths += [
        f"/exchanges/diff/?a={ONE.exchange_id}&b={WIDE.exchange_id}",
        "/exchanges/diff/",
        "/sessions/wide/",
    ]
    assert [sideways(visit(path, emil, width, 844)) for path in paths] == [0] * 7


def test_a_picture_that_came_along_is_shown_and_none_is_fetched(visit: Visit) -> None:
    page = visit(address(RICH), people.engineer())
    page.wait_for_load_state("networkidle")
    (picture,) = page.locator("main img").all()
    assert picture.evaluate("(one) => one.naturalWidth") == 1
    assert picture.get_attribute("alt") == "Picture 1 that was sent along"
    page.locator(".turn summary").first.press("Enter")
    page.locator(".json summary").press("Enter")
    expect(page.locator(".json pre")).to_contain_text('"found": [')
    expect(page.locator(".spans .mine .step-bar")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_the_bars_of_a_trace_share_one_axis(
    visit: Visit, sideways: Callable[[Page], int], width: int
) -> None:
    page = visit(address(RICH), people.engineer(), width)
    boxes = [one.bounding_box() for one in page.locator(".spans .step-bar").all()]
    assert len(boxes) == 3
    assert len({(round(box["x"]), round(box["width"])) for box in boxes if box}) == 1
    expect(page.locator(".spans")).to_contain_text("✕ no such table")
    assert sideways(page) == 0


def test_two_ticked_are_compared_and_lead_to_their_tokens_by_keys(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer(), color_scheme="dark")
    for key in ("j", "x", "j", "j", "x"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Compare two").press("Enter")
    expect(page.locator("h1")).to_contain_text("differ in the answers")
    expect(page.locator("ins").first).to_be_visible()
    page.locator("#apart-title ~ p a").first.press("Enter")
    expect(page.locator(".heat-pop")).to_be_visible()


def test_in_forced_colours_unsure_pieces_are_still_told_apart(visit: Visit) -> None:
    page = visit(address(ONE), people.engineer(), forced_colors="active")
    pieces = page.locator("[data-heat-text] .p")
    line = "(p) => getComputedStyle(p).textDecorationLine + getComputedStyle(p).textDecorationStyle"
    assert pieces.nth(2).evaluate(line) == "underlinedouble"
    assert pieces.nth(0).evaluate(line).startswith("none")


def test_a_term_opens_its_meaning_by_enter(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    page.get_by_role("button", name="exchanges", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#term-exchange")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#term-exchange")).to_be_hidden()
