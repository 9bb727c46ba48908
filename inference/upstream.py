"""Asking engines: another replica before the first byte, and who is out of order.

Knows which replica to ask next and what its silence means; leaves connections to inference.http1 and what is
said to the callers.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference.http1.channel import BrokenOffError, Origin, Response, SilentError
from inference.http1.pool import ConnectError, Pool
from inference.routing import Upstream

_BUSY = frozenset({429, 500, 502, 503, 504})
"""Answers after which another replica is asked, if there is one."""


class UnreachableError(RuntimeError):
    """No replica answered; ``tried`` says what each one did."""

    def __init__(self, tried: list[dict[str, str]], *, timed_out: bool) -> None:
        super().__init__(
            "; ".join(f"{one['upstream']}: {one['why']}" for one in tried) or "no engine serves it"
        )
        self.tried = tried
        self.timed_out = timed_out


@dataclass(slots=True)
class Reached:
    """An answer whose head has come. ``Upstreams.leave`` must follow."""

    response: Response
    upstream: Upstream
    tried: list[dict[str, str]] = field(default_factory=list)
    """Replicas asked before, and why they did not answer."""


class Upstreams:
    """All engines, as one process sees them. ``silence_seconds`` is how long one may say nothing."""

    def __init__(
        self,
        silence_seconds: float = 300.0,
        connect_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._pool = Pool(silence_seconds, connect_seconds)
        self._heads: dict[tuple[Upstream, str], tuple[Origin, bytes]] = {}
        self.in_flight: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._back_at: dict[str, float] = {}

    def start(self) -> None:
        """Open the pool; call in the event loop."""
        self._pool.start()

    def stop(self) -> None:
        """Close every connection."""
        self._pool.stop()

    async def reach(self, replicas: Sequence[Upstream], path: str, body: bytes, headers: bytes) -> Reached:
        """Post to the least busy replica in order, then the others, until one answers.

        ``headers`` are lines, each with its end. Raises UnreachableError when none answers. A busy or broken
        replica's own answer counts when no other is left. The caller hands the outcome to ``leave``.
        """
        tried: list[dict[str, str]] = []
        timed_out = False
        order = self._order(replicas)
        for position, upstream in enumerate(order):
            self.in_flight[upstream.name] += 1
            response: Response | None = None
            try:
                response = await self._ask(upstream, path, body, headers)
            except (ConnectError, BrokenOffError, SilentError, OSError) as error:
                timed_out = isinstance(error, SilentError)
                tried.append({"upstream": upstream.name, "why": str(error) or type(error).__name__})
                self._failed(upstream)
                continue
            finally:
                if response is None:
                    self.in_flight[upstream.name] -= 1
            if response.status in _BUSY and position + 1 < len(order):
                tried.append({"upstream": upstream.name, "why": f"HTTP {response.status}"})
                self.leave(Reached(response, upstream))
                continue
            self._failures.pop(upstream.name, None)
            return Reached(response, upstream, tried)
        raise UnreachableError(tried, timed_out=timed_out)

    def leave(self, reached: Reached) -> None:
        """Be done with an answer. Before its end this closes the connection: the engine stops its work."""
        self.in_flight[reached.upstream.name] -= 1
        reached.response.close()

    async def _ask(self, upstream: Upstream, path: str, body: bytes, headers: bytes) -> Response:
        known = self._heads.get((upstream, path))
        if known is None:
            known = self._heads[upstream, path] = _head(upstream, path)
        origin, head = known
        return await self._pool.ask(
            origin, b"%b%bcontent-length: %d\r\n\r\n%b" % (head, headers, len(body), body)
        )

    def _order(self, replicas: Sequence[Upstream]) -> Sequence[Upstream]:
        """Those in order first, the least busy of them first; then, as a last resort, the others."""
        if len(replicas) == 1:
            return replicas
        now = self._clock()
        return sorted(
            replicas, key=lambda one: (self._back_at.get(one.name, 0.0) > now, self.in_flight[one.name])
        )

    def _failed(self, upstream: Upstream) -> None:
        self._failures[upstream.name] += 1
        pause = min(30.0, 0.5 * 2 ** self._failures[upstream.name])
        self._back_at[upstream.name] = self._clock() + pause


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
