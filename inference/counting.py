"""What is said to the script that counts a key's use for all proxies (lua/count.lua), and what it says back.

Pure. Who speaks with Redis: inference.counters for a proxy, inference.budgets after a wipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any

from inference.limits import Counts, Kind
from inference.routing import Limits

SCRIPT = (Path(__file__).parent / "lua" / "count.lua").read_text()
SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""By which Redis knows a script that it has been given."""
LIVING = "flywheel:proxies"
COUNT_LIVING = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 15)
redis.call('EXPIRE', KEYS[1], 60)
return redis.call('ZCARD', KEYS[1])
"""
"""Notes in LIVING that a proxy lives; returns how many do."""
Argument = str | int | float


def names(key: int, month: str) -> list[str]:
    """The script's KEYS for an API key's id and a month (2026-11)."""
    return [f"flywheel:{{{key}}}:{what}" for what in ("used", "busy", f"spent:{month}")]


def arguments(
    limits: Limits,
    proxy: str,
    *,
    asked: int | None = None,
    in_flight: int = 0,
    tokens: int = 0,
    cost: int = 0,
    spent: int = 0,
    now: float | None = None,
) -> list[Argument]:
    """The script's ARGV, which says what they mean."""
    said = (now, limits.requests, limits.tokens, limits.concurrent, limits.budget, asked)
    return [*("" if one is None else one for one in said), proxy, in_flight, tokens, cost, spent]


def read(reply: Sequence[bytes]) -> tuple[Kind | None, float, Counts]:
    """What the script returned: the limit that refuses, the seconds to wait, the counts."""
    refused, seconds, requests, tokens, concurrent, spent = reply
    kind: Any = refused.decode() or None
    return kind, float(seconds), Counts(float(requests), float(tokens), int(concurrent), int(spent))
