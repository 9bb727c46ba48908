"""Pictures of the pages of a turned demonstration, in a real browser; none may scroll sideways.

`manage.py screenshots` calls it. Knows which pages are worth a picture, and who looks at them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.urls import reverse

from flywheel.local import coding, seed
from flywheel.local.home import Home
from flywheel.models import DatasetRow, DatasetVersion, Evaluation, Rollout, TrainingRun

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, StorageState

SIZES = {1440: 900, 390: 844}
NARROW = 320
THEMES = ("light", "dark")
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class ScreenshotError(RuntimeError):
    """A page can't be shown as it should be; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A page and who looks at it."""

    name: str
    path: str
    reader: str


def sights() -> list[Sight]:
    """The pages, with the newest thing of each kind. Raises ScreenshotError when the wheel was not turned."""
    # Judged, learned from, and answered by the model as it was before: its page has the most to tell.
    learned = DatasetRow.objects.filter(split=DatasetRow.Split.TRAIN).select_related("item").last()
    newest = {
        "dataset": DatasetVersion.objects.exclude(hash="").first(),
        "training": TrainingRun.objects.filter(adapter__isnull=False).first(),
        "evaluation": Evaluation.objects.exclude(results={}).first(),
        "rollout": Rollout.objects.first(),
    }
    missing = [name for name, found in newest.items() if found is None]
    if missing or learned is None:
        raise ScreenshotError(f"there is no {', '.join(missing) or 'row'} to show: `make demo-turn` first")
    return [
        Sight("overview", reverse("overview"), seed.OPERATOR),
        Sight("explorer", f"{reverse('exchanges')}?q=route:{coding.ROUTE}", seed.OPERATOR),
        Sight("exchange", reverse("exchange", args=[learned.item.exchange_id]), seed.OPERATOR),
        Sight("review", reverse("review", args=[seed.QUEUE]), seed.REVIEWER),
        *(Sight(name, found.get_absolute_url(), seed.OPERATOR) for name, found in newest.items() if found),
    ]


def take(home: Home, seen: list[Sight], links: dict[str, str], to: Path, say: Callable[[str], None]) -> None:
    """Write a picture of every sight in each size and theme. Raises ScreenshotError."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (of the `dev` extra)

    chromium = shutil.which("chromium")
    if chromium is None:
        raise ScreenshotError("chromium is missing: as root, `apt-get install chromium`")
    to.mkdir(parents=True, exist_ok=True)
    wide: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM)
        signed_in = {name: _sign_in(browser, link) for name, link in links.items()}
        for sight in seen:
            for theme in THEMES:
                for width, height in SIZES.items():
                    with _context(browser, home, signed_in[sight.reader], theme, (width, height)) as context:
                        _picture(context, home, sight, to / f"{sight.name}-{width}-{theme}.png")
            with _context(browser, home, signed_in[sight.reader], "light", (NARROW, 568)) as context:
                if _scrolls_sideways(context, home, sight):
                    wide.append(sight.name)
            say(f"  {sight.name}")
        browser.close()
    if wide:
        raise ScreenshotError(f"at {NARROW} px these pages scroll sideways: {', '.join(wide)}")


def _sign_in(browser: Browser, link: str) -> StorageState:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(link)
        if "/sign-in" in page.url:
            raise ScreenshotError(f"the sign-in link was not taken: {page.title()}")
        return context.storage_state()


def _context(
    browser: Browser, home: Home, state: StorageState, theme: str, size: tuple[int, int]
) -> BrowserContext:
    width, height = size
    phone = width < 600
    context = browser.new_context(
        storage_state=state,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        has_touch=phone,
        is_mobile=phone,
    )
    context.add_cookies([{"name": "theme", "value": theme, "url": home.web_url}])
    return context


def _picture(context: BrowserContext, home: Home, sight: Sight, path: Path) -> None:
    page = context.new_page()
    answer = page.goto(home.web_url + sight.path, wait_until="networkidle")
    if answer is None or not answer.ok:
        raise ScreenshotError(f"{sight.name} ({sight.path}) answers {answer.status if answer else 'nothing'}")
    page.evaluate("document.fonts.ready")
    page.screenshot(path=path)


def _scrolls_sideways(context: BrowserContext, home: Home, sight: Sight) -> bool:
    page = context.new_page()
    page.goto(home.web_url + sight.path, wait_until="networkidle")
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
