"""One call: from the client's request to the answer's last byte, recorded on the way.

The order is what matters here. An exchange is opened before an engine is asked and closed after it has
answered; what tells the client that its answer is complete goes out only when the close is on disk. Whatever
ends a call early (a refusal, a broken engine, a client that leaves) is closed with its reason.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from inference import capture, errors, headers
from inference.capture import Plan, Stream
from inference.errors import Refusal
from inference.exchange import Surface
from inference.follower import Follower
from inference.metrics import Metrics
from inference.record import Record
from inference.routing import Key, UnknownModelError, Version
from inference.spool import Spool, SpoolFailedError
from inference.sse import Splitter, StreamError, event
from inference.upstream import Reached, UnreachableError, Upstreams

log = logging.getLogger(__name__)
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PATHS: dict[str, Surface] = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}
_CLIENT_LEFT = 499
_REFUSAL_SECONDS = 300.0
"""How long an engine that refused what capture adds is not asked again."""


class RefusedError(Exception):
    """The call ends with an error object of the proxy's own."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class ClientLeftError(ConnectionError):
    """The client went before it had sent its request."""


@dataclass(slots=True)
class Room:
    """What all calls of a process share."""

    follower: Follower
    spool: Spool
    upstreams: Upstreams
    metrics: Metrics
    name: str
    body_limit: int
    """Bytes."""
    refusing: dict[str, float] = field(default_factory=dict)
    """Versions whose engine refused what capture adds, and until when (monotonic) it is left alone."""


class Call:
    """One authenticated request to a generating path."""

    def __init__(self, room: Room, key: Key, scope: Message, receive: Receive, send: Send) -> None:
        self._room, self._key = room, key
        self._path: str = scope["path"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive, self._send = receive, send
        self._surface = PATHS[self._path]
        self._context = headers.context(self._headers)
        self._record = Record(
            room.spool,
            room.metrics,
            key=key,
            surface=self._surface,
            context=self._context,
            proxy=room.name,
        )
        self._request = b""
        self._model = ""
        self._started = self._left = self._too_large = False

    async def serve(self) -> None:
        """Answer, whatever happens."""
        task = asyncio.current_task()
        assert task is not None
        watch: asyncio.Task[None] | None = None
        try:
            await self._read()
            watch = asyncio.create_task(self._watch(task))
            await self._answer()
        except ClientLeftError:
            await self._record_refusal(Refusal(_CLIENT_LEFT, "", "", "", end_reason="client_left"))
        except asyncio.CancelledError:
            reason = "client_left" if self._left else "proxy_died"
            await self._record.close(reason, _CLIENT_LEFT, durable=False)
            if not self._left:
                raise
            task.uncancel()
        finally:
            if watch is not None:
                watch.cancel()

    async def _watch(self, task: asyncio.Task[None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        task.cancel()

    async def _read(self) -> None:
        """Take the request's body. Of one that is too large no more is read than shows it."""
        length = self._headers.get(b"content-length", b"")
        size, more = int(length) if length.isdigit() else 0, True
        parts: list[bytes] = []
        while more and size <= self._room.body_limit:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._request = b"".join(parts)
                raise ClientLeftError
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            size = max(size, sum(map(len, parts)))
        self._too_large = size > self._room.body_limit
        self._request = b"" if self._too_large else b"".join(parts)

    async def _answer(self) -> None:
        try:
            plan, version = self._prepare()
            await self._ask(plan, version)
        except RefusedError as refused:
            await self._record_refusal(refused.refusal)
            await self._say(refused.refusal)
        except SpoolFailedError as error:
            await self._say(errors.not_recorded(str(error)))
        except Exception:
            log.exception("exchange %s failed", self._record.id)
            await self._record_refusal(errors.internal())
            await self._say(errors.internal())

    def _prepare(self) -> tuple[Plan, Version]:
        """Read the request, choose who answers, open the record. Raises RefusedError, SpoolFailedError."""
        body = self._load()
        snapshot = self._room.follower.snapshot
        try:
            route = snapshot.route(self._key, self._model)
            version = route.pick(self._context.session or self._context.user)
        except UnknownModelError as error:
            raise RefusedError(errors.unknown_model(str(error))) from error
        refused = self._room.refusing.get(version.name, 0.0) > time.monotonic()
        plan = capture.plan(
            self._surface,
            body,
            served=version.name,
            public=self._model,
            capture="off" if route.capture == "off" else "refused" if refused else "wire",
            top_k=route.top_k,
        )
        self._record.open(
            self._request,
            model=self._model,
            snapshot=snapshot.number,
            streamed=bool(body.get("stream")),
            route=route,
            version=version,
            plan=plan,
        )
        return plan, version

    def _load(self) -> Message:
        if self._too_large:
            raise RefusedError(errors.too_large(self._room.body_limit))
        try:
            body = capture.load(self._request)
        except (ValueError, RecursionError) as error:
            raise RefusedError(errors.malformed(str(error))) from error
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise RefusedError(errors.no_model())
        self._model = model
        return body

    async def _ask(self, plan: Plan, version: Version) -> None:
        """Ask an engine and relay its answer; ask again without what was added if that is refused."""
        async with self._post(version, plan.body) as reached:
            if not (plan.adds and reached.response.status in (400, 422)):
                await self._relay(plan, reached)
                return
            # Read to its end, so that the connection can be used again.
            await reached.response.read()
        async with self._post(version, plan.plain) as reached:
            if reached.response.status < 400:
                self._room.refusing[version.name] = time.monotonic() + _REFUSAL_SECONDS
                self._record.closed["capture"] = "refused"
            await self._relay(plan.refused(), reached)

    @asynccontextmanager
    async def _post(self, version: Version, body: bytes) -> AsyncIterator[Reached]:
        closed = self._record.closed
        try:
            async with self._room.upstreams.post(
                version.upstreams, self._path, body, self._context.outgoing
            ) as reached:
                closed["upstream"] = reached.upstream.name
                if reached.tried:
                    closed["tried"], closed["attempt"] = reached.tried, len(reached.tried)
                yield reached
        except UnreachableError as error:
            closed["tried"] = error.tried
            refusal = errors.timed_out() if error.timed_out else errors.unreachable(str(error))
            raise RefusedError(refusal) from error
        except TimeoutError as error:
            raise RefusedError(errors.timed_out()) from error
        except aiohttp.ClientError as error:
            raise RefusedError(errors.broke_off(str(error))) from error
        except StreamError as error:
            raise RefusedError(errors.unreadable(str(error))) from error

    async def _relay(self, plan: Plan, reached: Reached) -> None:
        if reached.response.content_type == "text/event-stream":
            await self._relay_stream(plan, reached)
        else:
            await self._relay_body(plan, reached)

    async def _relay_stream(self, plan: Plan, reached: Reached) -> None:
        stream, splitter = Stream(plan), Splitter()
        try:
            async for chunk in reached.chunks():
                await self._record.write(chunk)
                ready: list[bytes] = []
                try:
                    ready.extend(stream.feed(one) for one in splitter.feed(chunk))
                finally:
                    if data := b"".join(ready):
                        await self._send_part(reached, data)
        except (aiohttp.ClientError, TimeoutError, StreamError):
            # What goes wrong after the last choice has finished takes nothing from the answer.
            if not stream.ended:
                raise
        if splitter.rest.strip():
            stream.feed(splitter.rest)
        if not stream.ended:
            raise RefusedError(errors.broke_off("it ended before it had finished"))
        status = reached.response.status
        await self._record.close("engine_error" if stream.error else "complete", status, stream.error)
        await self._send_part(reached, stream.held(), last=True)

    async def _relay_body(self, plan: Plan, reached: Reached) -> None:
        parts: list[bytes] = []
        async for chunk in reached.chunks():
            await self._record.write(chunk)
            parts.append(chunk)
        body, status = b"".join(parts), reached.response.status
        try:
            if status < 400:
                body = capture.clean_body(plan, body)
            elif status >= 500:
                capture.load(body)
        except (ValueError, AttributeError, TypeError) as error:
            raise RefusedError(errors.unreadable(f"HTTP {status}, {error}")) from error
        await self._record.close(_end_reason(status), status)
        await self._send_start(status, reached, [(b"content-length", b"%d" % len(body))])
        await self._send({"type": "http.response.body", "body": body})

    async def _send_start(self, status: int, reached: Reached, more: list[tuple[bytes, bytes]]) -> None:
        self._started = True
        sent = [*headers.forwarded(reached.response.raw_headers), *more, self._exchange_header]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def _send_part(self, reached: Reached, data: bytes, *, last: bool = False) -> None:
        if not self._started:
            await self._send_start(reached.response.status, reached, [])
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    @property
    def _exchange_header(self) -> tuple[bytes, bytes]:
        return b"x-flywheel-exchange-id", str(self._record.id).encode()

    async def _record_refusal(self, refusal: Refusal) -> None:
        """Close the record with a refusal, or make one. A disk that takes nothing changes no refusal."""
        try:
            if not self._record.is_begun:
                self._record.open(self._request, model=self._model)
            await self._record.close(refusal.end_reason, refusal.status, refusal.message)
        except SpoolFailedError:
            return

    async def _say(self, refusal: Refusal) -> None:
        """Tell the client; in a stream that has begun, as its last event."""
        if self._started:
            await self._send({"type": "http.response.body", "body": event(refusal.body)})
            return
        sent = [*headers.of_json(refusal.body), self._exchange_header]
        if self._too_large:
            sent.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": sent})
        await self._send({"type": "http.response.body", "body": refusal.body})


def _end_reason(status: int) -> str:
    """How an answer without a stream ended; ``complete`` leaves it to what the answer says."""
    if status < 400:
        return "complete"
    if status >= 500:
        return "engine_error"
    return "refused" if status == 429 else "bad_request"
