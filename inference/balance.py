"""Which of a version's engines is asked: their health, as one proxy sees it, and the choice among them. Pure.

An engine is *in order* until it fails. Then it is *ejected* for a while that doubles with each failure. After
it, the engine is *half open*: one call at a time may try it. An answer brings it back, a failure ejects it
for longer. An engine that is only busy is passed over until it said it would have room. How an engine is
reached, and what counts as a failure, is in inference.upstream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from inference.routing import Balance, Upstream

FIRST_PAUSE = 1.0
MOST_PAUSE = 30.0
"""Seconds of an ejection: the first, and the longest."""
ERRORS_IN_A_ROW = 3
"""So many answers of 5xx, one after the other, eject; one alone may be the request's own fault."""
CHECKS_IN_A_ROW = 2
"""So many failed health checks eject."""
SPREAD = 1.25
"""With ``prefix``: no engine gets more than this many times its even share of the calls in flight."""
_BEGINNING = 4096
"""Characters of a conversation's beginning that tell it apart."""


@dataclass(slots=True)
class Health:
    """One engine's. Moments are seconds of a clock that never steps back."""

    capture: str = ""
    """The version of its capture plugin; empty: it has none, or none that takes records now."""
    in_flight: int = 0
    picked: int = 0
    """Calls so far."""
    ejections: int = 0
    """In a row; each doubles the pause."""
    ejected_until: float = 0.0
    """0: in order. In the past: half open."""
    busy_until: float = 0.0
    errors: int = 0
    failed_checks: int = 0
    trial_until: float = 0.0
    """A call is trying the half-open engine; should it tell nothing by then, another may."""
    is_failing: bool = False
    """Whether it was ejected for its answers, of which a health check knows nothing."""

    def state(self, now: float) -> str:
        """``ok``, ``ejected`` or ``half-open``."""
        if not self.ejected_until:
            return "ok"
        return "ejected" if now < self.ejected_until else "half-open"

    def takes_calls(self, now: float) -> bool:
        """Whether a call should go there while there is a choice."""
        if self.busy_until > now:
            return False
        return not self.ejected_until or now >= max(self.ejected_until, self.trial_until)

    def begin(self, now: float) -> None:
        """A call goes there."""
        self.in_flight += 1
        self.picked += 1
        if self.ejected_until and now >= self.ejected_until:
            self.trial_until = now + MOST_PAUSE

    def end(self) -> None:
        """A call that went there is over."""
        self.in_flight -= 1

    def answered(self) -> None:
        """It gave an answer that is no failure: in order."""
        self.ejections = self.errors = self.failed_checks = 0
        self.ejected_until = self.busy_until = self.trial_until = 0.0

    def busy(self, now: float, seconds: float) -> None:
        """It has no room (429) for so many seconds. That is no failure, and ends a trial well."""
        self.answered()
        self.busy_until = now + min(seconds, MOST_PAUSE)

    def erred(self, now: float) -> bool:
        """It answered 5xx. Whether that ejected it: at once on trial, else after some in a row."""
        self.errors += 1
        if self.errors < ERRORS_IN_A_ROW and not self.ejected_until:
            return False
        return self.eject(now, is_failing=True)

    def eject(self, now: float, *, is_failing: bool = False) -> bool:
        """It could not be reached, or failed too often. Whether that is news."""
        if now < self.ejected_until:
            return False
        self.is_failing = is_failing
        self.ejected_until = now + min(MOST_PAUSE, FIRST_PAUSE * 2 ** min(self.ejections, 10))
        self.ejections += 1
        self.trial_until = 0.0
        return True

    def checked(self, now: float, *, alive: bool) -> bool:
        """A health check came back. Whether it ejected the engine.

        A good one does not bring an engine back by itself, since answering a check is not answering a call;
        it lets a call try at once.
        """
        if alive:
            self.failed_checks = 0
            if not self.is_failing:
                self.ejected_until = min(self.ejected_until, now)
            return False
        self.failed_checks += 1
        if self.failed_checks < CHECKS_IN_A_ROW:
            return False
        if self.ejected_until:
            # Half open or not: nobody need try while the check fails.
            self.ejected_until = max(self.ejected_until, now + FIRST_PAUSE)
            return False
        return self.eject(now)


def order(
    replicas: Sequence[Upstream],
    health: Callable[[str], Health],
    now: float,
    *,
    balance: Balance = "busy",
    prefix: bytes = b"",
) -> Sequence[Upstream]:
    """Engines in the order in which to ask them: the chosen one, the others that take calls, then, as a last
    resort, those that don't, soonest back first.
    """
    if len(replicas) < 2:
        return replicas
    ready = [one for one in replicas if health(one.name).takes_calls(now)]
    rest = [one for one in replicas if one not in ready] if len(ready) < len(replicas) else []
    if balance == "prefix" and prefix:
        ready = by_prefix(ready, prefix, lambda name: health(name).in_flight)
    else:
        # Among equals the one that was asked least: they warm up together, and none is always first.
        ready.sort(key=lambda one: (health(one.name).in_flight, health(one.name).picked))
    if rest:
        rest.sort(key=lambda one: max(health(one.name).ejected_until, health(one.name).busy_until))
    return ready + rest


def by_prefix(replicas: Sequence[Upstream], prefix: bytes, in_flight: Callable[[str], int]) -> list[Upstream]:
    """Rendezvous hashing with bounded load: in the order of their hashes with the prefix, but those at their
    bound after the others.

    An engine that comes or goes moves only the prefixes that were or will be its own (Thaler and Ravishankar,
    1998). The bound is SPREAD times the even share, rounded up (Mirrokni, Thorup and Zadimoghaddam, 2018), so
    at least one engine is below it.
    """
    ranked = sorted(replicas, key=lambda one: _hash(prefix, one.name), reverse=True)
    counts = {one.name: in_flight(one.name) for one in ranked}
    bound = math.ceil(SPREAD * (sum(counts.values()) + 1) / max(1, len(ranked)))
    return sorted(ranked, key=lambda one: counts[one.name] >= bound)


def _hash(prefix: bytes, name: str) -> bytes:
    return blake2b(name.encode(), key=prefix, digest_size=8).digest()


def prefix(version: str, body: Mapping[str, Any]) -> bytes:
    """A digest of what stays the same while a conversation grows: the version, the system prompt, and all up
    to the first user message. Of a bare prompt, its beginning. Empty when there is nothing to go by.
    """
    parts = [_text(body[name]) for name in ("system", "instructions") if body.get(name)]
    said = body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(said, list) and said and isinstance(said[0], dict):
        for message in said:
            parts.append(_text(message))
            if not isinstance(message, dict) or message.get("role") == "user":
                break
    elif said:
        parts.append(_text(said))
    if not parts:
        return b""
    return blake2b("\n".join((version, *parts)).encode(errors="replace"), digest_size=16).digest()


def _text(part: object) -> str:
    """The beginning of what a part says; pictures and sounds are known by the beginning of their bytes."""
    if isinstance(part, str):
        return part[:_BEGINNING]
    if isinstance(part, list):
        return " ".join(_text(one) for one in part[:_BEGINNING])[:_BEGINNING]
    if isinstance(part, dict):
        return " ".join(_text(one) for one in part.values())[:_BEGINNING]
    return str(part)
