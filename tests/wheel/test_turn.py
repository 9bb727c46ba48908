"""The whole demonstration on real parts: start, turn, stop. Minutes long; a smaller turn than the default."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel.local.engine import BASE_MODEL
from flywheel.local.home import Home
from inference import mode_probe, told
from inference.logprobs_mode import Finding
from tests.differential.run import run
from tests.differential.shapes import paths_served, shapes
from tests.local.running_demo import Demo
from tests.wheel import differential

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(1500)]
WAYS = [
    "streamed",
    "several choices",
    "stop string",
    "several prompts",
    "client leaves",
    differential.SCORING,
]
STAGES = ["traffic", "queue", "judgements", "dataset", "training", "evaluation", "rollout", "new traffic"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    found = Demo(tmp_path_factory.mktemp("home"))
    found.install_model()
    found.start()
    yield found
    if found.process and found.process.poll() is None:
        found.stop()


def test_the_first_start_prints_people_with_passwords_links_and_a_key(demo: Demo) -> None:
    said = "".join(demo.said)
    assert said.count("/sign-in/") >= 2
    assert "as admin, password " in said
    assert "as coder, password " in said
    assert "api_key=fw-" in said


@pytest.mark.parametrize("name", WAYS)
def test_tokens_taken_inside_the_engine_are_those_of_the_wire(
    demo: Demo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, on the real engine, through its spool and its drain into the trace store."""
    compare(demo, name, BASE_MODEL, monkeypatch)


def compare(demo: Demo, name: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.open(demo.env)
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", home.environment({})["FLYWHEEL_CLICKHOUSE_URL"])
    outcome = differential.run(differential.Engine(home.engine_url, model), name, differential.stored)
    assert outcome.problems == []
    assert outcome.tokens > 0


def test_the_engines_answers_tell_the_mode_that_its_plugin_names(demo: Demo) -> None:
    """What is decided from two small requests, on the real engine in the mode it was started in."""
    url = Home.open(demo.env).engine_url
    said = told.said(url)
    assert isinstance(said, dict)
    assert mode_probe.by_answers(url).mode == said["logprobs_mode"]
    assert mode_probe.probe(url) == Finding(said["logprobs_mode"], "its capture plugin says so")


def test_the_wheel_turns_to_a_better_model_and_loses_nothing(demo: Demo) -> None:
    said = demo.turn("--train", "128", "--exam", "500")
    result = json.loads(said[-1])
    assert result["n"] == 500
    assert result["decision"] == "ship"
    assert result["p_value"] < 1e-10
    assert result["adapter_accuracy"] > result["majority_accuracy"]
    assert result["p_value_over_majority"] < 0.01
    assert result["exchanges_lost"] == 0
    assert list(result["seconds"]) == STAGES
    assert len(result["weights"]) == 64


@pytest.mark.parametrize("name", ["greedy", "streamed"])
def test_an_adapters_tokens_are_those_of_the_wire(
    demo: Demo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, served = differential.Engine(Home.open(demo.env).engine_url, "").get("/v1/models")
    adapters = [one["id"] for one in served["data"] if one["id"] != BASE_MODEL]
    assert adapters, "the turn loaded none"
    compare(demo, name, adapters[-1], monkeypatch)


def test_the_proxy_answers_what_the_engine_answers(demo: Demo, tmp_path: Path) -> None:
    """A few of the requests of `make differential`, one at a time, while nothing else asks the engine."""
    engine = f"http://127.0.0.1:{demo.env['FLYWHEEL_ENGINE_PORT']}"
    few = shapes(60, paths_served(), about_the_prompt=False)
    found = asyncio.run(run(engine, tmp_path, few))
    assert found.differences == []
    assert found.shapes == len(few)
    assert found.answered > 20


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(demo: Demo) -> None:
    assert demo.processes()
    assert demo.stop() == 0
    assert demo.processes() == []
