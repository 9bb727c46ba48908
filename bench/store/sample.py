"""Answers of a real model with their top 5, and exchanges made of them as a proxy spools them.

``answers.jsonl.zst`` was recorded once from SmolLM2-135M-Instruct behind vLLM for CPUs (bf16, raw logprobs):
requests with capture's fields in them, and the bodies that came back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import zstandard

from inference.raw import RawExchange
from inference.uuid7 import Generator

ANSWERS = Path(__file__).parent / "answers.jsonl.zst"
_INJECTED = ("logprobs", "top_logprobs", "return_token_ids", "return_tokens_as_token_ids")
WEIGHTS = "7e" * 32


@cache
def recorded() -> list[tuple[dict[str, Any], bytes]]:
    """The clients' requests, and the engine's bodies."""
    lines = zstandard.ZstdDecompressor().decompress(ANSWERS.read_bytes()).splitlines()
    found = []
    for line in map(orjson.loads, lines):
        request = {name: value for name, value in line["request"].items() if name not in _INJECTED}
        found.append(({**request, "model": "desk"}, line["response"].encode()))
    return found


def token_count(body: bytes) -> int:
    """How many tokens an engine's answer has, by its own count."""
    return int(orjson.loads(body)["usage"]["completion_tokens"])


def exchange(
    number: int, request: dict[str, Any], body: bytes, *, at_us: int | None = None, session: str = ""
) -> RawExchange:
    """One exchange as the spool holds it."""
    started_us = at_us if at_us is not None else time.time_ns() // 1000
    opened = {
        "surface": "chat",
        "streamed": False,
        "route": "desk",
        "model": "smollm2-135m",
        "weights": WEIGHTS,
        "base_weights": WEIGHTS,
        "tokenizer": "b2" * 32,
        "upstream": "http://engine:8001",
        "logprobs_mode": "raw_logprobs",
        "key": "bench",
        "user": f"u{number % 500}",
        "session": session,
        "tags": {"group": f"g{number % 50}"},
        "trace_id": f"{number + 1:032x}",
        "span_id": f"{number + 1:016x}",
        "parent_span_id": "",
        "started_us": started_us,
        "capture": "wire",
        "top_k": 5,
        "proxy": "p1",
        "snapshot": 1,
    }
    closed = {
        "end_reason": "complete",
        "status": 200,
        "first_byte_us": started_us + 200_000,
        "finished_us": started_us + 1_400_000,
    }
    made = str(Generator(lambda: started_us // 1000)())
    return RawExchange(made, 0, opened, orjson.dumps(request), body, closed)


def exchanges(count: int, *, first: int = 0, at_us: int | None = None) -> Iterator[RawExchange]:
    """Recorded answers again and again, a millisecond apart, each with its own id, user and trace."""
    found = recorded()
    begin = at_us if at_us is not None else time.time_ns() // 1000
    for number in range(first, first + count):
        request, body = found[number % len(found)]
        yield exchange(number, request, body, at_us=begin + (number - first) * 1000)
