"""What a key may use and what it has left: token buckets, OpenAI's headers, tokens guessed and read. Pure.

A minute's limit is a token bucket: it holds the limit, fills again evenly, and is never more than full. So
``remaining`` and ``reset`` mean what they mean at OpenAI: what may be used at once, and how long until the
bucket is full. Where the counters live is in inference.counters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from inference.errors import Refusal
from inference.routing import Key, Limits

Kind = Literal["requests", "tokens", "concurrent", "budget", "target"]
Header = tuple[bytes, bytes]
_BYTES_A_TOKEN = 4
_TOKENS_A_PICTURE = 256
"""A picture's or a sound's bytes say nothing of its tokens; what it came to is counted after the answer."""
_ASKED = ("messages", "prompt", "input", "system", "instructions", "tools")
_NOT_TEXT = frozenset({"image_url", "input_audio", "audio_url", "video_url", "image", "source", "file"})
_MOST = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_KEPT = 128
_USAGE = re.compile(rb'"(prompt|completion|input|output)_tokens"\s*:\s*(\d+)')
_SIDES = {b"prompt": 0, b"input": 0, b"completion": 1, b"output": 1}


@dataclass(frozen=True, slots=True)
class Bucket:
    """What of a minute's limit is used, as of a moment in seconds. Empty of use when new."""

    used: float = 0.0
    at: float = 0.0

    def now(self, limit: float, now: float) -> Bucket:
        """The same, later: a sixtieth of the limit comes back each second. A clock set back gives none."""
        return Bucket(max(0.0, self.used - max(0.0, now - self.at) * limit / 60), max(now, self.at))

    def wait(self, limit: float, amount: float) -> float:
        """Seconds until ``amount`` fits; what is larger than the limit fits into a full bucket."""
        over = self.used + min(amount, limit) - limit
        # A rounding's worth is not waited for.
        return over * 60 / limit if over > 1e-6 else 0.0

    def take(self, amount: float) -> Bucket:
        """With ``amount`` more in use; less, when it is negative, but never less than nothing."""
        return replace(self, used=max(0.0, self.used + amount))


@dataclass(frozen=True, slots=True)
class Counts:
    """What a key has used, as of now."""

    requests: float = 0.0
    """Of the minute's bucket."""
    tokens: float = 0.0
    concurrent: int = 0
    spent: int = 0
    """Nano-dollars this month."""


def refused_by(limits: Limits, counts: Counts, tokens: int) -> tuple[Kind, float] | None:
    """Which limit a call of about so many tokens does not fit into, and for how many seconds; None: it fits.

    ``counts`` are those without this call. The seconds of a budget are for ``until_next_month``.
    """
    if limits.budget is not None and counts.spent >= limits.budget:
        return "budget", 0.0
    if limits.concurrent is not None and counts.concurrent >= limits.concurrent:
        return "concurrent", 1.0
    if limits.requests is not None and (wait := Bucket(counts.requests).wait(limits.requests, 1)):
        return "requests", wait
    if limits.tokens is not None and (wait := Bucket(counts.tokens).wait(limits.tokens, tokens)):
        return "tokens", wait
    return None


def share(limits: Limits, proxies: int) -> Limits:
    """What one of so many proxies lets through when they can't count together; the budget is whole."""

    def part(limit: int | None) -> int | None:
        return None if limit is None else max(1, limit // max(1, proxies))

    return Limits(part(limits.requests), part(limits.tokens), part(limits.concurrent), limits.budget)


def month(now: float) -> str:
    """The calendar month in UTC as 2026-11."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def until_next_month(now: float) -> float:
    """Seconds until budgets begin anew."""
    today = datetime.fromtimestamp(now, UTC)
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = first.replace(year=today.year + today.month // 12, month=today.month % 12 + 1)
    return after.timestamp() - now


def headers(limits: Limits, counts: Counts) -> list[Header]:
    """OpenAI's ``x-ratelimit-*`` for the limits that are set; ``counts`` include the call."""
    found: list[Header] = []
    for name, limit, used in (
        (b"requests", limits.requests, counts.requests),
        (b"tokens", limits.tokens, counts.tokens),
    ):
        if limit is not None:
            found += (
                (b"x-ratelimit-limit-" + name, b"%d" % limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % max(0, int(limit - used + 1e-6))),
                (b"x-ratelimit-reset-" + name, duration(used * 60 / limit).encode()),
            )
    return found


def duration(seconds: float) -> str:
    """As OpenAI writes it, which is Go's way: 0s, 120ms, 1.5s, 6m0s, 1h0m0s."""
    milliseconds = round(max(0.0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    said = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        said = f"{minutes}m{said}"
    return f"{hours}h{said}" if hours else said


def refusal(key: Key, kind: Kind) -> Refusal:
    """What a key is told that has used up one of its limits."""
    limits = key.limits or Limits()
    said: Mapping[Kind, str] = {
        "requests": f"Rate limit reached for requests: this key may make {limits.requests} a minute.",
        "tokens": f"Rate limit reached for tokens: this key may use {limits.tokens} a minute.",
        "concurrent": f"This key may have {limits.concurrent} requests in flight at once.",
        "budget": f"This key has used up its budget of ${(limits.budget or 0) / 1e9:.2f} for this month.",
        "target": "This model has as many requests in flight as it may. Try again in a moment.",
    }
    kinds = {"budget": ("insufficient_quota", "insufficient_quota"), "target": ("server_busy", "model_busy")}
    type_, code = kinds.get(kind, (kind, "rate_limit_exceeded"))
    return Refusal(429, said[kind], type_, code, end_reason="refused")


def retry_after(kind: Kind, seconds: float) -> list[Header]:
    """When to come again, in whole seconds; OpenAI's own clients do not retry a budget."""
    found = [(b"retry-after", b"%d" % max(1, -int(-seconds // 1)))]
    if kind == "budget":
        found.append((b"x-should-retry", b"false"))
    return found


def estimate(body: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens that a request may come to: its text by length, and the most it lets be generated.

    A request that sets no maximum is guessed by its text alone.
    """
    most = max(_count(body.get(name)) for name in _MOST)
    choices = max(1, _count(body.get("n")))
    return sum(_tokens(body[name]) for name in _ASKED if name in body), most * choices


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _tokens(value: object) -> int:
    if isinstance(value, str):
        return -(-len(value) // _BYTES_A_TOKEN)
    if isinstance(value, list):
        if value and all(type(one) is int for one in value):
            return len(value)
        return sum(map(_tokens, value))
    if isinstance(value, dict):
        return sum(_TOKENS_A_PICTURE if name in _NOT_TEXT else _tokens(one) for name, one in value.items())
    return 0


class Meter:
    """Reads an answer's usage from its bytes as they come, in every surface's names; the last word counts.

    Inside a JSON string a quote is escaped, so no text can pass for a usage.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._found: list[int | None] = [None, None]
        self._events = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._events += chunk.count(b"data: ")
        # Split between chunks or not: the end of what came before is looked at again.
        seen = self._rest + chunk
        at = seen.find(b"_tokens")
        if at >= 0:
            for name, value in _USAGE.findall(seen, max(0, at - 16)):
                self._found[_SIDES[name]] = int(value)
        self._rest = seen[-_KEPT:]

    def usage(self, guessed_prompt: int) -> tuple[int, int]:
        """Prompt and completion tokens; none of an answer that was refused.

        Where a stream did not say, as when it was cut off, the prompt is as guessed and every event counts as
        one token.
        """
        prompt, completion = self._found[0], self._found[1] or self._events
        if prompt is None:
            prompt = guessed_prompt if completion else 0
        return prompt, completion
