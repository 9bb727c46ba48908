"""Chats at a fixed concurrency, from processes of their own so that the client is never what is measured.

Each call has a connection of its own and is read to its end as bytes; what they mean comes afterwards.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import re
import time
from dataclasses import dataclass
from typing import Any

_USAGE = re.compile(rb'"completion_tokens":\s*(\d+)')
_WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
]


@dataclass(frozen=True, slots=True)
class Call:
    """One call, to the byte. Times in seconds."""

    id: str
    began: float
    """On the machine's monotonic clock, which all processes share."""
    first: float
    """From sending to the answer's first event or byte of body."""
    seconds: float
    tokens: int
    """As the engine's usage says."""
    size: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a chat is like."""

    words: int
    tokens: int
    concurrency: int


def chat(shape: Shape, number: int, *, streamed: bool) -> dict[str, Any]:
    """A chat that no other one shares a beginning with."""
    text = " ".join(random.Random(number).choices(_WORDS, k=shape.words))
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": shape.tokens,
        "ignore_eos": True,
        "temperature": 1.0,
    }
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def run(port: int, bodies: list[tuple[str, bytes]], concurrency: int, processes: int) -> list[Call]:
    """Send all, as many at once as said; (id, body) each."""
    shares = [bodies[place::processes] for place in range(processes)]
    each = max(1, concurrency // processes)
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        pool.map(_warm, range(processes), chunksize=1)
        found = pool.starmap(_work, [(port, share, each) for share in shares], chunksize=1)
    return [call for share in found for call in share]


def _warm(_: int) -> None:
    """Nothing: by then the process has started."""


def _work(port: int, bodies: list[tuple[str, bytes]], concurrency: int) -> list[Call]:
    return asyncio.run(_send_all(port, bodies, concurrency))


async def _send_all(port: int, bodies: list[tuple[str, bytes]], concurrency: int) -> list[Call]:
    waiting, done = list(reversed(bodies)), []

    async def one_after_the_other() -> None:
        while waiting:
            name, body = waiting.pop()
            done.append(await _send(port, name, body))

    await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
    return done


async def _send(port: int, name: str, body: bytes) -> Call:
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    status = await reader.readline()
    while await reader.readline() not in (b"\r\n", b""):
        pass
    parts = [await reader.read(1 << 16)]
    first = time.monotonic() - began
    while part := await reader.read(1 << 16):
        parts.append(part)
    seconds = time.monotonic() - began
    writer.close()
    answer = b"".join(parts)
    counts = _USAGE.findall(answer)
    problem = "" if b" 200 " in status and counts else f"{status!r} {answer[:300]!r}"
    return Call(name, began, first, seconds, int(counts[-1]) if counts else 0, len(answer), problem)


def encode(body: dict[str, Any], model: str) -> bytes:
    """The request's bytes."""
    return json.dumps({"model": model, **body}).encode()
