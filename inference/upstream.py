"""Connections to engines: a pool, timeouts, another replica before the first byte, and who is out of order.

Knows how to reach an engine and what its silence means; leaves what is said to the callers.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from inference.routing import Upstream

_BUSY = frozenset({429, 500, 502, 503, 504})
"""Answers after which another replica is asked, if there is one."""
_KEEP_SECONDS = 4.0
"""Idle connections are dropped before uvicorn, which engines run on, does so after five seconds."""


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
    """An answer whose headers have come."""

    response: aiohttp.ClientResponse
    upstream: Upstream
    tried: list[dict[str, str]] = field(default_factory=list)
    """Replicas asked before, and why they did not answer."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises aiohttp.ClientError when it breaks off, TimeoutError on silence."""
        async for chunk in self.response.content.iter_any():
            yield chunk


class Upstreams:
    """All engines, as one process sees them. ``silence_seconds`` is how long one may say nothing."""

    def __init__(
        self,
        silence_seconds: float = 300.0,
        connect_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_seconds, sock_read=silence_seconds
        )
        self.in_flight: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._back_at: dict[str, float] = {}

    async def start(self) -> None:
        """Open the pool; call in the event loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_SECONDS, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
            skip_auto_headers=("User-Agent", "Content-Type"),
        )

    async def stop(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def post(
        self, replicas: Sequence[Upstream], path: str, body: bytes, headers: dict[str, str]
    ) -> AsyncIterator[Reached]:
        """Ask the least busy replica that is in order, then the others, until one answers.

        Raises UnreachableError when none does. A busy or broken replica's own answer counts when no other is
        left. Leaving the context before the body's end closes the connection, which stops the engine's work.
        """
        reached = await self._reach(replicas, path, body, headers)
        name = reached.upstream.name
        self.in_flight[name] += 1
        try:
            yield reached
        finally:
            self.in_flight[name] -= 1
            if reached.response.content.at_eof():
                reached.response.release()
            else:
                reached.response.close()

    async def _reach(
        self, replicas: Sequence[Upstream], path: str, body: bytes, headers: dict[str, str]
    ) -> Reached:
        tried: list[dict[str, str]] = []
        timed_out = False
        order = self._order(replicas)
        for position, upstream in enumerate(order):
            try:
                response = await self._ask(upstream, path, body, headers)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                timed_out = isinstance(error, TimeoutError) and not isinstance(
                    error, aiohttp.ConnectionTimeoutError
                )
                tried.append({"upstream": upstream.name, "why": _why(error)})
                self._failed(upstream)
                continue
            if response.status in _BUSY and position + 1 < len(order):
                tried.append({"upstream": upstream.name, "why": f"HTTP {response.status}"})
                response.close()
                continue
            self._failures.pop(upstream.name, None)
            return Reached(response, upstream, tried)
        raise UnreachableError(tried, timed_out=timed_out)

    async def _ask(
        self, upstream: Upstream, path: str, body: bytes, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        sent = {**headers, "content-type": "application/json", "accept-encoding": "identity"}
        if upstream.secret_env and (secret := os.environ.get(upstream.secret_env)):
            sent["authorization"] = f"Bearer {secret}"
        url = upstream.base_url + path
        try:
            return await self._session.post(url, data=body, headers=sent, allow_redirects=False)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise
            # A kept connection that the engine had just dropped; on a new one it counts.
            return await self._session.post(url, data=body, headers=sent, allow_redirects=False)

    def _order(self, replicas: Sequence[Upstream]) -> list[Upstream]:
        """Those in order first, the least busy of them first; then, as a last resort, the others."""
        now = self._clock()
        return sorted(
            replicas, key=lambda one: (self._back_at.get(one.name, 0.0) > now, self.in_flight[one.name])
        )

    def _failed(self, upstream: Upstream) -> None:
        self._failures[upstream.name] += 1
        pause = min(30.0, 0.5 * 2 ** self._failures[upstream.name])
        self._back_at[upstream.name] = self._clock() + pause


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.strerror or error})"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
