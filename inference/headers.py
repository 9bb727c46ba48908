"""The headers that a call brings and takes on: its key, its trace, its user, session and tags. Pure."""

import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$")
_LONGEST = 256
_MOST_TAGS = 32
_NOT_FORWARDED = frozenset(
    (
        *(b"connection", b"content-length", b"keep-alive", b"server", b"trailer", b"transfer-encoding"),
        *(b"upgrade", b"x-request-id"),
    )
)
"""What is of the connection, or of the call to the engine: the client's call has a request id of its own."""


class Context(NamedTuple):
    """Where a call belongs."""

    trace_id: str
    parent_span_id: str
    span_id: str
    """New: the proxy's own span, which the engine gets as its parent."""
    flags: str
    state: str
    user: str
    session: str
    tags: dict[str, str]

    @property
    def outgoing(self) -> bytes:
        """Header lines for the engine."""
        sent = f"traceparent: 00-{self.trace_id}-{self.span_id}-{self.flags}\r\n"
        return (f"{sent}tracestate: {self.state}\r\n" if self.state else sent).encode()

    def for_user(self, body: dict[str, Any]) -> "Context":
        """Where no header names the user, the one that a request names in OpenAI's own way."""
        given = body.get("user") or body.get("safety_identifier")
        if self.user or not isinstance(given, str):
            return self
        return self._replace(user=given.strip()[:_LONGEST])


def secret(headers: dict[bytes, bytes]) -> str:
    """The bearer token, or what clients of the messages API send instead, or nothing."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()


def context(headers: dict[bytes, bytes]) -> Context:
    """Read W3C ``traceparent`` and ``x-flywheel-*``; what is malformed is as absent, what is long is cut."""
    given = _text(headers, b"traceparent")
    match = _TRACEPARENT.match(given) if given else None
    if match is not None and not (int(match[1], 16) and int(match[2], 16)):
        match = None
    drawn = os.urandom(24)
    return Context(
        trace_id=match[1] if match else drawn[8:].hex(),
        parent_span_id=match[2] if match else "",
        span_id=drawn[:8].hex(),
        flags=match[3] if match else "01",
        state=_text(headers, b"tracestate") if match else "",
        user=_text(headers, b"x-flywheel-user"),
        session=_text(headers, b"x-flywheel-session"),
        tags=_tags(_text(headers, b"x-flywheel-tags", 4096)),
    )


JSON = (b"content-type", b"application/json")


def forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Of an engine's headers, those that concern the client."""
    return [(low, value) for name, value in headers if (low := name.lower()) not in _NOT_FORWARDED]


def _text(headers: dict[bytes, bytes], name: bytes, longest: int = _LONGEST) -> str:
    given = headers.get(name)
    return given.decode("utf-8", errors="replace").strip()[:longest] if given else ""


def _tags(text: str) -> dict[str, str]:
    if not text:
        return {}
    pairs = (part.partition("=") for part in text.split(","))
    named = [(name.strip()[:_LONGEST], value.strip()[:_LONGEST]) for name, _, value in pairs if name.strip()]
    return dict(named[:_MOST_TAGS])
