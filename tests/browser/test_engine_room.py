"""The engine room in a real browser: with nothing, with everything wrong, narrow and by keyboard."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from flywheel import alerts, built_in_rules
from flywheel.alert_models import AlertCondition, AlertRule
from flywheel.models import ApiPrice
from inference import clickhouse as trace_store
from inference import spools, vitals
from inference.models import Upstream
from inference.report import Report
from inference.vitals import Sample
from tests import people
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDTHS = (320, 1440)


def picture(page: Page, name: str) -> None:
    """Kept for somebody to look at, where FLYWHEEL_PICTURES names a folder."""
    if folder := os.environ.get("FLYWHEEL_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def busy(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts, one in trouble; an engine that works and one that is away; alerts that fire."""
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    trace_store.migrate()
    trace_store.connect().command("TRUNCATE TABLE vitals")
    if not AlertRule.objects.exists():
        built_in_rules.add(AlertRule.objects, AlertCondition.objects)
    ApiPrice.objects.get_or_create(
        name="Some API", price_in=Decimal("0.15"), price_out=Decimal("0.60"),
        defaults={"source": "its price page", "seen_on": "2026-11-01"},
    )  # fmt: skip
    Upstream.objects.create(
        name="gpu-1", base_url="http://127.0.0.1:9", gpu_metrics_url="http://127.0.0.1:9/m", price_an_hour=3
    )
    Upstream.objects.create(name="gpu-2", base_url="http://127.0.0.1:9")
    spools.heard_from_drain(
        Report("gpu-host-1.internal:/var/lib/flywheel/spool", stored_age=2.0, newest=str(uuid4()),
               stored=41_200, rate=12.5, disk_bytes=3 << 20)
    )  # fmt: skip
    spools.heard_from_drain(
        Report("gpu-host-2.internal:/var/lib/flywheel/spool", unstored_age=190.0, kept_aside=2, damaged=1,
               stored=900, problem="ClickHouse does not answer", disk_bytes=900 << 20)
    )  # fmt: skip
    now = datetime.now(UTC).replace(microsecond=0)
    for back in range(0, 6 * 3600, 900):
        wave = 1 + (back // 900 % 7) / 10
        whole = {"up": 1.0, "tokens_per_s": 3000.0 * wave, "prompt_tokens_per_s": 7000.0,
                 "kv_cache": 0.5 * wave, "requests_running": 70.0 * wave,
                 "requests_waiting": 3.0, "first_token_p50": 0.2 * wave,
                 "first_token_p95": 0.9, "between_tokens_p50": 0.02, "between_tokens_p95": 0.03 * wave,
                 "prefix_hits": 0.6, "preemptions_per_min": 0.0}  # fmt: skip
        rows = [Sample(metric, "gpu-1", "", value) for metric, value in whole.items()]
        for gpu, share in (("0", 0.9), ("1", 0.7)):
            gpus = {
                "gpu_utilisation": 0.98,
                "gpu_power_share": share,
                "gpu_temperature": 60.0,
                "gpu_memory": 0.9,
            }
            rows += [Sample(metric, "gpu-1", gpu, value) for metric, value in gpus.items()]
        vitals.keep(rows, now - timedelta(seconds=back))
    for seconds in (40, 0):
        seen = [Sample("up", "gpu-2", "", 0.0), Sample("kept_aside", "gpu-host-2", "", 3.0)]
        alerts.evaluate(seen, now - timedelta(seconds=seconds))


def test_everything_at_once_at_every_width(busy: None, visit: Visit, sideways: Callable[[Page], int]) -> None:
    olga = people.operator()
    for scheme in ("light", "dark"):
        page = visit("/engine/", olga, color_scheme=scheme)
        expect(page.locator("#alarm p")).to_have_count(2)
        expect(page.locator("#alarm")).to_contain_text("oldest unstored 3")
        expect(page.locator("#alarm")).to_contain_text("Engine away: gpu-2.")
        expect(page.locator(".alert").first).to_contain_text("What to do first")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert sideways(page) == 0, width
            picture(page, f"engine-{scheme}-{width}")
        page = visit("/engine/gpu-1/?window=6h", olga, color_scheme=scheme)
        expect(page.locator(".chart-svg")).to_have_count(10)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert sideways(page) == 0, width
            picture(page, f"vitals-{scheme}-{width}")


def test_from_a_number_to_its_exchanges_by_keyboard(busy: None, visit: Visit) -> None:
    page = visit("/engine/", people.engineer())
    page.get_by_role("region", name="Engines").get_by_role("link", name="gpu-1").focus()
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "upstream%3Agpu-1+since%3A5m" in page.url


def test_with_nothing_at_all(visit: Visit, sideways: Callable[[Page], int]) -> None:
    page = visit("/engine/", people.engineer(), width=320)
    expect(page.locator("main")).to_contain_text("No drain and no proxy has told of a spool yet.")
    assert sideways(page) == 0
    picture(page, "engine-none-320")
