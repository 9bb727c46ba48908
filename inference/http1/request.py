"""A request from a client: its head, and its body as it comes.

Knows how much of the body has come and who waits for it; leaves sockets to inference.http1.client.
"""

import asyncio
from typing import Protocol

from inference.http1.failures import TooLargeError

SMALL = 64 << 10
"""Bytes of an unread body that are read away so that the connection can be kept; and of one that needs no
reservation."""
_NEVER = float("inf")


class Sender(Protocol):
    """Where a body comes from."""

    async def make_room(self, request: "Request") -> None:
        """Wait until a large body fits into what all clients may upload at once. Raises TooSlowError."""

    def expect(self, request: "Request") -> None:
        """Say that the body may come, and begin to count its time."""


class Request:
    """A request's head, and its body as it comes."""

    def __init__(self, client: "Sender", method: str, target: bytes, headers: dict[bytes, bytes]) -> None:
        self.method, self.target, self.headers = method, target, headers
        """The names of headers are in lower case; of one that came twice the last counts."""
        self.left = False
        """Whether the client has gone."""
        self.is_old = False
        """Whether it speaks HTTP/1.0."""
        length = headers.get(b"content-length")
        self.length: int | None = int(length) if length is not None else None
        """Of the body, in bytes; None when it comes in chunks or there is none."""
        self._client = client
        self._parts: list[bytes] = []
        self.size = 0
        """Bytes of the body that have come."""
        self.reserved = 0
        """Bytes of the room for uploads that it holds."""
        self._limit: float = _NEVER
        self._complete = self._discarded = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def path(self) -> str:
        """The target without its query, as it came: nothing is unescaped."""
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def received(self) -> bytes:
        """What has come of the body."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises TooLargeError, TooSlowError and ClientLeftError; ``received`` then has what
        came.
        """
        self._limit = float(limit)
        if (self.length or 0) > limit or self.size > limit:
            self.discard()
            raise TooLargeError
        if not self._complete and self._error is None:
            await self._client.make_room(self)
            self._client.expect(self)
        while not self._complete and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            # Another one than is kept, which would hold this frame, and so the body.
            raise type(self._error)(*self._error.args)
        return self.received

    def discard(self) -> None:
        """Keep nothing more of the body."""
        self._discarded = True
        self._parts = []

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come."""
        return self._complete

    @property
    def is_small(self) -> bool:
        """Whether reading its rest away costs next to nothing."""
        return self._complete or (self.length is not None and self.length <= SMALL)

    @property
    def wish_to_reserve(self) -> int:
        """Bytes that reading it may take in memory, where that matters."""
        if self._complete or self.is_small:
            return 0
        return self.length if self.length is not None else int(min(self._limit, 1 << 40))

    def feed(self, data: bytes) -> None:
        """More of the body has come."""
        self.size += len(data)
        if self._discarded:
            return
        self._parts.append(data)
        if self.size > self._limit:
            self.discard()
            self.fail(TooLargeError())

    def complete(self) -> None:
        """The body has ended."""
        self._complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body will not be read to its end."""
        if self._error is None and not self._complete:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
