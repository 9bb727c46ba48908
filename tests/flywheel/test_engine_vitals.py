"""Engines on pages: numbers that lead to their exchanges, charts with and without anything, costs."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import unquote_plus

import pytest
from django.contrib.auth.models import User
from django.test import Client

from flywheel import costs
from flywheel.models import ApiPrice
from inference import clickhouse as trace_store
from inference import filters, vitals
from inference.models import Upstream
from inference.vitals import Sample
from tests import people

pytestmark = pytest.mark.django_db


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def upstream(**fields: object) -> Upstream:
    return Upstream.objects.create(name="gpu-1", base_url="http://gpu-1:8000", **fields)


def api() -> ApiPrice:
    ApiPrice.objects.all().delete()
    return ApiPrice.objects.create(
        name="Some API",
        price_in=Decimal("0.15"),
        price_out=Decimal("0.60"),
        source="its price page",
        seen_on=date(2026, 11, 1),
    )


@pytest.fixture
def store(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of a working engine with two GPUs."""
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    trace_store.migrate()
    trace_store.connect().command("TRUNCATE TABLE vitals")
    now = datetime.now(UTC).replace(microsecond=0)
    for back in range(0, 3600, 60):
        whole = {"up": 1.0, "tokens_per_s": 300.0, "prompt_tokens_per_s": 700.0, "kv_cache": 0.4,
                 "requests_running": 7.0, "first_token_p50": 0.2, "first_token_p95": 0.9}  # fmt: skip
        rows = [Sample(metric, "gpu-1", "", value) for metric, value in whole.items()]
        for gpu, share in (("0", 0.9), ("1", 0.7)):
            rows += [
                Sample("gpu_utilisation", "gpu-1", gpu, 0.98),
                Sample("gpu_power_share", "gpu-1", gpu, share),
            ]
            rows.append(Sample("gpu_xid", "gpu-1", gpu, 79.0 if back == 600 else 0.0))
        vitals.keep(rows, now - timedelta(seconds=back))


def test_a_million_tokens_by_hand() -> None:
    one = costs.cost(upstream(price_an_hour=Decimal(3)), 700.0, 300.0, [api()])
    assert one.per_million == pytest.approx(3 / 3600 / 1000 * 1e6)
    assert one.apis[0].per_million == pytest.approx(0.7 * 0.15 + 0.3 * 0.60)


@pytest.mark.parametrize(("prompt", "written"), [(None, None), (0.0, 0.0)])
def test_an_engine_that_did_nothing_has_no_cost_a_token(prompt: float | None, written: float | None) -> None:
    one = costs.cost(upstream(price_an_hour=Decimal(3)), prompt, written, [api()])
    assert (one.per_million, one.apis) == (None, ())


def test_an_engine_without_a_price_says_what_an_api_would_charge() -> None:
    one = costs.cost(upstream(), 700.0, 300.0, [api()])
    assert one.per_million is None
    assert len(one.apis) == 1


def test_who_may_look() -> None:
    upstream()
    assert Client().get("/engine/gpu-1/").status_code == 302
    assert as_(people.reviewer()).get("/engine/gpu-1/").status_code == 403
    assert as_(people.engineer()).get("/engine/gpu-2/").status_code == 404


def test_with_the_trace_store_away_the_pages_say_so() -> None:
    upstream()
    client = as_(people.engineer())
    assert "can't be read now" in client.get("/engine/gpu-1/").text.replace("&#x27;", "'")
    assert client.get("/engine/").text.replace("&#x27;", "'").count("Can't be read now") == 2


def test_numbers_lead_to_the_exchanges_behind_them(store: None) -> None:
    upstream(price_an_hour=Decimal(3))
    api()
    client = as_(people.engineer())
    page = client.get("/engine/").text.replace("\xa0", " ")
    row = page[page.index('id="engines-title"') : page.index('id="checks-title"')]
    numbers = dict(re.findall(r'data-label="([^"]+)">(?:<a href="[^"]+">|<span class="muted">)([^<]+)<', row))
    assert numbers["Running"] == "7"
    assert numbers["KV cache"] == "40 %"
    assert numbers["First token, p95"] == "0.9 s"
    assert numbers["Power of cap"] == "80 %"
    assert numbers["Preempted/min"] == "–"
    links = re.findall(r'href="/exchanges/\?q=([^"]+)"', row)
    assert len(links) == 6
    assert {str(filters.parse(unquote_plus(link))) for link in links} == {"upstream:gpu-1 since:5m"}
    costs_ = page[page.index('id="costs-title"') :]
    assert "$0.83</b> a million tokens" in costs_
    assert "$0.29" in costs_
    assert "its price page, 1 Nov 2026" in costs_


def test_charts_over_a_window_and_their_spans(store: None) -> None:
    upstream(gpu_metrics_url="http://dcgm:9400/metrics")
    page = as_(people.engineer()).get("/engine/gpu-1/?window=1h").text.replace("\xa0", " ")
    assert "Answered <b>100 %</b>" in page
    assert "XID errors: 79." in page
    assert page.count('class="chart-svg"') == 5  # nothing else was measured
    links = [unquote_plus(link) for link in re.findall(r'href="/exchanges/\?q=([^"]+)"', page)]
    spans = {link for link in links if "until:" in link}
    assert 40 <= len(spans) <= 49
    assert all(filters.parse(link) for link in links)
    assert "style=" not in page


def test_a_window_nobody_knows_is_the_usual_one_and_nothing_seen_is_said(store: None) -> None:
    Upstream.objects.create(name="new", base_url="http://new:8000")
    page = as_(people.engineer()).get("/engine/new/?window=<script>").text
    assert "Nothing was seen of it in the last 6h" in page
    assert "http://new:8000/metrics" in page
    assert "GPUs are not watched" in page
