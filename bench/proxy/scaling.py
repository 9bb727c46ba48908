"""Whether more proxies on more cores do as much more: they share nothing but the machine.

With four cores and more, rates: 1, 2, 4 … proxies that share a port, a core each, while the load and the
canned engine have as many cores. With fewer the load shares the second proxy's core, so no rate can tell;
what an answer costs in CPU can, and must stay the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench.proxy import load
from bench.proxy.figures import Figure, rounded
from bench.proxy.ours import Ours
from bench.proxy.processes import free_port, listeners

_WARM_SECONDS = 1.0

Start = Callable[[set[int], int | None], AbstractContextManager[Ours]]
"""Runs a proxy on those cores, at a port that it shares or, for None, at one of its own."""


def shared_out(cores: set[int]) -> tuple[list[int], set[int]]:
    """The cores for proxies, and the rest: for the load and the engine."""
    ordered = sorted(cores)
    half = len(ordered) - len(ordered) // 2
    return ordered[half:], set(ordered[:half])


def rates(start: Start, cores: set[int], seconds: float, rounds: int, folder: Path) -> dict[str, Figure]:
    """Answers a second of each number of proxies, beside one's in the same turn, and what an answer costs in
    CPU; medians of the turns.
    """
    on, rest = shared_out(cores)
    found: dict[int, list[tuple[float, float]]] = {1 << power: [] for power in range(len(on).bit_length())}
    for _ in range(rounds):
        for count, told in found.items():
            told.append(_rate(start, on[:count], rest, seconds, folder))
    figures: dict[str, Figure] = {}
    for count, told in found.items():
        beside = [rate / one for (rate, _), (one, _) in zip(told, found[1], strict=True)]
        figures[f"json_per_second_of_{count}"] = rounded(statistics.median(rate for rate, _ in told))
        figures[f"json_cpu_us_of_{count}"] = rounded(statistics.median(cost for _, cost in told))
        figures[f"rate_of_{count}_vs_1"] = rounded(statistics.median(beside))
    return figures


def _rate(start: Start, on: list[int], rest: set[int], seconds: float, folder: Path) -> tuple[float, float]:
    """Answers a second of them all, and CPU an answer in microseconds."""
    port = free_port()
    with ExitStack() as stack:
        proxies = [stack.enter_context(start({core}, port)) for core in on]
        while listeners(port) < len(on):
            time.sleep(0.05)
        request = proxies[0].request("json")
        connections = load.CONNECTIONS * len(on)
        load.rate(request, _WARM_SECONDS, folder, rest, connections)
        before = sum(one.process.cpu_seconds() for one in proxies)
        rate = load.rate(request, seconds, folder, rest, connections)
        used = sum(one.process.cpu_seconds() for one in proxies) - before
        return rate, used / (rate * seconds) * 1e6


def costs(start: Start, cores: set[int], seconds: float) -> dict[str, Figure]:
    """CPU an answer of one proxy and of two at once, under load from all cores."""
    cost = []
    for count in (1, 2):
        with ExitStack() as stack:
            running = [stack.enter_context(start({core}, None)) for core in sorted(cores)[-count:]]

            def rate(one: Ours, lasting: float = seconds) -> float:
                return load.rate(one.request("json"), lasting, one.home, cores)

            rate(running[0], _WARM_SECONDS)
            before = sum(one.process.cpu_seconds() for one in running)
            with ThreadPoolExecutor(count) as pool:
                answers = sum(pool.map(rate, running)) * seconds
            used = sum(one.process.cpu_seconds() for one in running) - before
            cost.append(used / answers * 1e6)
    return {
        "cpu_us_per_answer_one_process": rounded(cost[0]),
        "cpu_us_per_answer_two_processes": rounded(cost[1]),
        "two_processes_cost_vs_one": rounded(cost[1] / cost[0]),
    }
