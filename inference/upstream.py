"""Asking engines: which replica, and another one before the first byte when it fails.

Knows what a failure is and when to ask again; which replica is next is inference.balance's to say,
connections are inference.http1's.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Collection, Sequence

from inference import balance as balancing
from inference.balance import Health
from inference.http1.channel import Origin, Response
from inference.http1.failures import BrokenOffError, ConnectError, SilentError, UnreachableError
from inference.http1.pool import Pool
from inference.metrics import Metrics
from inference.routing import Balance, Upstream

log = logging.getLogger(__name__)
_BUSY = 429
_FAILED = frozenset({_BUSY, 500, 502, 503, 504})
"""Answers after which another replica is asked, if there is one."""
_MOST_TRIES = 3
"""A request that breaks engines must not break them all."""
_BACKOFF_SECONDS = 0.05
"""Before the second try after such an answer; doubled before the third."""
_ROOM_SECONDS = 1.0
"""How long a busy replica is passed over when it does not say."""


class Reached:
    """An answer whose head has come. ``Upstreams.leave`` must follow."""

    def __init__(
        self, response: Response, upstream: Upstream, health: Health, tried: Sequence[dict[str, str]] = ()
    ) -> None:
        self.response, self.upstream, self.health = response, upstream, health
        self.tried = list(tried)
        """Replicas asked before, and why they did not answer."""


class Upstreams:
    """All engines, as one process sees them. ``silence_seconds`` is how long one may say nothing."""

    def __init__(
        self,
        metrics: Metrics,
        silence_seconds: float = 300.0,
        connect_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._clock = metrics, clock
        self._pool = Pool(silence_seconds, connect_seconds)
        self._heads: dict[tuple[str, str], tuple[Upstream, Origin, bytes]] = {}
        """What a request begins with, by the engine's name and the path; and the engine as it was then."""
        self._health: dict[str, Health] = {}

    def start(self) -> None:
        """Open the pool; call in the event loop."""
        self._pool.start()

    def stop(self) -> None:
        """Close every connection."""
        self._pool.stop()

    def health(self, name: str) -> Health:
        """What is known of an engine."""
        found = self._health.get(name)
        if found is None:
            found = self._health[name] = Health()
        return found

    def checked(self, upstream: Upstream, alive: bool) -> None:
        """A health check came back."""
        if self.health(upstream.name).checked(self._clock(), alive=alive):
            self._ejected(upstream.name, "its health check fails")

    def captures(self, upstream: Upstream, version: str) -> None:
        """A check found out whether an engine captures tokens itself: the plugin's version, or nothing."""
        self.health(upstream.name).capture = version

    def all_capture(self, replicas: Sequence[Upstream]) -> bool:
        """Whether whichever is asked captures tokens itself."""
        return all(self.health(one.name).capture for one in replicas)

    def keep(self, names: Collection[str]) -> None:
        """Forget all engines but these."""
        self._health = {name: health for name, health in self._health.items() if name in names}
        self._heads = {key: head for key, head in self._heads.items() if key[0] in names}

    def measure(self) -> None:
        """Bring the gauges up to date."""
        now = self._clock()
        self._metrics.upstream_in_order.clear()
        for name, health in self._health.items():
            self._metrics.upstream_in_order.labels(name).set(health.state(now) == "ok")
            self._metrics.upstream_captures.labels(name).set(bool(health.capture))

    async def reach(
        self,
        replicas: Sequence[Upstream],
        path: str,
        body: bytes,
        headers: bytes,
        *,
        balance: Balance = "busy",
        prefix: bytes = b"",
        again: Callable[[int], bytes] | None = None,
    ) -> Reached:
        """Post to one of the replicas, and to another if it fails before its answer begins.

        ``headers`` are lines, each with its end; ``again`` gives the body of a later try, by its number.
        Raises UnreachableError when none answers. A busy or failing replica's own answer counts when no other
        is left. One that was silent for too long may be at it still, so nobody else is asked. The caller
        hands the outcome to ``leave``.
        """
        tried: list[dict[str, str]] = []
        order = balancing.order(replicas, self.health, self._clock(), balance=balance, prefix=prefix)
        last = min(len(order), _MOST_TRIES) - 1
        for position, upstream in enumerate(order[:_MOST_TRIES]):
            health = self.health(upstream.name)
            health.begin(self._clock())
            response: Response | None = None
            try:
                sent = again(position) if again is not None and position else body
                response = await self._ask(upstream, path, sent, headers)
            except (ConnectError, BrokenOffError, SilentError, OSError) as error:
                tried.append({"upstream": upstream.name, "why": str(error) or type(error).__name__})
                if isinstance(error, SilentError):
                    self._erred(upstream.name)
                    raise UnreachableError(tried, timed_out=True) from error
                if health.eject(self._clock()):
                    self._ejected(upstream.name, tried[-1]["why"])
            finally:
                if response is None:
                    health.end()
            if response is not None:
                if response.status not in _FAILED:
                    health.answered()
                    return Reached(response, upstream, health, tried)
                self._failed(upstream.name, response)
                if position == last:
                    return Reached(response, upstream, health, tried)
                tried.append({"upstream": upstream.name, "why": f"HTTP {response.status}"})
                self.leave(Reached(response, upstream, health))
                await asyncio.sleep(_BACKOFF_SECONDS * 2**position * random.uniform(0.5, 1.0))  # noqa: S311
            if position < last:
                self._metrics.failovers.labels(upstream.name).inc()
        raise UnreachableError(tried, timed_out=False)

    def leave(self, reached: Reached) -> None:
        """Be done with an answer. Before its end this closes the connection: the engine stops its work."""
        reached.health.end()
        reached.response.close()

    def _failed(self, name: str, response: Response) -> None:
        if response.status == _BUSY:
            self.health(name).busy(self._clock(), _seconds(response.header(b"retry-after")))
        else:
            self._erred(name)

    def _erred(self, name: str) -> None:
        if self.health(name).erred(self._clock()):
            self._ejected(name, "its answers fail")

    def _ejected(self, name: str, why: str) -> None:
        self._metrics.ejections.labels(name).inc()
        log.warning("the engine %s gets no calls for a while: %s", name, why)

    async def _ask(self, upstream: Upstream, path: str, body: bytes, headers: bytes) -> Response:
        known = self._heads.get((upstream.name, path))
        if known is None or known[0] is not upstream:
            known = self._heads[upstream.name, path] = upstream, *_head(upstream, path)
        _, origin, head = known
        return await self._pool.ask(
            origin, b"%b%bcontent-length: %d\r\n\r\n%b" % (head, headers, len(body), body)
        )


def _seconds(retry_after: bytes) -> float:
    """Of a ``Retry-After`` in seconds; a date, or nothing, is as a moment."""
    return float(retry_after) if retry_after.isdigit() else _ROOM_SECONDS


def _head(upstream: Upstream, path: str) -> tuple[Origin, bytes]:
    """What a request to an engine begins with, made once."""
    origin = Origin.parse(upstream.base_url)
    lines = [
        f"POST {origin.prefix}{path} HTTP/1.1",
        f"host: {origin.authority}",
        "content-type: application/json",
        "accept-encoding: identity",
    ]
    if upstream.secret_env and (secret := os.environ.get(upstream.secret_env)):
        lines.append(f"authorization: Bearer {secret}")
    return origin, ("\r\n".join(lines) + "\r\n").encode("latin-1")
