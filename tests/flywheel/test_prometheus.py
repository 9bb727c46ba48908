"""For those who have their own Prometheus: web's metrics, and whether deploy/grafana names what exists."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase
from pytest_django import Settings

from flywheel import prometheus
from flywheel.alert_models import Alert, AlertRule
from flywheel.models import Sweep
from inference import gpu_vitals, spools
from inference.exposition import parse
from inference.metrics import Metrics
from inference.report import Report
from inference.tallies import Tally
from tests.inference import pages

pytestmark = pytest.mark.django_db
FILES = Path(__file__).parent.parent.parent / "deploy" / "grafana"
OURS = re.compile(r"\b(?:flywheel_\w+|DCGM_\w+)|\bvllm:\w+")
WORDS = {
    "and", "by", "histogram_quantile", "increase", "instance", "le", "max", "on", "rate", "sum", "end_reason",
    "limit", "__rate_interval", "m",
}  # fmt: skip
"""What else an expression is made of."""


def test_nobody_without_the_token_reads_them(settings: Settings) -> None:
    address = "/internal/metrics"
    assert Client().get(address).status_code == 403
    settings.INTERNAL_TOKEN = "between us"
    assert Client().get(address).status_code == 403
    assert Client().get(address, headers={"authorization": "Bearer guessed"}).status_code == 403
    answer = Client().get(address, headers={"authorization": "Bearer between us"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")


def happen() -> None:
    """Something of all that web tells."""
    spools.heard_from_drain(Report('a"b:/spool', unstored_age=70.0, kept_aside=2, damaged=1, rate=3.5))
    spools.heard_from_proxy("p", {"spool": 'a"b:/spool', "run": "x", "dropped": "4"})
    rule = AlertRule.objects.create(
        name="Test", severity="critical", meaning="m", users_notice="u", first_step="f"
    )
    Alert.objects.create(rule=rule, source="gpu-1", part="0", state="firing")
    Alert.objects.create(rule=rule, source="gpu-2", state="waiting")
    Sweep.objects.create(pk=1, at=timezone.now() - timedelta(minutes=5))


def test_spools_alerts_and_the_watch(settings: Settings) -> None:
    settings.INTERNAL_TOKEN = "between us"
    happen()
    headers = {"authorization": "Bearer between us"}
    page = parse(Client().get("/internal/metrics", headers=headers).text)
    values = {name: [(dict(one.labels), one.value) for one in found] for name, found in page.samples.items()}
    spool = {"spool": 'a"b:/spool'}
    assert values["flywheel_spool_kept_aside"] == [(spool, 3.0)]
    assert values["flywheel_spool_dropped_total"] == [(spool, 4.0)]
    assert values["flywheel_spool_drained_per_second"] == [(spool, 3.5)]
    assert 70 <= values["flywheel_spool_unstored_seconds"][0][1] < 130
    assert values["flywheel_alert_firing"] == [
        ({"rule": "Test", "severity": "critical", "source": "gpu-1", "gpu": "0"}, 1.0)
    ]
    assert 300 <= values["flywheel_watch_age_seconds"][0][1] < 360


def known() -> set[str]:
    """Every metric that proxies, web, the recorded engine and the GPU exporter show."""
    found = set(parse(pages.vllm(3)).samples) | set(gpu_vitals.NAMES)
    for registry in (Metrics().registry, prometheus.registry()):
        for family in registry.collect():
            ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
                family.type, ("",)
            )
            found |= {family.name + end for end in ends}
    return found


def expressions() -> list[str]:
    dashboard = json.loads((FILES / "flywheel.json").read_text())
    drawn = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = (FILES / "alerts.yml").read_text()
    folded = re.findall(r"^ +expr: (?:>-\n)?((?:.+)(?:\n {10}.+)*)", rules, re.MULTILINE)
    assert len(folded) == rules.count("- alert:")
    return drawn + folded


def test_every_metric_that_dashboard_and_rules_name_exists() -> None:
    found = expressions()
    assert len(found) > 30
    missing = {name for text in found for name in OURS.findall(text)} - known()
    assert missing == set()
    # And nothing else is named that could be a metric.
    rest = {
        word for text in found for word in re.findall(r"[a-z_]\w*", OURS.sub("", re.sub(r"\d+m\b", "", text)))
    }
    assert rest - WORDS == set()


def labels_of() -> dict[str, set[str]]:
    """The labels that each metric is shown with, from pages: ours, an engine's, a GPU exporter's."""
    happen()
    ours = Metrics()
    for metric in vars(ours).values():
        if isinstance(metric, MetricWrapperBase) and metric._labelnames:
            metric.labels(*metric._labelnames)
        elif isinstance(metric, Tally):
            metric.add(*metric.labels)
    texts = [generate_latest(registry).decode() for registry in (ours.registry, prometheus.registry())]
    shown: dict[str, set[str]] = {}
    for text in (*texts, pages.vllm(3), pages.gpu("idle")):
        for name, samples in parse(text).samples.items():
            shown.setdefault(name, set()).update(label for one in samples for label in one.labels)
    return shown


def captions() -> list[tuple[str, str]]:
    """Each expression with the words that its panel or its alert puts labels into."""
    dashboard = json.loads((FILES / "flywheel.json").read_text())
    drawn = [
        (target["expr"], target.get("legendFormat", ""))
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    rules = (FILES / "alerts.yml").read_text().split("- alert:")[1:]
    return drawn + [(rule[rule.index("expr:") : rule.index("labels:")], rule) for rule in rules]


def test_every_label_that_dashboard_and_rules_name_is_shown() -> None:
    shown, looked_at = labels_of(), 0
    for expression, words in captions():
        # Who scrapes adds these.
        found = {"instance", "job"}.union(*(shown[name] for name in OURS.findall(expression)))
        grouped = re.findall(r"\bby \(([^)]*)\)", expression)
        kept = {label.strip() for group in grouped for label in group.split(",")}
        asked = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!)", expression))
        written = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", words))
        assert kept | asked | written <= found, (expression, words)
        # What an expression sums over is gone from its result.
        assert not grouped or written <= kept, (expression, words)
        looked_at += len(kept | asked | written)
    assert looked_at > 40
