"""What one call occupies of its key's limits and of its route's targets, from its admission to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from inference import limits
from inference.counters import Admission, Counters, LimitedError
from inference.limits import Header, Meter
from inference.routing import FullError, Key, Route, Version

Targets = Counter[tuple[str, str]]
"""Calls in flight by the names of route and version, of the routes that limit them."""


class Allowance:
    """One call's. Costs next to nothing for a key without limits on a route without any."""

    def __init__(self, counters: Counters, targets: Targets, key: Key) -> None:
        self._counters, self._targets, self._key = counters, targets, key
        self._admission: Admission | None = None
        self._target: tuple[str, str] | None = None
        self._version: Version | None = None
        self._guessed = 0
        self.meter: Meter | None = None
        """For the engine's answer, when its tokens are to be counted."""
        self.headers: list[Header] = []
        """What the client is told of its limits."""

    async def enter(self, body: Mapping[str, Any]) -> None:
        """Have the key's limits count a request. Raises LimitedError."""
        if self._key.limits is None:
            return
        self._guessed, most = limits.estimate(body)
        self._admission = await self._counters.admit(self._key, self._guessed + most)
        self.meter, self.headers = Meter(), self._admission.headers

    def pick(self, route: Route, sticky: str) -> Version:
        """Who answers. Raises UnknownModelError, LimitedError."""
        try:
            version = self._version = route.pick(sticky, route.full(self._targets) if route.most else ())
        except FullError as error:
            raise LimitedError("target", limits.retry_after("target", 1.0)) from error
        if version.name in route.most:
            self._target = (route.name, version.name)
            self._targets[self._target] += 1
        return version

    def leave(self) -> None:
        """The call has ended: give back what it occupied, and tell what it came to. Again does nothing."""
        if self._target is not None:
            self._targets[self._target] -= 1
            self._target = None
        if self._admission is not None and self.meter is not None:
            prompt, completion = self.meter.usage(self._guessed)
            cost = 0 if self._version is None else self._version.cost(prompt, completion)
            self._counters.settle(self._admission, prompt + completion, cost)
            self._admission = None
