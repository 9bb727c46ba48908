"""The spool's bytes: frames, segment names, positions, and reading one frame after another past damage.

A frame is a header of 48 bytes and a payload, compressed with zstd, then encrypted where there is a key
(keys.py). Header and payload have a checksum each, made of what is written, so a flipped byte in a payload is
pinned on its exchange, and one in a header is walked past to the next valid header. The epoch in each header
is random enough that no client can forge a frame inside a body.
"""

import json
import os
import re
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
import zstandard

from inference.spool.keys import Keys, unseal

_HEADER = struct.Struct("<4sBBBxIIQ16sI")
"""Magic, kind, whether it is written again and whether encrypted, sequence, payload length, epoch, exchange,
and the payload's checksum; its own follows."""
_CHECK = struct.Struct("<I")
_ABOUT = struct.Struct("<BIQ16s")
"""What encryption binds a payload to: kind, sequence, epoch, exchange."""
HEADER_BYTES = _HEADER.size + _CHECK.size
_ID_OFFSET = _HEADER.size - 20
MAGIC = b"\xf1FW\x01"
_NAME = re.compile(r"^([0-9a-f]{16})-([0-9]{8})\.segment$")
_SEARCH_BYTES = 1 << 20
_LEVEL = -1
"""zstd's first fast one: what lies in a spool lies there for seconds, and each call pays for it."""


class Kind(IntEnum):
    """What a frame carries: an exchange's beginning, a piece of its answer, its end; or that the disk took
    too little of it, so that nothing more will come and nothing of it counts.
    """

    OPEN = 1
    PART = 2
    CLOSE = 3
    DROP = 4


class Position(NamedTuple):
    """A place in the spool. Orders by time of writing; ``str()`` and ``parse`` are each other's inverse."""

    epoch: int
    number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch:016x}-{self.number:08d}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError on what ``str()`` did not make."""
        match = re.fullmatch(r"([0-9a-f]{16})-([0-9]{8}):([0-9]+)", text)
        if match is None:
            raise ValueError(f"not a position in a spool: {text!r}")
        return cls(int(match[1], 16), int(match[2]), int(match[3]))

    @property
    def segment(self) -> str:
        """The segment's file name."""
        return segment_name(self.epoch, self.number)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that could not be read, and the exchange they cost where that is known."""

    segment: str
    offset: int
    reason: str
    """torn (the last write of a process that died), header, payload, or missing (frames of an exchange)."""
    exchange_id: bytes | None = None
    kind: int = 0
    """Which frame it was, where that is known."""


class Frame(NamedTuple):
    """A frame as read: ``payload`` is still compressed, but no longer encrypted; its checksum was right."""

    kind: Kind
    sequence: int
    exchange_id: bytes
    payload: bytes
    size: int
    """Its bytes on disk, header and all."""
    again: bool = False
    """Written before, to a file that failed: this may be the second copy."""


def segment_name(epoch: int, number: int) -> str:
    """File name of an epoch's segment; names sort as they were written."""
    return f"{epoch:016x}-{number:08d}.segment"


def lock_name(epoch: int) -> str:
    """File that the epoch's process holds locked while it lives."""
    return f"{epoch:016x}.lock"


def segments(directory: Path) -> list[Position]:
    """The beginnings of the segments on disk, in order."""
    found = (_NAME.match(entry.name) for entry in os.scandir(directory))
    return sorted(Position(int(match[1], 16), int(match[2]), 0) for match in found if match)


def encode(
    kind: Kind, sequence: int, epoch: int, exchange_id: bytes, payload: bytes, *, keys: Keys | None = None
) -> bytes:
    """A frame's bytes. ``payload`` is what ``Packer`` made; it is encrypted where there are ``keys``."""
    sealed = 0
    if keys is not None:
        payload, sealed = keys.seal(payload, _ABOUT.pack(kind, sequence, epoch, exchange_id), epoch), 1
    length, checksum = len(payload), zlib.crc32(payload)
    head = _HEADER.pack(MAGIC, kind, 0, sealed, sequence, length, epoch, exchange_id, checksum)
    return b"".join((head, _CHECK.pack(zlib.crc32(head)), payload))


def mark_again(frame: bytes) -> bytes:
    """The same frame, marked as written for a second time."""
    fields = list(_HEADER.unpack_from(frame))
    fields[2] = 1
    head = _HEADER.pack(*fields)
    return b"".join((head, _CHECK.pack(zlib.crc32(head)), frame[HEADER_BYTES:]))


class Packer:
    """Makes payloads. One a thread: the compressor is not safe to share."""

    def __init__(self) -> None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._compress = compressor.multi_compress_to_buffer
        self._nothing = compressor.compress(b"")

    def pack(self, plain: Sequence[bytes]) -> list[bytes]:
        """Compress what ``lay_out`` made; in one call, so that a batch lets go of the interpreter once."""
        if not any(plain):  # which the library refuses
            return [self._nothing] * len(plain)
        made = self._compress(list(plain))
        return [made[at].tobytes() for at in range(len(made))]


def lay_out(header: dict[str, Any] | None, body: Sequence[bytes]) -> bytes:
    """A payload's bytes before compression: a header (open and close frames) and bytes, given in pieces."""
    if header is None:
        return b"".join(body)
    try:
        text = orjson.dumps(header)
    except TypeError:
        # JSON may hold what UTF-8 can't: half of a surrogate pair. It becomes a question mark.
        text = json.dumps(header, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return b"".join((_CHECK.pack(len(text)), text, *body))


_OWN = threading.local()


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's: it is not safe to share, and making one costs more than a small payload."""
    found: zstandard.ZstdDecompressor | None = getattr(_OWN, "decompressor", None)
    if found is None:
        found = _OWN.decompressor = zstandard.ZstdDecompressor()
    return found


def plain_size(payload: bytes) -> int:
    """How many bytes a payload comes to; 0 where it doesn't say so."""
    try:
        return max(0, zstandard.frame_content_size(payload))
    except zstandard.ZstdError:
        return 0


def unpack(payload: bytes) -> bytes:
    """A part's bytes. Raises ValueError."""
    try:
        return _decompressor().decompress(payload)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def unpack_with_header(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of an open or close frame. Raises ValueError."""
    plain = unpack(payload)
    if len(plain) < _CHECK.size:
        raise ValueError("shorter than its header's length")
    end = _CHECK.size + _CHECK.unpack_from(plain)[0]
    return orjson.loads(plain[_CHECK.size : end]), plain[end:]


class Segment:
    """Reads one segment's frames in order from ``offset``, also while it is being written."""

    def __init__(self, directory: Path, start: Position, keys: Keys | None = None) -> None:
        self._keys = keys
        self._file = os.open(directory / start.segment, os.O_RDONLY | os.O_CLOEXEC)
        self.start = start
        self.offset = start.offset

    def close(self) -> None:
        os.close(self._file)

    @property
    def size(self) -> int:
        return os.fstat(self._file).st_size

    @property
    def position(self) -> Position:
        """Just after the last frame read."""
        return Position(self.start.epoch, self.start.number, self.offset)

    def next(self) -> Frame | Damage | None:
        """The next frame; None when it isn't wholly there (yet). Damage is stepped over when reported.

        Raises KeyMissingError, and goes no further, before what is encrypted under a key that is not there.
        """
        offset = self.offset
        head = os.pread(self._file, HEADER_BYTES, offset)
        if len(head) < HEADER_BYTES:
            return None
        fields = self._fields(head)
        if fields is None:
            return self._resync()
        kind, again, sealed, sequence, length, exchange_id, checksum = fields
        payload = os.pread(self._file, length, offset + HEADER_BYTES)
        if len(payload) < length:
            return None
        end = offset + HEADER_BYTES + length
        if zlib.crc32(payload) != checksum:
            self.offset = end
            return Damage(self.start.segment, offset, "payload", exchange_id, kind)
        if sealed:
            epoch = self.start.epoch
            about = _ABOUT.pack(kind, sequence, epoch, exchange_id)
            try:
                payload = unseal(self._keys, payload, about, epoch)
            except ValueError as error:
                self.offset = end
                return Damage(self.start.segment, offset, f"payload: {error}", exchange_id, kind)
        self.offset = end
        return Frame(kind, sequence, exchange_id, payload, end - offset, again)

    def id_at(self, offset: int) -> bytes:
        """What stands where a header at ``offset`` has its exchange's id; for a header that is damaged."""
        return os.pread(self._file, 16, offset + _ID_OFFSET)

    def _fields(self, head: bytes) -> tuple[Kind, bool, bool, int, int, bytes, int] | None:
        if _CHECK.unpack_from(head, _HEADER.size)[0] != zlib.crc32(head[: _HEADER.size]):
            return None
        magic, kind, again, sealed, sequence, length, epoch, exchange_id, checksum = _HEADER.unpack_from(head)
        if magic != MAGIC or epoch != self.start.epoch or kind not in Kind._value2member_map_:
            return None
        return Kind(kind), bool(again), bool(sealed), sequence, length, exchange_id, checksum

    def _resync(self) -> Damage | None:
        """Walk to the next valid header. None, and no step, when there is none (yet)."""
        at = self.offset + 1
        while window := os.pread(self._file, _SEARCH_BYTES, at):
            found = window.find(MAGIC)
            while found >= 0:
                head = os.pread(self._file, HEADER_BYTES, at + found)
                if len(head) == HEADER_BYTES and self._fields(head) is not None:
                    damage = Damage(self.start.segment, self.offset, "header")
                    self.offset = at + found
                    return damage
                found = window.find(MAGIC, found + 1)
            if len(window) < len(MAGIC):
                break
            # The magic may lie across two windows.
            at += len(window) - len(MAGIC) + 1
        return None
