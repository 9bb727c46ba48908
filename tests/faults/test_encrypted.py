"""The real processes on an encrypted spool: nothing of a call is readable on disk, and nothing is lost."""

import asyncio
import random
import subprocess
from pathlib import Path

import pytest

from tests.faults.clients import Clients, Ledger
from tests.faults.flip import flip
from tests.faults.power import cut_proxy, cut_writer_and_drain
from tests.faults.stack import Stack, running
from tests.faults.test_faults import SEED
from tests.faults.verdict import judge

pytestmark = pytest.mark.slow
KEY, OTHER = "5c" * 32, "e7" * 32


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", KEY)


def test_from_proxy_to_store_and_not_without_the_key(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    with running(stack, "engine", "clickhouse", "proxy"):
        ledger = asyncio.run(load(stack))
        stack["proxy"].stop()
        spooled = contents(stack.spool)
        for secret in (b"tokens=", b"messages", b"choices", b"desk", b"\x28\xb5\x2f\xfd"):
            assert all(secret not in content for content in spooled.values()), secret
        for env in ({}, {"FLYWHEEL_SPOOL_KEY": OTHER}, {"FLYWHEEL_SPOOL_KEY": "short"}):
            done = drain_once(stack, env)
            assert done.returncode == 2
            assert [one[:6] for one in done.stderr.splitlines() if "KEY" in one] == ["drain:"], done.stderr
            assert contents(stack.spool) == spooled
        # The key is turned over: the next proxy writes under another, and the drain has both.
        stack["drain"].env = {**stack.env, "FLYWHEEL_SPOOL_KEY": f"{OTHER},{KEY}"}
        stack["proxy"].env = {**stack.env, "FLYWHEEL_SPOOL_KEY": OTHER}
        stack.start("proxy", "drain")
        later = asyncio.run(load(stack))
        stack["proxy"].stop()
        stack.settle()
        ledger.acknowledged |= later.acknowledged
        found = judge(stack.clickhouse_url, ledger)
        status = stack.status()
    assert found.kept, found
    assert len(ledger.acknowledged) > len(later.acknowledged) > 0
    assert status is not None
    assert (status.damaged, status.quarantined) == (0, 0)


async def load(stack: Stack) -> Ledger:
    clients = Clients(stack.url, 8, random.Random(SEED))
    await clients.start()
    await asyncio.sleep(1.0)
    await clients.finish()
    return clients.ledger


def contents(spool: Path) -> dict[str, bytes]:
    """What of a spool would be lost, or shows how far it was read."""
    names = ("*.segment", "checkpoint", "batch.json", "quarantine/*")
    return {path.name: path.read_bytes() for name in names for path in sorted(spool.glob(name))}


def drain_once(stack: Stack, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A drain with this for a key, which is to end by itself."""
    inherited = {name: value for name, value in stack.env.items() if name != "FLYWHEEL_SPOOL_KEY"}
    return subprocess.run(
        stack["drain"].command,
        env={**inherited, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_power_cut_at_any_step_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    found = cut_writer_and_drain(tmp_path / "a", SEED, rounds=25, most_cuts=20)
    assert found.kept, (SEED, found)
    found = cut_proxy(tmp_path / "b", SEED, seconds=1.0, most_cuts=10)
    assert found.kept, (SEED, found)


def test_a_flipped_byte_costs_at_most_the_exchange_it_hit(tmp_path: Path) -> None:
    found = flip(tmp_path, 10, SEED)
    assert found.kept, (SEED, found)
