"""An engine's answer on its way to the client: recorded as it comes, cleaned, and held at its end.

Both forms, a stream's events and a whole body, go through ``Relay``; what comes from the socket is handled
where it comes, without a task in between. Leaves what is said when something fails to inference.call.
"""

import asyncio
from collections.abc import Sequence

from inference import capture
from inference.capture import Plan, Stream
from inference.http1.channel import Response, Sink
from inference.http1.client import Client, Header
from inference.http1.failures import BrokenOffError, SilentError
from inference.layouts import Layouts
from inference.record import Record
from inference.spool import Spool
from inference.sse import StreamError


class Relay:
    """One answer. ``head`` is what goes before it, made of the engine's."""

    def __init__(
        self, spool: Spool, record: Record, client: Client, response: Response, head: Sequence[Header]
    ) -> None:
        self._spool, self._record, self._client = spool, record, client
        self._response, self._head = response, head
        self._pausing: asyncio.Task[None] | None = None

    async def stream(self, plan: Plan, layouts: Layouts) -> None:
        """Pass an event stream on; its end only when it is on disk.

        Raises StreamError when it can't be read, BrokenOffError and SilentError from the engine before it has
        finished, SpoolFailedError.
        """
        stream = Stream(plan, layouts)
        record, client, spool = self._record, self._client, self._spool

        def feed(parts: list[bytes]) -> None:
            record.write(parts)
            if data := stream.feed_all(parts):
                if client.has_begun:
                    client.write(data)
                else:
                    self._send(data)
            if stream.broken:
                raise StreamError(stream.broken)
            if client.is_full or spool.is_full:
                self._heed()

        try:
            await self._pump(feed)
        except (BrokenOffError, SilentError, StreamError):
            # What goes wrong after the last choice has finished takes nothing from the answer.
            if not stream.ended:
                raise
        if data := stream.finish():
            self._send(data)
        if not stream.ended:
            if stream.broken:
                raise StreamError(stream.broken)
            raise BrokenOffError("it ended before it had finished")
        status = self._response.status
        await self._record.close("engine_error" if stream.error else "complete", status, stream.error)
        if not self._client.has_begun:
            self._client.begin(status, self._head)
        self._client.end(stream.held())

    async def body(self, plan: Plan) -> None:
        """Pass a whole body on when it is on disk.

        Raises StreamError when it can't be read, BrokenOffError and SilentError from the engine,
        SpoolFailedError.
        """
        parts: list[bytes] = []

        def feed(more: list[bytes]) -> None:
            self._record.write(more)
            parts.extend(more)
            if self._client.is_full or self._spool.is_full:
                self._heed()

        await self._pump(feed)
        body, status = parts[0] if len(parts) == 1 else b"".join(parts), self._response.status
        parts.clear()  # or they would be in memory until the disk has them
        try:
            if status < 400:
                body = capture.clean_body(plan, body)
            elif status >= 500:
                capture.load(body)
        except (ValueError, AttributeError, TypeError) as error:
            raise StreamError(f"HTTP {status}, {error}") from error
        await self._record.close(_end_reason(status), status)
        self._client.answer(status, self._head, body)

    async def _pump(self, feed: Sink) -> None:
        try:
            await self._response.pump(feed)
        finally:
            if self._pausing is not None:
                self._pausing.cancel()

    def _send(self, data: bytes) -> None:
        if not self._client.has_begun:
            self._client.begin(self._response.status, self._head)
        self._client.write(data)

    def _heed(self) -> None:
        """Let the engine wait while the client reads, or the disk writes, more slowly than it speaks."""
        if self._pausing is None:
            self._response.pause()
            self._pausing = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        while self._client.is_full or self._spool.is_full:
            await self._client.room()
            await self._spool.room()
        self._pausing = None
        self._response.resume()


def _end_reason(status: int) -> str:
    """How an answer without a stream ended; ``complete`` leaves it to what the answer says."""
    if status < 400:
        return "complete"
    if status >= 500:
        return "engine_error"
    return "refused" if status == 429 else "bad_request"
