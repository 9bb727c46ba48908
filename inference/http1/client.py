"""A client's connection: requests in, one reply after the other out, and a limit on everything.

A handler is a coroutine that gets a request and the client it came from; it begins when the request's head is
there and may read the body or refuse it. A connection serves its requests in their order, pipelined ones too.
What a client can do to hurt (huge heads, endless uploads, never reading, two lengths in one request) ends in
a clear error or a closed connection here; handlers need not know. A client that leaves cancels its handler.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from inference.http1.failures import ClientLeftError, TooSlowError
from inference.http1.request import Request

if TYPE_CHECKING:
    from inference.http1.server import Server

log = logging.getLogger(__name__)
Header = tuple[bytes, bytes]

_REASONS = {one.value: b"HTTP/1.1 %d %s\r\n" % (one.value, one.phrase.encode()) for one in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEVER = float("inf")


class Client:
    """A client's connection. Handlers use ``answer``, or ``begin``, ``write`` and ``end``.

    An asyncio.Protocol by its methods alone: so it can be compiled.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._head_bytes = 0
        """Of a head that is not complete, what was fed to the parser; of what it named, ``_head_size``."""
        self._head_size = 0
        self._in_head = False
        self._reading: Request | None = None
        self._serving: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._pipelined: deque[tuple[Request, bool]] = deque()
        self._keep = self._begun = self._ended = self._chunked = self._closing = self._stalled = False
        self._roomy: asyncio.Future[None] | None = None
        self._upload_began = 0.0
        self.is_full = False
        """Whether the client reads more slowly than it is written to."""
        self.deadline = _NEVER
        """When the connection's patience ends (the loop's clock)."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._server.clients.add(self)
        self.deadline = self._server.now() + self._server.limits.idle_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)
        self._closing = True
        for request in (self._serving, self._reading, *(one for one, _ in self._pipelined)):
            if request is not None:
                request.left = True
        self._pipelined.clear()
        if self._serving is None or self._task is None:
            return
        if self._serving.is_complete:
            self._task.cancel()
        else:
            self._serving.fail(ClientLeftError())

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._in_head or self._reading is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nothing is upgraded; what follows is a request like the others.
            self._parser = httptools.HttpRequestParser(self)
            if rest := data[upgrade.args[0] :]:
                self.data_received(rest)
            return
        except httptools.HttpParserError as error:
            self._complain(400, f"This is no HTTP/1.1 request: {error}")
            return
        if self._in_head and self._head_bytes > self._server.limits.head_bytes:
            self._complain(431, self._too_large_a_head())
        elif self._reading is not None:
            self._extend_upload(self._reading)

    def eof_received(self) -> None:
        """The transport closes itself: who stops sending has left."""

    def pause_writing(self) -> None:
        self.is_full = True
        self.deadline = self._server.now() + self._server.limits.stalled_seconds

    def resume_writing(self) -> None:
        self.is_full = False
        self.deadline = _NEVER
        if self._roomy is not None and not self._roomy.done():
            self._roomy.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._headers, self._target, self._head_size = {}, b"", 0
        self._in_head = True
        if self._serving is None:
            self.deadline = self._server.now() + self._server.limits.head_seconds

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value
        self._head_size += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        if self._head_size > self._server.limits.head_bytes:
            self._complain(431, self._too_large_a_head())
            return
        method = self._parser.get_method().decode("latin-1")
        request = Request(self, method, self._target, self._headers)
        request.is_old = self._parser.get_http_version() == "1.0"
        self._reading = request
        keep = self._parser.should_keep_alive()
        if self._serving is None:
            self._serve(request, keep)
        else:
            self._pipelined.append((request, keep))
            self._transport.pause_reading()

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        if self._reading is None:
            return
        self._reading.complete()
        if self._reading is self._serving and not self.is_full:
            self.deadline = _NEVER
        self._reading = None

    # What handlers call.

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """A whole answer. ``headers`` without its length."""
        self._begun = self._ended = True
        head = self._head(status, headers, b"content-length: %d\r\n" % len(body))
        self._transport.write(head if self._serving and self._serving.method == "HEAD" else head + body)

    def begin(self, status: int, headers: Iterable[Header]) -> None:
        """The head of an answer that comes in pieces; goes out with the first one."""
        self._begun = True
        self._chunked = self._serving is not None and not self._serving.is_old
        if not self._chunked:
            self._keep = False
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self._transport.write(self._head(status, headers, framing))

    def write(self, data: bytes) -> None:
        """A piece of an answer that has begun; not empty, which in chunks would be the end."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, data: bytes = b"") -> None:
        """The last piece."""
        self._ended = True
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._transport.write(data)

    async def room(self) -> None:
        """Wait until the client has read what it was written. One waits at a time."""
        while self.is_full:
            self._roomy = self._server.loop.create_future()
            await self._roomy

    @property
    def has_begun(self) -> bool:
        """Whether something of the answer has gone out."""
        return self._begun

    @property
    def was_stalled(self) -> bool:
        """Whether the connection was given up because nothing was read."""
        return self._stalled

    def expect(self, request: Request) -> None:
        """Say that the body may come, to a client that waits to hear it; begin to count its time."""
        if request.headers.get(b"expect", b"").lower() == b"100-continue" and not request.size:
            self._transport.write(_CONTINUE)
        self._upload_began = self._server.now()
        self._extend_upload(request)

    async def make_room(self, request: Request) -> None:
        """Wait until a large body fits into what all clients may upload at once."""
        if wish := request.wish_to_reserve:
            self._transport.pause_reading()
            self.deadline = self._server.now() + self._server.limits.upload_seconds
            await self._server.reserve(request, wish)
            if not self._closing:
                self._transport.resume_reading()

    # What the server calls.

    def check(self, now: float) -> None:
        """End what takes too long."""
        if now < self.deadline:
            return
        serving = self._serving
        if serving is not None and not serving.is_complete and not self.is_full and not self._ended:
            self.deadline = _NEVER
            self._keep = False
            serving.fail(TooSlowError())
        elif serving is None and self._in_head:
            self._complain(408, "The request's head took too long.")
        else:
            self._stalled = self.is_full
            self._closing = True
            self._transport.abort()

    def wind_down(self) -> None:
        """Serve what is being served, and nothing more."""
        self._keep = False
        self._pipelined.clear()
        if self._serving is None:
            self._close()

    def cut_off(self) -> None:
        """End now what is still being served."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
        else:
            self._transport.abort()

    def _serve(self, request: Request, keep: bool) -> None:
        self._serving = request
        self._keep = keep and not self._server.is_stopping
        self._begun = self._ended = self._chunked = False
        self._upload_began, self.deadline = 0.0, _NEVER
        self._task = self._server.loop.create_task(self._handle(request))

    async def _handle(self, request: Request) -> None:
        try:
            await self._server.handler(request, self)
        except Exception:
            log.exception("%s %r failed", request.method, request.target)
        finally:
            self._server.release(request)
            self._next(request)

    def _next(self, request: Request) -> None:
        """After a reply: the next request, or a wait for one, or the end."""
        self._serving = self._task = self._roomy = None
        if self._closing:
            return
        if not self._ended:
            # Nothing better can be said in the middle of an answer than to break it off.
            self._closing = True
            self._transport.abort()
        elif not self._keep or not (request.is_complete or request.is_small):
            self._linger(request)
        elif self._pipelined:
            following, keep = self._pipelined.popleft()
            self._transport.resume_reading()
            self._serve(following, keep)
        else:
            request.discard()
            self.deadline = self._server.now() + self._server.limits.idle_seconds

    def _linger(self, request: Request) -> None:
        """Close once the client has stopped sending: at once would take the answer from it."""
        if request.is_complete:
            self._close()
            return
        request.discard()
        self.deadline = self._server.now() + self._server.limits.linger_seconds
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._closing = True
        self._transport.close()

    def _complain(self, status: int, message: str) -> None:
        """Answer what is no request, and close. In the middle of a reply there is nothing to say."""
        if self._serving is None:
            self._keep = False
            body = self._server.complain(status, message)
            framing = b"content-length: %d\r\n" % len(body)
            self._transport.write(
                self._head(status, [(b"content-type", b"application/json")], framing) + body
            )
            self._close()
        else:
            self._keep = False
            if self._reading is not None:
                self._reading.fail(ClientLeftError(message))
            self._transport.pause_reading()

    def _head(self, status: int, headers: Iterable[Header], framing: bytes) -> bytes:
        lines = [_REASONS.get(status) or b"HTTP/1.1 %d \r\n" % status]
        has_date = False
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            has_date = has_date or name == b"date"
        if not has_date:
            lines.append(self._server.date)
        serving = self._serving
        if serving is not None and not serving.is_complete and not serving.is_small:
            self._keep = False
        if not self._keep:
            lines.append(b"connection: close\r\n")
        lines.append(framing)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _extend_upload(self, request: Request) -> None:
        if request is self._serving and not self._ended and self._upload_began:
            allowed = self._server.limits.upload_seconds + request.size / (64 << 10)
            self.deadline = self._upload_began + allowed

    def _too_large_a_head(self) -> str:
        return f"The request's head is larger than {self._server.limits.head_bytes} bytes."
