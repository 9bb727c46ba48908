"""Exchanges as a proxy spools them, made up but whole: what tests of the trace store begin with."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from inference import events
from inference.exchange import Exchange, parse
from inference.raw import RawExchange
from inference.spool import Keys, Spool
from inference.uuid7 import Generator, uuid7

WEIGHTS = "a1" * 32


def raw(number: int = 0, **changes: Any) -> RawExchange:
    """A finished chat with three tokens. Keywords replace entries of the open frame, ``closed`` some of the
    close frame's, ``messages``, ``text`` and ``logprobs`` those of the bodies.
    """
    started_us = changes.pop("started_us", time.time_ns() // 1000 + number)
    closed = {
        "end_reason": "complete",
        "status": 200,
        "first_byte_us": started_us + 200_000,
        "finished_us": started_us + 1_400_000,
        **changes.pop("closed", {}),
    }
    messages = changes.pop("messages", [
        {"role": "system", "content": "ICD-10-CM chapter desk."},
        {"role": "user", "content": f"wheezing after exercise {number}"},
    ])  # fmt: skip
    text = changes.pop("text", "Respiratory")
    logprobs = changes.pop("logprobs", [-0.05, -1.5, -0.01])
    request = {
        "model": changes.get("route", "icd-chapter"),
        "messages": messages,
        "temperature": 0,
        "max_tokens": 12,
    }
    made_ms = started_us // 1000
    exchange_id = str(Generator(lambda: made_ms)())
    opened = {
        "surface": "chat",
        "streamed": False,
        "route": "icd-chapter",
        "model": "smollm2-135m",
        "weights": WEIGHTS,
        "base_weights": WEIGHTS,
        "tokenizer": "b2" * 32,
        "upstream": "http://engine:8001",
        "logprobs_mode": "raw_logprobs",
        "key": "coding desk",
        "user": "",
        "session": "",
        "tags": {},
        "trace_id": f"{number + 1:032x}",
        "span_id": f"{number + 1:016x}",
        "parent_span_id": "",
        "started_us": started_us,
        "capture": "wire",
        "top_k": 2,
        "proxy": "p1",
        "snapshot": 1,
        **changes,
    }
    return RawExchange(exchange_id, 0, opened, orjson.dumps(request), _answer(text, logprobs), closed)


def _answer(text: str, logprobs: list[float]) -> bytes:
    content = [
        {
            "token": f"token_id:{100 + position}",
            "logprob": logprob,
            "top_logprobs": [
                {"token": f"token_id:{100 + position}", "logprob": logprob},
                {"token": "token_id:7", "logprob": -2.0},
            ],
        }
        for position, logprob in enumerate(logprobs)
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": {"content": content},
        "token_ids": [100 + position for position in range(len(logprobs))],
    }
    usage = {"prompt_tokens": 20, "completion_tokens": len(logprobs), "total_tokens": 20 + len(logprobs)}
    return orjson.dumps(
        {"id": "chatcmpl-1", "model": "m", "prompt_token_ids": [1, 2], "choices": [choice], "usage": usage}
    )


def call(number: int, made: dict[str, Any], tools: list[dict[str, Any]], **changes: Any) -> Exchange:
    """A parsed exchange whose answer is a tool call."""
    one = raw(number, text="", **changes)
    request, answer = orjson.loads(one.request), orjson.loads(one.response)
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": [{"type": "function", **made}]}
    answer["choices"][0]["finish_reason"] = "tool_calls"
    request["tools"] = tools
    return parse(replace(one, request=orjson.dumps(request), response=orjson.dumps(answer)))


def exchanges(numbers: Iterable[int], **changes: Any) -> list[Exchange]:
    """Parsed exchanges, as the drain has them."""
    return [parse(raw(number, **changes)) for number in numbers]


def spool(directory: Path, raws: Iterable[RawExchange], keys: Keys | None = None) -> list[str]:
    """Write exchanges as one proxy process would, and let go of the spool. Returns their ids."""
    return asyncio.run(_spool(directory, list(raws), keys))


async def _spool(directory: Path, raws: list[RawExchange], keys: Keys | None) -> list[str]:
    writer = Spool(directory, keys=keys)
    writer.start()
    for one in raws:
        recording = writer.record(UUID(one.exchange_id))
        recording.open(one.opened, one.request)
        recording.write(one.response)
        await recording.close(one.closed, durable=False)
    await writer.stop()
    return [one.exchange_id for one in raws]


def raws(numbers: Iterable[int], **changes: Any) -> Iterator[RawExchange]:
    """Several, told apart by their number."""
    return (raw(number, **changes) for number in numbers)


def event(exchange_id: str = "", trace_id: str = "", **data: Any) -> RawExchange:
    """Feedback as a proxy spools it; ``source`` and ``at_us`` replace the header's, the rest is said."""
    at_us = data.pop("at_us", time.time_ns() // 1000)
    source = data.pop("source", "coding desk")
    opened = events.header("feedback", exchange_id=exchange_id, trace_id=trace_id, at_us=at_us, source=source)
    return RawExchange(str(uuid7()), 0, opened, orjson.dumps(data), b"", {"end_reason": "complete"})
