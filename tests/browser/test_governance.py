"""Erasures, retention and masking in a real browser: empty, full, refused, the store away; by keyboard."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from flywheel import erasure
from flywheel.models import Erasure, Expiry, Job
from inference.models import Route
from tests import people
from tests.browser.conftest import Visit
from tests.inference import answered

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SIZES = ((1440, 900), (390, 844), (320, 640))
LONG = "W" * 120
DAY = 86_400_000_000
TEXT = f"Anna, anna@example.org, {LONG}, card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00"
Fits = Callable[[Page], int]
AWAY = "http://127.0.0.1:9/nobody"


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        now = int(timezone.now().timestamp() * 1e6)
        made = [
            answered.exchange(
                n,
                f"call 0171 2345678, {LONG}",
                user="ann",
                route="icd-chapter",
                started_us=now - n * 30 * DAY,
                messages=[{"role": "user", "content": TEXT}],
            )
            for n in range(4)
        ]
        answered.store(*made)
        yield clickhouse


@pytest.fixture(autouse=True)
def home(filled: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    settings.HOME, settings.SPOOL = tmp_path, tmp_path / "spool"
    settings.ARTEFACTS = str(tmp_path / "artefacts")


def at_every_size(page: Page, sideways: Fits, name: str) -> None:
    """Nothing scrolls sideways; kept for somebody to look at, where FLYWHEEL_PICTURES names a folder."""
    folder = os.environ.get("FLYWHEEL_PICTURES")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert sideways(page) <= 0, (name, width)
        for scheme in ("light", "dark") if folder else ():
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.screenshot(path=Path(folder or "", f"{name}-{width}-{scheme}.png"), full_page=True)
    page.set_viewport_size({"width": 1440, "height": 900})


def a_receipt(state: str, user: str, **job: object) -> Erasure:
    made = erasure.start(user, user * 30, None)
    Job.objects.filter(pk=made.job_id).update(state=state, **job)
    made.counts = {"items in queues": 3, "exchanges rows": 12_480, "filters that named them": 1}
    made.used = {"dataset versions": ["icd v3", LONG], "adapters": ["icd-0a1b2c3d (d8dd7c41)"]}
    made.finished_at = timezone.now() if state == "done" else None
    made.save()
    return made


def test_erasing_by_keyboard(visit: Visit, sideways: Fits) -> None:
    page = visit("/erasures/", people.operator())
    at_every_size(page, sideways, "erasures-empty")
    page.get_by_label("User’s id").fill("ann")
    page.keyboard.press("Enter")
    expect(page.locator(".act")).to_contain_text("4 exchanges name this user")
    at_every_size(page, sideways, "erasures-preview")
    page.get_by_role("button", name="Erase everything of").press("Enter")
    expect(page.locator("h1")).to_have_text(f"Erasure {Erasure.objects.get().pk}")
    at_every_size(page, sideways, "erasure-waiting")
    assert "ann" not in page.url


def test_receipts_of_every_state_fit(visit: Visit, sideways: Fits) -> None:
    olga = people.operator()
    failed = a_receipt(
        "failed", "b", error=f"The trace store does not answer: {LONG}. Resume when it is back."
    )
    done, running = a_receipt("done", "c", message="Erased everywhere."), a_receipt("running", "d", done=2)
    page = visit("/erasures/", olga)
    at_every_size(page, sideways, "erasures")
    for one, name in ((failed, "failed"), (done, "done"), (running, "running")):
        page.goto(page.url.split("/erasures/")[0] + one.get_absolute_url())
        at_every_size(page, sideways, f"erasure-{name}")


def test_nobody_of_this_id_and_the_store_away(
    visit: Visit, sideways: Fits, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit("/erasures/", people.operator())
    page.get_by_label("User’s id").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator(".act")).to_contain_text("No exchange names this user")
    at_every_size(page, sideways, "erasures-nobody")
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", AWAY)
    page.get_by_label("User’s id").press("Enter")
    expect(page.locator(".notice.warn").last).to_contain_text("can’t be asked now")
    at_every_size(page, sideways, "erasures-away")


def test_retention_empty_full_and_away(visit: Visit, sideways: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    page = visit("/retention/", people.operator())
    expect(page.locator("main")).to_contain_text("No route yet")
    at_every_size(page, sideways, "retention-empty")
    Route.objects.create(name="icd-chapter", tokens_days=10, bodies_days=45, metadata_days=400)
    Route.objects.create(name="w" * 50)
    for days in (1, 2):
        removed = {"tokens in tokens": 1204, "bodies in exchanges": 3, "copies in queues": 12}
        Expiry.objects.create(at=timezone.now() - timedelta(days=days), removed=removed)
    page.reload()
    expect(page.locator(".lead")).to_contain_text("removes")
    at_every_size(page, sideways, "retention")
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", AWAY)
    page.reload()
    expect(page.locator(".lead")).to_contain_text("can’t be asked")
    at_every_size(page, sideways, "retention-away")


def test_masking_empty_with_a_text_with_a_route_and_away(
    visit: Visit, sideways: Fits, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit("/masking/", people.operator())
    at_every_size(page, sideways, "masking-empty")
    Route.objects.create(name="icd-chapter", mask=True)
    Route.objects.create(name="w" * 50)
    page.reload()
    page.get_by_label("Text").fill(TEXT)
    page.get_by_role("button", name="Show what would be masked").press("Enter")
    expect(page.locator("mark").first).to_contain_text("[email")
    at_every_size(page, sideways, "masking-text")
    page.get_by_label("Text").fill("nothing to see")
    page.get_by_role("button", name="Show what would be masked").press("Enter")
    expect(page.locator("main")).to_contain_text("Your text: nothing")
    at_every_size(page, sideways, "masking-nothing")
    page.get_by_role("button", name="Show", exact=True).press("Enter")
    expect(page.locator("main")).to_contain_text("of the last 4 exchanges")
    at_every_size(page, sideways, "masking-route")
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", AWAY)
    page.reload()
    expect(page.locator(".notice.warn").last).to_contain_text("can’t be asked now")
    at_every_size(page, sideways, "masking-away")
