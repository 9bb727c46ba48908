"""The wall clock steps under load, forward and back, in proxy and drain: everything is stored once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.faults.clients import Clients, Ledger
from tests.faults.stack import Stack, running
from tests.faults.verdict import Verdict, judge

_FARTHEST_SECONDS = 400 * 86_400


def steps(home: Path, count: int, seed: int) -> Verdict:
    """So many steps of seconds to a year, with a process killed after some of them."""
    home.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    launch = {name: ("tests.faults.clock", str(home / f"{name}.clock")) for name in ("proxy", "drain")}
    stack = Stack(home, launch=launch)
    # The drain says when it last wrote by the clock that is stepped here.
    stack["drain"].ready = (stack.spool / "status.json").exists
    with running(stack, "engine", "clickhouse", "proxy", "drain"):
        ledger = asyncio.run(_load(stack, count, chance))
        for name in launch:
            (home / f"{name}.clock").write_text("0")
        stack["proxy"].stop()
        stack["drain"].stop()
        stack["drain"].start()
        stack["drain"].wait_ready()
        stack.settle()
        return judge(stack.clickhouse_url, ledger)


async def _load(stack: Stack, count: int, chance: random.Random) -> Ledger:
    load = Clients(stack.url, 8, chance)
    await load.start()
    for _ in range(count):
        await asyncio.sleep(chance.uniform(0.2, 0.8))
        name = chance.choice(("proxy", "drain"))
        far = chance.choice((1.0, 3600.0, float(_FARTHEST_SECONDS)))
        (stack.home / f"{name}.clock").write_text(str(chance.uniform(-far, far)))
        if chance.random() < 0.3:
            await asyncio.to_thread(stack[name].kill)
            stack[name].start()
    await asyncio.to_thread(stack["proxy"].wait_ready)
    await load.finish()
    return load.ledger
