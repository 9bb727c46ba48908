"""What is asked of a body of ``POST /v1/traces`` (OTLP over HTTP) before it is taken. Pure.

A sender that is told 200 forgets its spans, so what can be seen to be wrong is refused here: the form, the
compression, the size once inflated, and the outermost frame. What the spans say is read in the drain
(inference.otlp), like everything that is spooled.
"""

import zlib
from typing import Any

import orjson

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_LONGEST_VARINT = 10


class TracesError(ValueError):
    """The body can't be taken: ``status`` is 400, 413 or 415."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def header(content_type: str, *, at_us: int, source: str) -> dict[str, Any]:
    """What the record of a request's spans is opened with; its body is the request, inflated."""
    return {"kind": "spans", "content_type": content_type, "at_us": at_us, "source": source}


def form(content_type: str) -> str:
    """PROTOBUF or JSON. Raises TracesError on any other content type."""
    found = content_type.partition(";")[0].strip().lower()
    if found not in (PROTOBUF, JSON):
        raise TracesError(415, f"Spans come as {PROTOBUF} or {JSON}.")
    return found


def read(body: bytes, content_type: str, encoding: str, limit: int) -> bytes:
    """The request's body, inflated; ``limit`` bounds that, in bytes. Raises TracesError.

    A large body takes milliseconds: not for an event loop.
    """
    found = _inflated(body, encoding.strip().lower(), limit)
    if len(found) > limit:
        raise TracesError(413, f"The spans are larger than {limit} bytes.")
    if form(content_type) == JSON:
        _check_json(found)
    elif not _is_framed(found):
        raise TracesError(400, "The body is no protobuf message of spans.")
    return found


def _inflated(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise TracesError(415, "Spans may be compressed with gzip or deflate, or not at all.")
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        # One byte more than is allowed shows that it is too much, whatever it would grow to.
        found = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise TracesError(400, f"The body is not {encoding}: {error}") from error
    if len(found) <= limit and (not reader.eof or reader.unused_data):
        raise TracesError(400, f"The body is cut off, or is more than one {encoding} stream.")
    return found


def _check_json(body: bytes) -> None:
    try:
        found = orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise TracesError(400, f"The body could not be parsed: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("resourceSpans", []), list):
        raise TracesError(400, "The body is no object with resourceSpans.")


def _is_framed(body: bytes) -> bool:
    """Whether a protobuf body is a sequence of resource spans (field 1, with lengths) and nothing more."""
    at = 0
    while at < len(body):
        if body[at] != 0x0A:
            return False
        at, length, shift = at + 1, 0, 0
        for _ in range(_LONGEST_VARINT):
            if at >= len(body):
                return False
            length |= (body[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not body[at - 1] & 0x80:
                break
        at += length
    return at == len(body)
