"""The explorer in a real browser: panel, ticks, histogram, completion, views; by keys and by pointer."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from annotations.models import Queue
from inference.columns import ALL
from inference.models import SavedView
from tests import people
from tests.browser.conftest import Visit
from tests.inference import answered

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
HOUR = 3_600_000_000
NOON = 1_795_400_000_000_000
MANY = [
    answered.exchange(n, f"wheezing {n}", started_us=NOON + n * HOUR, user="u" * 200 if n == 3 else "")
    for n in range(12)
]
HOSTILE = answered.exchange(
    20,
    answered.HOSTILE,
    started_us=NOON + 20 * HOUR,
    messages=[{"role": "user", "content": answered.HOSTILE + "W" * 400}],
)


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(*MANY, HOSTILE)
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_one")
        answered.store(MANY[0])
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_none")
        answered.store()
    return clickhouse


@pytest.fixture(autouse=True)
def addresses(filled: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    settings.ARTEFACTS = str(tmp_path)
    answered.keep_tokenizer(tmp_path)


@pytest.fixture(params=["", "_one", "_none"], ids=["many", "one", "none"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, filled: str) -> None:
    """A store with many exchanges, with one, with none."""
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + request.param)


def test_enter_shows_beside_j_shows_the_next_and_escape_closes(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    panel = page.locator("#peek")
    expect(panel).to_contain_text("wheezing after exercise 11")
    expect(page.locator("#polite")).to_contain_text("answered in")
    assert f"peek={MANY[11].exchange_id}" in page.url
    page.keyboard.press("j")
    expect(panel).to_contain_text("wheezing after exercise 10")
    expect(page.locator("tr.shown .asked a")).to_be_focused()
    page.reload()
    expect(panel).to_contain_text("wheezing after exercise 10")
    page.go_back()
    expect(panel).to_contain_text("wheezing after exercise 11")
    page.wait_for_function("document.readyState === 'complete'")  # its scripts have run
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert "peek" not in page.url


def test_an_opened_exchange_leads_along_its_list_in_the_chosen_view(visit: Visit) -> None:
    page = visit("/exchanges/?q=route:icd-chapter", people.engineer())
    for key in "jjo":
        page.keyboard.press(key)
    shown, way = page.locator(".exchange"), page.get_by_role("navigation", name="Along the list")
    expect(shown).to_contain_text("wheezing after exercise 11")
    page.keyboard.press("h")
    page.keyboard.press("j")
    expect(shown).to_contain_text("wheezing after exercise 10")
    expect(page.locator("[data-views]")).to_have_attribute("data-views", "text")
    page.keyboard.press("k")
    expect(shown).to_contain_text("wheezing after exercise 11")
    way.get_by_role("link", name="Older").click()
    expect(shown).to_contain_text("wheezing after exercise 10")
    way.get_by_role("link", name="Newer").click()
    expect(shown).to_contain_text("wheezing after exercise 11")
    page.locator(".crumbs").get_by_role("link", name="Exchanges").click()
    expect(page.get_by_label("Filter", exact=True)).to_have_value("route:icd-chapter")


def test_conversations_are_reached_and_read_by_keyboard(visit: Visit) -> None:
    page = visit("/exchanges/?q=until:2026-12-31", people.engineer())
    page.get_by_role("link", name="Conversations").press("Enter")
    expect(page.locator("h1")).to_have_text("Conversations")
    expect(page.get_by_label("Filter", exact=True)).to_have_value("until:2026-12-31")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tbody tr").nth(1).locator(".asked a")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("ol.session")).to_contain_text("wheezing after exercise 11")


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_conversations_fit_every_width(
    visit: Visit, kept: None, sideways: Callable[[Page], int], width: int
) -> None:
    page = visit("/sessions/", people.engineer(), width)
    assert sideways(page) <= 0


@pytest.mark.parametrize("script", [True, False])
def test_columns_are_chosen_by_keyboard_and_kept_in_a_view(visit: Visit, script: bool) -> None:
    page = visit("/exchanges/?q=until:2026-12-31", people.engineer(), java_script_enabled=script)
    page.locator(".columns-menu summary").press("Enter")
    page.get_by_label("Least sure").press("Space")
    page.get_by_label("User", exact=True).press("Space")
    page.get_by_role("button", name="Show these").press("Enter")
    heads = page.locator(".exchanges thead th")
    expect(heads).to_have_text(
        ["Ticked", "When", "Asked", "Answered", "End", "Took", "Tokens", "Version", "User"]
    )
    page.locator(".views-menu summary").press("Enter")
    page.get_by_label("Name for this filter").fill("users")
    page.get_by_role("button", name="Save").press("Enter")
    page.goto(page.url.split("/exchanges/")[0] + SavedView.objects.get().get_absolute_url())
    expect(heads).to_have_count(9)
    page.get_by_role("link", name="Older").or_(page.locator(".histogram svg a").first).first.press("Enter")
    expect(heads).to_have_count(9)
    page.locator(".columns-menu summary").press("Enter")
    page.get_by_role("link", name="The usual ones").press("Enter")
    expect(heads).to_contain_text(["Least sure"])


@pytest.mark.parametrize("menu", [".views-menu", ".columns-menu", ".person"])
def test_a_menu_closes_by_escape_or_a_click_outside_and_no_key_goes_past_it(visit: Visit, menu: str) -> None:
    page = visit(f"/exchanges/?q=end:stop&peek={MANY[11].exchange_id}", people.engineer())
    opened, summary = page.locator(f"{menu}[open]"), page.locator(f"{menu} > summary")
    summary.click()
    page.keyboard.press("x")
    page.keyboard.press("j")
    expect(page.locator("input[name=id]:checked")).to_have_count(0)
    expect(page.locator("tr.shown")).to_contain_text("exercise 11")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(opened).to_have_count(0)
    expect(summary).to_be_focused()
    expect(page.locator("#peek")).to_be_visible()
    summary.click()
    expect(opened).to_have_count(1)
    page.locator("h1").click()
    expect(opened).to_have_count(0)
    expect(summary).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#peek")).to_be_hidden()


def test_the_heat_map_in_the_panel_answers_to_keys(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    page.locator("tbody .asked a").nth(1).click()
    expect(page.locator("#peek [data-heat-text]")).to_be_visible()
    page.wait_for_load_state("networkidle")  # before the panel has its scripts it takes no key
    page.keyboard.press("u")
    expect(page.locator(".heat-pop")).to_contain_text("2nd choice")


def test_ticked_rows_are_sent_and_no_others(visit: Visit) -> None:
    Queue.objects.create(slug="picked", name="Picked", order="newest")
    page = visit("/exchanges/", people.engineer())
    expect(page.locator("[data-chosen]")).to_contain_text("13 that match")
    for key in ("j", "j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.locator("[data-chosen]")).to_have_text("2 ticked are sent on.")
    page.get_by_role("button", name="Send to a queue").click()
    expect(page.locator("main")).to_contain_text("2 exchanges match")
    page.get_by_role("button", name="Add up to 2 to Picked").press("Enter")
    expect(page.locator(".notice")).to_contain_text("2 exchanges added")


def test_a_stretch_of_time_by_keys(visit: Visit) -> None:
    page = visit("/exchanges/?q=end:stop", people.engineer())
    page.locator(".histogram svg a").first.focus()
    for key in ("ArrowRight", "ArrowLeft", "Shift+ArrowRight", "Shift+End"):
        page.keyboard.press(key)
    expect(page.locator("#polite")).to_contain_text("13 exchanges in")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#polite")).to_contain_text("12 exchanges in")
    page.keyboard.press("Enter")
    expect(page.locator("h1 + .lead")).to_contain_text("12")
    assert page.locator("#q").input_value().startswith("end:stop since:2026-11-2")


def test_a_stretch_of_time_by_dragging(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    box = page.locator(".histogram svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 30, steps=5)
    page.mouse.up()
    expect(page.locator("#q")).to_have_value(re.compile("^since:.* until:"))
    expect(page.locator("h1 + .lead")).to_contain_text("9 exchanges")


def touch(page: Page, start: tuple[float, float], end: tuple[float, float]) -> Callable[[], None]:
    """A finger put down and moved, as the browser's own input; what is returned lifts it."""
    hand = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        hand.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
        )

    send("touchStart", start)
    for step in range(1, 11):
        send("touchMove", tuple(a + (b - a) * step / 10 for a, b in zip(start, end, strict=True)))  # type: ignore[arg-type]
    return lambda: send("touchEnd")


def histogram(page: Page) -> tuple[float, float, float]:
    """Left, middle and width of its box."""
    box = page.locator(".histogram svg").bounding_box()
    assert box is not None
    return box["x"], box["y"] + box["height"] / 2, box["width"]


def test_a_stretch_of_time_by_a_finger(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer(), 390, 844, has_touch=True, is_mobile=True)
    left, middle, width = histogram(page)
    lift = touch(page, (left + 3, middle), (left + width * 0.4, middle + 4))
    expect(page.locator("[data-brushed]")).to_have_text(re.compile(r"^9 exchanges in \d+ columns$"))
    lift()
    expect(page.locator("#q")).to_have_value(re.compile("^since:.* until:"))
    expect(page.locator("h1 + .lead")).to_contain_text("9 exchanges")


def test_a_finger_that_scrolls_chooses_no_time(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer(), 390, 844, has_touch=True, is_mobile=True)
    left, middle, width = histogram(page)
    lift = touch(page, (left + width / 2, middle), (left + width / 2 + 4, middle - 200))
    expect(page.locator(".brushed")).to_have_count(0)
    lift()
    page.wait_for_function("scrollY > 50")
    expect(page.locator("#q")).to_have_value("")


def test_a_tap_on_a_column_is_its_link(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer(), 390, 844, has_touch=True, is_mobile=True)
    left, middle, _ = histogram(page)
    page.touchscreen.tap(left + 2, middle + 20)
    expect(page.locator("#q")).to_have_value(re.compile("^since:.* until:"))
    expect(page.locator("h1 + .lead")).to_contain_text("1")


def test_a_click_on_a_column_is_still_its_link(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    page.locator(".histogram svg a").first.click(position={"x": 2, "y": 60})
    expect(page.locator("#q")).to_have_value(re.compile("^since:.* until:"))
    expect(page.locator("h1 + .lead")).to_contain_text("1")


def test_the_line_is_completed_by_keys(visit: Visit) -> None:
    page = visit("/exchanges/", people.engineer())
    line = page.locator("#q")
    line.focus()
    page.keyboard.type("rou")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(line).to_have_value("route:")
    expect(page.get_by_role("option", name="icd-chapter")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(line).to_have_attribute("aria-activedescendant", "offer-0")
    page.keyboard.press("Tab")
    expect(line).to_have_value("route:icd-chapter ")
    expect(line).to_be_focused()
    page.keyboard.type("end")
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    line.fill("user:nobody")
    page.keyboard.press("Enter")
    expect(page.locator("h1 + .lead")).to_contain_text("matches")


def test_a_view_is_saved_and_opened(visit: Visit) -> None:
    emil = people.engineer()
    page = visit("/exchanges/?q=end:stop", emil)
    page.locator(".views-menu summary").press("Enter")
    page.get_by_label("Name for this filter").fill("Finished ones")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("Saved as “Finished ones”")
    assert page.url.endswith(f"view={SavedView.objects.get().pk}")
    again = visit(f"/exchanges/views/{SavedView.objects.get().pk}/", emil)
    expect(again.locator("#q")).to_have_value("end:stop")
    expect(again.locator(".views-menu summary")).to_contain_text("Finished ones")


def test_hostile_text_runs_nothing_in_list_and_panel(visit: Visit) -> None:
    page = visit(f"/exchanges/?peek={HOSTILE.exchange_id}", people.engineer())
    page.wait_for_load_state("networkidle")
    assert "owned" not in page.title()
    assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("shown", [(320, "light"), (390, "dark"), (1440, "light"), (1440, "dark")])
def test_nothing_scrolls_sideways_with_none_one_and_many(
    visit: Visit, sideways: Callable[[Page], int], shown: tuple[int, str], kept: None
) -> None:
    width, scheme = shown
    emil = people.engineer()
    every = ",".join(column.name for column in ALL)
    for path in ("/exchanges/", f"/exchanges/?peek={MANY[0].exchange_id}", f"/exchanges/?columns={every}"):
        page = visit(path, emil, width, 844, color_scheme=scheme)
        if page.locator(".views-menu summary").count():
            page.locator(".views-menu summary").click()
        if page.locator(".columns-menu summary").count():
            page.locator(".columns-menu summary").click()
        assert sideways(page) == 0, path
