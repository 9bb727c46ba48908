"""One connection to an engine, and the answer that comes on it.

A response is read whole, or pumped: its pieces go to a function as they come from the socket, uncopied and
without a task in between. Leaving a response early closes its connection, which is how an engine learns to
stop.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import httptools

from inference.http1.failures import BrokenOffError, SilentError

if TYPE_CHECKING:
    from inference.http1.pool import Pool

Header = tuple[bytes, bytes]
Sink = Callable[[list[bytes]], None]
"""Takes pieces of a body, as they came with one read from the socket."""
_HEAD_BYTES = 256 << 10
_NEVER = float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where an engine listens. The same address is the same object, since each request looks it up."""

    host: str
    port: int
    tls: bool
    prefix: str
    """What its paths begin with."""
    authority: str

    @classmethod
    @cache
    def parse(cls, url: str) -> "Origin":
        """From a base address. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no address of an engine: {url!r}")
        tls = parts.scheme == "https"
        return cls(
            parts.hostname,
            parts.port or (443 if tls else 80),
            tls,
            parts.path.rstrip("/"),
            parts.netloc.rpartition("@")[2],
        )


class Response:
    """An answer whose head has come."""

    def __init__(self, channel: "Channel", status: int, headers: list[Header]) -> None:
        self.status, self.headers = status, headers
        """Names of headers as they came."""
        self._channel: Channel | None = channel
        self._parts: list[bytes] = []
        self._sink: Sink | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: BaseException | None = None

    def header(self, name: bytes) -> bytes:
        """A header's value by its name in lower case, or nothing."""
        for one, value in self.headers:
            if one.lower() == name:
                return value
        return b""

    async def read(self) -> bytes:
        """The whole body. Raises BrokenOffError, SilentError."""
        parts: list[bytes] = []
        await self.pump(parts.extend)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pump(self, sink: Sink) -> None:
        """Give the pieces of the body to ``sink`` as they come; return at its end.

        Raises BrokenOffError, SilentError, and what ``sink`` raises.
        """
        self._sink = sink
        parts, self._parts = self._parts, []
        try:
            if parts:
                sink(parts)
            while not self._ended:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._sink = None  # which knows who pumps, who knows this
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # or it would hold this frame, which holds it

    def pause(self) -> None:
        """Take nothing more from the engine for now; its silence is not counted either."""
        if self._channel is not None:
            self._channel.pause()

    def resume(self) -> None:
        """Go on."""
        if self._channel is not None:
            self._channel.resume()

    def close(self) -> None:
        """Be done with it. Before the body's end this closes the connection."""
        if self._channel is not None:
            self._channel.abort()
            self._channel = None

    def feed(self, parts: list[bytes]) -> None:
        """From the channel: pieces."""
        if self._sink is None:
            self._parts += parts
        elif not self._ended:
            try:
                self._sink(parts)
            except Exception as error:
                self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """From the channel: no more will come."""
        if self._ended:
            return
        self._ended, self._error = True, error
        if error is None:
            self._channel = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Channel:
    """One connection to an origin. An asyncio.Protocol by its methods alone: so it can be compiled."""

    def __init__(self, pool: "Pool", origin: Origin) -> None:
        self._pool, self.origin = pool, origin
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._asking: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._until_close = self._heard = self._unasked = False
        self._head_bytes = 0
        self.served = 0
        """Requests that it has carried."""
        self.idle_since = 0.0
        self.deadline = _NEVER
        self.is_closed = False

    async def ask(self, request: bytes) -> Response:
        """Send a request's bytes; returns when the answer's head has come.

        Raises BrokenOffError and SilentError.
        """
        asking: asyncio.Future[Response] = self._pool.loop.create_future()
        self._asking = asking
        self._heard, self._head_bytes = False, 0
        self._pool.busy.add(self)
        self.deadline = self._pool.loop.time() + self._pool.silence_seconds
        self._transport.write(request)
        try:
            return await asking
        except asyncio.CancelledError:
            if asking.cancelled():
                self.abort()
            elif asking.exception() is None:
                asking.result().close()
            raise
        finally:
            del asking  # its error would hold this frame, which holds it

    @property
    def was_dropped(self) -> bool:
        """Whether a kept connection was closed by the engine before it said anything to the request."""
        return self.served > 0 and not self._heard

    def pause(self) -> None:
        self.deadline = _NEVER
        if not self.is_closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        self.deadline = self._pool.loop.time() + self._pool.silence_seconds
        if not self.is_closed:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        self.is_closed = True
        self._pool.busy.discard(self)
        self._transport.abort()

    def check(self, now: float) -> None:
        """End a silence that is too long."""
        if now >= self.deadline:
            self._fail(SilentError("no answer in time"))
            self.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._asking is None and self._response is None:
            self.abort()  # nobody asked; what else is on this connection can't be trusted
            return
        self._heard = True
        self.deadline = self._pool.loop.time() + self._pool.silence_seconds
        if self._response is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BrokenOffError(f"its answer is no HTTP/1.1: {error}"))
            self.abort()
            return
        if self._unasked:
            self._pool.forget(self)
            self.abort()
            return
        if self._body and self._response is not None:
            self._give()
        if self._response is None and self._asking is not None and self._head_bytes > _HEAD_BYTES:
            self._fail(BrokenOffError(f"its answer's head is larger than {_HEAD_BYTES} bytes"))
            self.abort()

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        """A request is in memory as it is."""

    def resume_writing(self) -> None:
        """Nobody waits for it."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._pool.forget(self)
        if self._until_close and exc is None and self._response is not None:
            self._finish()
        else:
            self._fail(BrokenOffError(str(exc) if exc else "the connection was closed"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._headers = []
        self._unasked = self._asking is None

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._asking is None:
            return  # an interim answer; the real one follows
        names = {name.lower() for name, _ in self._headers}
        self._until_close = not names & {b"content-length", b"transfer-encoding"} and status not in (204, 304)
        self._response = Response(self, status, self._headers)
        # Let go of at once: when the asker hears of it, the channel may already carry another request.
        asking, self._asking = self._asking, None
        if not asking.done():
            asking.set_result(self._response)

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._response is None:
            return
        if self._body:
            self._give()
        self._finish()

    def _give(self) -> None:
        assert self._response is not None
        parts, self._body = self._body, []
        self._response.feed(parts)

    def _finish(self) -> None:
        """The answer has ended well: the connection may serve another."""
        response, self._response = self._response, None
        assert response is not None
        keep = not self.is_closed and not self._until_close and self._parser.should_keep_alive()
        self._until_close = False
        self.served += 1
        self.deadline = _NEVER
        self._pool.busy.discard(self)
        if keep:
            self._pool.keep(self)
        else:
            self.is_closed = True
            self._transport.close()
        response.end()

    def _fail(self, error: Exception) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and not asking.done():
            asking.set_exception(error)
        if self._response is not None:
            response, self._response = self._response, None
            response.end(error)
