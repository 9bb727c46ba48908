"""The long run of the faults: `make faults`. The last line it prints is one JSON object.

    python -m tests.faults --kills 200 --seed 7 [--break no_fsync] [--only kills,power]

Exit 0: every promise held. With --break, one promise is broken on purpose in the processes, and the exit
code must not be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from tests.faults import broken
from tests.faults.away import away
from tests.faults.flip import flip
from tests.faults.full import full
from tests.faults.leaving import memory, stop
from tests.faults.power import cut_proxy, cut_writer_and_drain
from tests.faults.stack import NAMES, FaultError, Stack, running
from tests.faults.steps import steps
from tests.faults.storm import storm


def kill(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The storm over all processes."""
    through = ("tests.faults.broken", options.way) if options.way else ()
    victims = options.victims.split(",")
    stack = Stack(home, web="web" in victims, launch={"proxy": through, "drain": through})
    if "web" in victims:
        stack.run("tests.faults.desk", stack.engine_url)
    started = {"engine", "clickhouse", "proxy", "drain", *victims}
    with running(stack, *(name for name in ("engine", *NAMES) if name in started)):
        found = asyncio.run(storm(stack, victims, options.kills, options.seed))
    return {**found.summary(), "kept": found.kept}


def power(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both recordings of the power cut."""
    made = {
        "writer_and_drain": cut_writer_and_drain(
            home / "a", options.seed, rounds=options.rounds, most_cuts=options.cuts, way=options.way
        ),
        "proxy": cut_proxy(home / "b", options.seed, seconds=2.0, most_cuts=options.cuts, way=options.way),
    }
    kept = all(found.kept for found in made.values())
    return {**{name: found.summary() for name, found in made.items()}, "kept": kept}


def disk(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The full disk under both policies."""
    made = {policy: full(home / policy, policy, options.seed) for policy in ("refuse", "serve")}
    kept = all(found.kept for found in made.values())
    return {**{name: found.summary() for name, found in made.items()}, "kept": kept}


def _away(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = away(home, options.away, options.seed)
    return {**found.summary(), "kept": found.kept}


def _clock(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = steps(home, max(4, options.kills // 10), options.seed)
    return {**found.counts(), "kept": found.kept}


def _flip(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = flip(home, 20, options.seed)
    return {**found.summary(), "kept": found.kept}


PHASES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "kills": kill,
    "power": power,
    "disk": disk,
    "away": _away,
    "clock": _clock,
    "flip": _flip,
    "stop": lambda home, options: stop(home, max(3, options.kills // 20), options.seed),
    "memory": lambda home, options: memory(home, options.requests, options.streams),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the phases and print what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--break", dest="way", choices=broken.WAYS, default="")
    parser.add_argument("--only", default=",".join(PHASES), help=f"some of {', '.join(PHASES)}")
    parser.add_argument("--victims", default=",".join(NAMES))
    parser.add_argument("--cuts", type=int, default=300, help="places at which the power is cut")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the workload it is cut under")
    parser.add_argument("--away", type=float, default=60.0, help="seconds without ClickHouse")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--streams", type=int, default=1000)
    options = parser.parse_args(arguments)
    # With a promise broken only what can show it is run.
    only = "kills,power" if options.way and options.only == ",".join(PHASES) else options.only
    logging.disable(logging.CRITICAL)
    print(f"seed {options.seed}", flush=True)
    began, found = time.monotonic(), dict[str, dict[str, Any]]()
    for name in only.split(","):
        with TemporaryDirectory(prefix="faults-") as home:
            try:
                found[name] = PHASES[name](Path(home), options)
            except FaultError as error:
                found[name] = {"kept": False, "error": str(error)}
        print(f"{name}: {orjson.dumps(found[name]).decode()}", flush=True)
    print(orjson.dumps(report(options, found, time.monotonic() - began)).decode())
    return int(not all(one["kept"] for one in found.values()))


def report(options: argparse.Namespace, found: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """One object: the storm's figures first, everything else by its phase."""
    kills = found.get("kills", {})
    named = ("kills", "in_flight", "acknowledged", "lost", "doubled", "torn")
    rest = {name: one for name, one in found.items() if name != "kills"}
    return {
        "kept": all(one["kept"] for one in found.values()),
        **{name: kills.get(name, 0) for name in named},
        "seed": options.seed,
        "broken": options.way,
        "seconds": round(seconds, 1),
        **({"storm": {k: v for k, v in kills.items() if k not in named}} if kills else {}),
        **rest,
    }


if __name__ == "__main__":
    sys.exit(main())
