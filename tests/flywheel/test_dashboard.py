"""Whether Grafana can draw deploy/grafana/flywheel.json: its structure, and how it asks for each metric.

That every name and label exists is held in test_prometheus.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flywheel import prometheus
from inference.metrics import Metrics
from tests.inference import pages

FILE = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "flywheel.json"
UNITS = {"s", "short", "bytes", "reqps", "percentunit", "percent", "celsius", "none"}
"""Grafana's ids of the units that are used; one that it does not know it writes behind the number."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NAME = r"(?:vllm:|flywheel_|DCGM_)\w+"
Node = dict[str, Any]


@pytest.fixture
def dashboard() -> Node:
    found: Node = json.loads(FILE.read_text())
    return found


def drawn(dashboard: Node) -> list[Node]:
    """All panels but the rows between them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(dashboard: Node) -> Iterator[tuple[str, Node]]:
    """Each expression's place, with the panel's title."""
    for panel in drawn(dashboard):
        for target in panel["targets"]:
            yield panel["title"], target


def types() -> dict[str, str]:
    """What each sample is, by its name: as proxies, web, the recorded engine and GPU exporter say."""
    ours = [generate_latest(registry).decode() for registry in (Metrics().registry, prometheus.registry())]
    found: dict[str, str] = {}
    for page in (*ours, pages.vllm(3), pages.gpu("idle")):
        for family in text_string_to_metric_families(page):
            ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            found |= {
                family.name + end: "counter" if end in ("_sum", "_count") else family.type for end in ends
            }
    return found


def cells(place: dict[str, int]) -> set[tuple[int, int]]:
    """The squares of the grid that a panel takes."""
    across = range(place["x"], place["x"] + place["w"])
    return {(x, y) for x in across for y in range(place["y"], place["y"] + place["h"])}


def test_panels_have_ids_and_places_of_their_own(dashboard: Node) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) > 20
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        here = cells(panel["gridPos"])
        assert here, panel["title"]
        assert not here & taken, panel["title"]
        assert max(x for x, _ in here) < 24, panel["title"]
        taken |= here


def test_each_panel_says_what_it_means_and_what_to_do(dashboard: Node) -> None:
    told = [panel["description"] for panel in drawn(dashboard)]
    assert all(len(text) > 60 and text.endswith(".") for text in told), told
    assert len(told) == len(set(told))
    assert all(panel["title"] for panel in dashboard["panels"])


def test_it_can_be_imported_anywhere(dashboard: Node) -> None:
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    # From 37 on, what a legend shows is as written here; an id or an input would be that of one Grafana.
    assert dashboard["schemaVersion"] >= 37
    assert not {"id", "__inputs", "__requires"} & set(dashboard)
    assert all(panel["datasource"] == SOURCE for panel in drawn(dashboard))
    assert all(target["datasource"] == SOURCE for _, target in targets(dashboard))
    assert all(panel["panels"] == [] for panel in dashboard["panels"] if panel["type"] == "row")


def test_what_a_panel_is_made_of(dashboard: Node) -> None:
    for panel in drawn(dashboard):
        assert panel["type"] == "timeseries"
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["options"]["legend"]["showLegend"] is True
        refs = [target["refId"] for target in panel["targets"]]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0
        # Without a label in it, all lines would be called the same.
        assert all("{{" in legend for legend in legends), panel["title"]
        assert len(legends) == len(set(legends)), panel["title"]


def test_variables_are_known_and_brackets_close(dashboard: Node) -> None:
    for title, target in targets(dashboard):
        text = target["expr"]
        assert set(re.findall(r"\$\{?(\w+)", text)) <= {"__rate_interval"}, title
        left = re.sub(r"[^()\[\]{}]", "", text)
        while left != (left := re.sub(r"\(\)|\[\]|\{\}", "", left)):
            pass
        assert not left, (title, text)


@pytest.mark.django_db
def test_counters_are_rated_and_nothing_else_is(dashboard: Node) -> None:
    known, looked_at = types(), 0
    for title, target in targets(dashboard):
        for before, name, window in re.findall(rf"(\w*)\(?\s*({NAME})(\[[^]]*\])?", target["expr"]):
            rises = known[name] in ("counter", "histogram")
            assert (before in ("rate", "increase")) is rises, (title, name)
            assert window == ("[$__rate_interval]" if rises else ""), (title, name)
            looked_at += 1
    assert looked_at > 30


def test_quantiles_are_of_buckets_that_keep_their_bounds(dashboard: Node) -> None:
    found = [text["expr"] for _, text in targets(dashboard) if re.search("_bucket|quantile", text["expr"])]
    rates = rf"rate\({NAME}_bucket\[\$__rate_interval\]\)"
    whole = rf"histogram_quantile\(0\.\d+, sum by \(le, \w+\) \({rates}\)\)"
    assert len(found) >= 8
    assert all(re.fullmatch(whole, text) for text in found), found
