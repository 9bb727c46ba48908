"""Splits an event stream (text/event-stream) into events, byte for byte. Pure.

An event ends with a blank line; lines end with LF, CRLF or CR. Knows nothing of what events carry.
"""

import re
from collections.abc import Iterator

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)")
_LINE = re.compile(rb"\r\n|\n|\r")
DONE = b"[DONE]"
MOST_BYTES = 32 << 20
"""The longest event that is taken for one."""


class StreamError(ValueError):
    """What came is no event stream."""


def end_of_event(data: bytes, at: int) -> int:
    """Where the event that begins at ``at`` ends, its blank line included; -1 while it is not whole."""
    blank = line = data.find(b"\n", at)
    if line >= 0 and not data.startswith(b"\n", line + 1):
        blank = data.find(b"\n\n", line)
    if data.find(b"\r", at, blank if blank >= 0 else len(data)) < 0:
        return blank + 2 if blank >= 0 and data.startswith(b"\n", blank + 1) else -1
    match = _BLANK_LINE.search(data, at)
    if match is None or (match.end() == len(data) and match[0] == b"\r\r"):
        return -1  # a line feed may follow
    return match.end()


class Splitter:
    """Cuts chunks, however they are cut, into whole events. ``limit`` bounds one event's bytes."""

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now, each with its blank line: joined they are the stream."""
        data = self._rest + chunk if self._rest else chunk
        events: list[bytes] = []
        at = 0
        while (end := end_of_event(data, at)) >= 0:
            events.append(data[at:end])
            at = end
        self._rest = data[at:] if at else data
        if len(self._rest) > self._limit:
            raise StreamError(f"an event of more than {self._limit} bytes")
        return events

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._rest


def payload(event: bytes) -> bytes | None:
    """An event's data; None for a comment or an event without data."""
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.find(b"\n") == len(event) - 2:
        return event[6:-2] if b"\r" not in event else event[6:].strip(b"\r\n")
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def name_of(event: bytes) -> bytes:
    """What kind of event it says it is; nothing when it doesn't."""
    if not event.startswith(b"event:"):
        return b""
    return _LINE.split(event, maxsplit=1)[0][6:].strip()


def event(data: bytes, name: bytes = b"") -> bytes:
    """An event that carries ``data``, which is one line."""
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + data + b"\n\n"


def payloads(stream: bytes) -> Iterator[bytes]:
    """The data of a recorded stream's events, but for ``[DONE]`` and an event that was cut off."""
    for found in Splitter(limit=len(stream) + 1).feed(stream):
        data = payload(found)
        if data is not None and data != DONE:
            yield data
