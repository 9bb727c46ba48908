"""The coding desk's product: sends phrases to the proxy as any application would, with OpenAI's own client.

Half of the answers are streamed. Knows the desk's prompt and the headers a client may send; nothing of how
exchanges are kept or what becomes of them (desk.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from flywheel.local import coding
from flywheel.local.home import Home

AT_ONCE = 24
MAX_TOKENS = 12
"""Enough for every label; a model that rambles is cut off there."""
SEED = 0
"""The demonstration's phrases are the first ones of this draw, whoever sends them."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One phrase and what came back."""

    phrase: coding.Phrase
    exchange_id: str
    text: str


class TrafficError(RuntimeError):
    """An exchange failed; the text says which and why in one line."""


async def send(
    home: Home, phrases: Sequence[coding.Phrase], told: Callable[[int], None] = lambda done: None
) -> list[Answered]:
    """Ask for each phrase once, some at a time; `told` hears how many are done. Raises TrafficError."""
    gate = asyncio.Semaphore(AT_ONCE)
    done = 0
    # Nothing from the environment may stand between this machine and itself.
    http = openai.DefaultAsyncHttpxClient(trust_env=False, timeout=120)
    async with openai.AsyncOpenAI(
        base_url=f"{home.proxy_url}/v1", api_key=home.secrets["product_key"], http_client=http, max_retries=0
    ) as client:

        async def one(number: int, phrase: coding.Phrase) -> Answered:
            nonlocal done
            async with gate:
                answer = await _ask(client, phrase, streamed=number % 2 == 1, desk=number % 4 + 1)
            done += 1
            told(done)
            return answer

        return list(await asyncio.gather(*(one(number, phrase) for number, phrase in enumerate(phrases))))


async def _ask(client: openai.AsyncOpenAI, phrase: coding.Phrase, streamed: bool, desk: int) -> Answered:
    request: dict[str, Any] = {
        "model": coding.ROUTE,
        "messages": [
            {"role": "system", "content": coding.SYSTEM_PROMPT},
            {"role": "user", "content": phrase.text},
        ],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "stream": streamed,
        # Siblings in the tabular list share a category; data sets never split what shares a group.
        "extra_headers": {"x-flywheel-user": f"desk-{desk}", "x-flywheel-tags": f"group={phrase.category}"},
    }
    try:
        raw = await client.chat.completions.with_raw_response.create(**request)
        exchange_id = raw.headers.get("x-flywheel-exchange-id", "")
        answer: Any = raw.parse()
        if streamed:
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices])
        else:
            text = answer.choices[0].message.content or ""
    except openai.OpenAIError as error:
        raise TrafficError(f"{phrase.text!r} was not answered: {error}") from error
    if not exchange_id:
        raise TrafficError(f"{phrase.text!r} was answered without an exchange id")
    return Answered(phrase, exchange_id, text)


def progress(total: int, what: str = "phrases") -> Callable[[int], None]:
    """Prints a line at every fifth of the way, with the speed so far."""
    began, step = time.monotonic(), max(1, total // 5)

    def told(done: int) -> None:
        if done % step == 0 or done == total:
            rate = done / max(0.001, time.monotonic() - began)
            print(f"  {done} of {total} {what}, {rate:.0f} a second", flush=True)

    return told
