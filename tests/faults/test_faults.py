"""The faults, short: what `make faults` runs long. Timing is random; SEED= repeats a report's seed."""

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.faults.flip import flip
from tests.faults.full import full
from tests.faults.leaving import memory, stop
from tests.faults.power import cut_proxy, cut_writer_and_drain
from tests.faults.stack import NAMES, Stack, running
from tests.faults.steps import steps
from tests.faults.storm import storm

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 31))


def test_killed_in_any_order_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    stack = Stack(tmp_path, web=True)
    stack.run("tests.faults.desk", stack.engine_url)
    with running(stack, "engine", "clickhouse", "redis", "web", "proxy", "drain"):
        found = asyncio.run(storm(stack, NAMES, 10, SEED))
    assert found.kept, (found.summary(), found.verdict)


def test_a_power_cut_at_any_step_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    found = cut_writer_and_drain(tmp_path / "a", SEED, rounds=25, most_cuts=30)
    assert found.kept, (SEED, found)
    found = cut_proxy(tmp_path / "b", SEED, seconds=1.0, most_cuts=15)
    assert found.kept, (SEED, found)


@pytest.mark.parametrize("policy", ["refuse", "serve"])
def test_a_full_disk_is_what_the_route_says_and_passes(tmp_path: Path, policy: str) -> None:
    found = full(tmp_path, policy, SEED, mount=policy == "refuse")
    assert found.kept, (SEED, found)


def test_a_clock_that_steps_loses_and_doubles_nothing(tmp_path: Path) -> None:
    found = steps(tmp_path, 5, SEED)
    assert found.kept, (SEED, found)


def test_a_flipped_byte_costs_at_most_the_exchange_it_hit(tmp_path: Path) -> None:
    found = flip(tmp_path, 10, SEED)
    assert found.kept, (SEED, found)


def test_told_to_stop_it_drains_and_loses_nothing(tmp_path: Path) -> None:
    found = stop(tmp_path, 2, SEED)
    assert found["kept"], (SEED, found)


def test_slow_streams_take_little_memory(tmp_path: Path) -> None:
    found = memory(tmp_path, 500, 200)
    assert found["kept"], found


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("no_fsync", ("--only", "power", "--cuts", "5", "--rounds", "10")),
        ("ack_early", ("--only", "power", "--cuts", "10", "--rounds", "10")),
        ("no_dedup", ("--only", "kills", "--victims", "drain", "--kills", "3")),
        ("early_checkpoint", ("--only", "kills", "--victims", "drain", "--kills", "3")),
    ],
)
def test_a_broken_promise_is_noticed(way: str, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.faults", "--break", way, "--seed", str(SEED), *options]
    done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    assert done.returncode == 1, done.stdout.decode()
    found = orjson.loads(done.stdout.splitlines()[-1])
    assert not found["kept"]
    hurt = [
        found,
        found.get("power", {}).get("proxy", {}),
        found.get("power", {}).get("writer_and_drain", {}),
    ]
    assert any(one.get(what, 0) for one in hurt for what in ("lost", "doubled", "torn")), found
