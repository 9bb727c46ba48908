"""``python -m bench.engine``: starts vLLM with and without the plugin, measures in turns, says it in JSON.

On the demonstration's CPU engine by default. On another one, give its command:

    python -m bench.engine --engine "vllm serve MODEL …" --concurrency 256 --words 232 --tokens 128

Every token of the engine modes is looked for in the spool: as many as usage says, for every call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine import load
from bench.engine.load import Call, Shape
from bench.engine.server import Server, running
from inference.captured import read
from inference.engine.tag import Tag, tagged
from inference.spool import SpoolReader
from inference.uuid7 import uuid7

MODES = ("none", "untagged", "wire_top5", "wire_top20", "engine_top5", "engine_top20")
"""none: the engine without the plugin. untagged: with it, and no request of it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement."""

    mode: str
    streamed: bool
    calls: list[Call]
    seconds: float
    cpu_seconds: float
    verified: int
    """Tokens found in the spool."""

    @property
    def tokens(self) -> int:
        return sum(call.tokens for call in self.calls)


class Bench:
    """Turns on two engines, one with the plugin and one without."""

    def __init__(self, without: Server, with_plugin: Server, shape: Shape, processes: int) -> None:
        self._without, self._with, self._shape, self._processes = without, with_plugin, shape, processes
        self._number = 0
        assert with_plugin.spool is not None
        self._reader = SpoolReader(with_plugin.spool)

    def turn(self, mode: str, *, streamed: bool, count: int) -> Turn:
        """Send ``count`` chats in a mode and look for what was captured. Raises RuntimeError on a bad one."""
        server = self._without if mode == "none" else self._with
        bodies = [self._body(server.model, mode, streamed) for _ in range(count)]
        cpu = server.cpu_seconds()
        calls = load.run(server.port, bodies, self._shape.concurrency, self._processes)
        cpu = server.cpu_seconds() - cpu
        seconds = max(call.began + call.seconds for call in calls) - min(call.began for call in calls)
        if bad := [call.problem for call in calls if call.problem]:
            raise RuntimeError(f"{mode}: {len(bad)} bad answers, the first: {bad[0]}")
        verified = self._verify(calls) if mode.startswith("engine") else 0
        return Turn(mode, streamed, calls, seconds, cpu, verified)

    def _body(self, model: str, mode: str, streamed: bool) -> tuple[str, bytes]:
        self._number += 1
        body = load.chat(self._shape, self._number, streamed=streamed)
        name = str(uuid7())
        kind, _, top_k = mode.partition("_top")
        if kind == "wire":  # as the proxy asks
            body |= {
                "logprobs": True,
                "top_logprobs": min(int(top_k) + 1, 20),
                "return_token_ids": True,
                "return_tokens_as_token_ids": True,
            }
        elif kind == "engine":
            tag = Tag(name, 0, time.time_ns() // 1000, int(top_k), weights="a" * 64, tokenizer="b" * 64)
            body = tagged(body, tag)
        return name, load.encode(body, model)

    def _verify(self, calls: list[Call]) -> int:
        """Tokens of these calls in the spool. Raises RuntimeError when one is missing."""
        wanted = {call.id: call.tokens for call in calls}
        found: dict[str, int] = {}
        until = time.monotonic() + 60
        while len(found) < len(wanted) and time.monotonic() < until:
            batch = self._reader.read(500)
            for position, raw in batch:
                record = read(raw)
                if record.exchange_id in wanted:
                    ids, logprobs = record.tokens.ids, record.tokens.logprobs
                    found[record.exchange_id] = len(ids) if len(ids) == len(logprobs) else -1
                self._reader.commit(position)
            if not batch:
                time.sleep(0.05)
        wrong = {name for name, tokens in wanted.items() if found.get(name) != tokens}
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(wanted)} calls have other tokens in the spool")
        return sum(found.values())


def _figures(turns: list[Turn]) -> dict[str, Any]:
    """Medians over the rounds; losses against none of the same round."""
    kept: dict[tuple[str, bool], list[Turn]] = defaultdict(list)
    for turn in turns:
        kept[turn.mode, turn.streamed].append(turn)
    told: dict[str, Any] = {"tokens_per_s": {}, "first_token_ms": {}, "seconds_p50": {}, "seconds_p99": {}}
    told |= {
        "frontend_ms_per_token": {},
        "frontend_ms_per_token_streamed": {},
        "loss": {},
        "bytes_per_answer": {},
    }
    for (mode, streamed), some in kept.items():
        name = f"{mode}_streamed" if streamed else mode
        calls = [call for turn in some for call in turn.calls]
        took = sorted(call.seconds for call in calls)
        told["tokens_per_s"][name] = round(statistics.median(t.tokens / t.seconds for t in some), 1)
        told["seconds_p50"][name] = round(took[len(took) // 2], 3)
        told["seconds_p99"][name] = round(took[int(len(took) * 0.99)], 3)
        told["bytes_per_answer"][name] = round(statistics.mean(call.size for call in calls))
        if streamed:
            told["first_token_ms"][mode] = round(1000 * statistics.median(call.first for call in calls), 1)
        cpu = statistics.median(1000 * t.cpu_seconds / t.tokens for t in some)
        told["frontend_ms_per_token_streamed" if streamed else "frontend_ms_per_token"][mode] = round(cpu, 4)
        if mode != "none" and (base := kept.get(("none", streamed))):
            ratios = [
                1 - (t.tokens / t.seconds) / (b.tokens / b.seconds) for t, b in zip(some, base, strict=False)
            ]
            told["loss"][name] = round(statistics.median(ratios), 4)
    for top_k in (5, 20):
        told[f"loss_top{top_k}"] = told["loss"].get(f"engine_top{top_k}")
        told[f"loss_top{top_k}_streamed"] = told["loss"].get(f"engine_top{top_k}_streamed")
    told["tokens_verified"] = sum(turn.verified for turn in turns)
    told["tokens_asked_for"] = sum(t.tokens for t in turns if t.mode.startswith("engine"))
    return told


def _line(turn: Turn) -> str:
    first = statistics.median(call.first for call in turn.calls)
    return (
        f"{turn.mode:13}{'streamed' if turn.streamed else '':9}{turn.tokens / turn.seconds:9.1f} tokens/s, "
        f"{1000 * turn.cpu_seconds / turn.tokens:7.4f} ms a token in the front end, "
        f"first after {1000 * first:6.0f} ms, {turn.seconds:.1f} s"
    )


def _device() -> str:
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if found:
            return found.splitlines()[0]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'CPU'}, {len(os.sched_getaffinity(0))} cores"


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--engine", default="", help="command of another engine, without its port")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--words", type=int, default=24, help="of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--calls", type=int, default=32, help="a turn")
    parser.add_argument(
        "--wire-calls", type=int, default=0, help="a turn over the wire; the same unless said"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--wire-rounds", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="of the client")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--only-streamed", action="store_true")
    parser.add_argument("--only-whole", action="store_true")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no turn after so many")
    return parser.parse_args(arguments)


def _engine(given: argparse.Namespace) -> tuple[str, str, dict[str, str], Path | None]:
    """Command, plugins of its own, environment and folder."""
    if given.engine:
        return given.engine, "none", dict(os.environ), None
    from flywheel.local.engine import CpuEngine  # noqa: PLC0415 - not where only an engine is installed
    from flywheel.local.home import ENGINE_PYTHON, Home  # noqa: PLC0415

    home = Home.open(os.environ)
    engine = CpuEngine(ENGINE_PYTHON, home.models, home.adapters, 0)
    command = engine.command()
    at = command.index("--port")
    environment = engine.environment(os.environ)
    return (
        " ".join(command[:at] + command[at + 2 :]),
        "lora_filesystem_resolver",
        environment,
        engine.folder,
    )


def main(arguments: list[str]) -> int:
    """Command line. Exit 1 when an answer or a token was wrong."""
    given = _options(arguments)
    command, plugins, environment, cwd = _engine(given)
    shape = Shape(given.words, given.tokens, given.concurrency)
    began, turns = time.monotonic(), list[Turn]()
    kinds = [streamed for streamed, no in ((False, given.only_streamed), (True, given.only_whole)) if not no]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(
                running(command, Path(folder), plugins, environment, capture=capture, cwd=cwd)
            )
            for capture in (False, True)
        ]
        for server in both:
            server.wait(300)
        print(f"  healthy after {time.monotonic() - began:.0f} s", flush=True)
        told = both[1].get("/flywheel/capture")
        bench = Bench(both[0], both[1], shape, given.processes)
        for mode in ("none", "engine_top5", "wire_top5"):
            bench.turn(mode, streamed=False, count=shape.concurrency)
        modes = given.modes.split(",")
        wire_rounds = given.wire_rounds or given.rounds
        for number in range(given.rounds):
            for streamed in kinds:
                # Forwards and backwards, so that a machine that gets warm favours no mode.
                for mode in modes if number % 2 == 0 else reversed(modes):
                    wire = mode.startswith("wire")
                    if (wire and number >= wire_rounds) or time.monotonic() - began > given.seconds:
                        continue
                    count = given.wire_calls if wire and given.wire_calls else given.calls
                    turn = bench.turn(mode, streamed=streamed, count=count)
                    turns.append(turn)
                    print(f"  {_line(turn)}", flush=True)
        after = both[1].get("/flywheel/capture")
    result = {
        "device": _device(),
        "vllm": told["vllm"],
        "concurrency": shape.concurrency,
        "rounds": given.rounds,
        **_figures(turns),
        "dropped": sum(after["dropped"].values()),
    }
    print(json.dumps(result))
    return int(result["tokens_verified"] != result["tokens_asked_for"] or result["dropped"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
