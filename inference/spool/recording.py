"""One exchange on its way into a spool: opened, its answer's bytes added in parts, closed.

Used from the event loop; what becomes of its entries is the writer's matter (writer.py).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from inference.spool.files import SpoolFailedError
from inference.spool.frames import Kind

PART_BYTES = 64 << 10


class Taker(Protocol):
    """What takes entries."""

    error: str
    """Why it takes nothing now; empty when all is well."""

    def append(self, entry: "Entry") -> None: ...


class Entry:
    """One frame to be, and who waits for it. Written out: what a dataclass is given is not compiled."""

    __slots__ = ("body", "header", "kind", "on_loss", "recording", "sequence", "size", "waiter")

    def __init__(
        self,
        recording: "Recording",
        kind: Kind,
        sequence: int,
        header: dict[str, Any] | None,
        body: list[bytes],
        *,
        length: int,
        waiter: asyncio.Future[None] | None,
        on_loss: Callable[[], None] | None,
    ) -> None:
        self.recording, self.kind, self.sequence = recording, kind, sequence
        self.header, self.body = header, body
        """The body in pieces: they are copied once, where they are compressed."""
        self.size = length + 512
        self.waiter = waiter
        """Set when somebody waits until this and all before it is durable."""
        self.on_loss = on_loss
        """Called in the spool's thread when the exchange is lost although nobody waits to be told."""


class Recording:
    """One exchange on its way to disk. Used from the event loop only."""

    __slots__ = ("_buffer", "_buffered", "_sequence", "_spool", "exchange_id", "lost", "on_loss", "written")

    def __init__(self, spool: "Taker", exchange_id: UUID) -> None:
        self._spool = spool
        self.exchange_id = exchange_id.bytes
        self._sequence = 0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self.lost = ""
        """Why frames of this exchange did not reach the disk; set by the spool's thread."""
        self.written = False
        """Whether any of it may be on disk; set by the spool's thread."""
        self.on_loss: Callable[[], None] | None = None
        """Its last entry's; for the spool's thread."""

    def open(self, header: dict[str, Any], request: bytes) -> None:
        """Begin. Raises SpoolFailedError when the spool is not taking anything."""
        if self._spool.error:
            raise SpoolFailedError(self._spool.error)
        self._append(Kind.OPEN, header, [request], len(request))

    def write(self, data: bytes) -> None:
        """Add bytes of the answer. Whoever writes much waits for ``Spool.room`` while the spool is full."""
        self.write_all([data])

    def write_all(self, parts: list[bytes]) -> None:
        """The same in pieces, as they came together."""
        for part in parts:
            self._buffered += len(part)
        self._buffer += parts
        if self._buffered >= PART_BYTES:
            self._end(Kind.PART, None)

    async def close(
        self,
        header: dict[str, Any],
        *,
        durable: bool = True,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        """End. With ``durable``, returns once all of it is synced to disk, or raises SpoolFailedError.

        Without, it returns at once; should it be lost after that, ``on_loss`` is called, in another thread.
        """
        if not durable:
            self.end(header, on_loss)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._end(Kind.CLOSE, header, waiter)
        try:
            await waiter
        finally:
            del waiter  # its error would hold this frame, which holds it, and the call's bytes

    def end(self, header: dict[str, Any], on_loss: Callable[[], None] | None = None) -> None:
        """End for who waits for nothing: as ``close`` that is not durable, outside a coroutine."""
        self._end(Kind.CLOSE, header, None, on_loss)

    def _end(
        self,
        kind: Kind,
        header: dict[str, Any] | None,
        waiter: asyncio.Future[None] | None = None,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        """A frame with what was added since the last one."""
        body, length = self._buffer, self._buffered
        self._buffer, self._buffered = [], 0
        self._append(kind, header, body, length, waiter=waiter, on_loss=on_loss)

    def _append(
        self,
        kind: Kind,
        header: dict[str, Any] | None,
        body: list[bytes],
        length: int,
        *,
        waiter: asyncio.Future[None] | None = None,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        sequence, self._sequence = self._sequence, self._sequence + 1
        self._spool.append(
            Entry(self, kind, sequence, header, body, length=length, waiter=waiter, on_loss=on_loss)
        )
