"""What a spool gives back of one record: headers and bytes, not yet read. Pure."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawExchange:
    """An exchange as the spool holds it. Nothing in it was parsed on the hot path but what routing needed."""

    exchange_id: str
    """UUIDv7 in its canonical form."""
    attempt: int
    """0, or the number of tries at other replicas before this one."""
    opened: dict[str, Any]
    """The open frame's header: ``Opened``."""
    request: bytes
    """The client's body, byte for byte, before anything was injected."""
    response: bytes
    """What the engine sent, byte for byte: a JSON body or an event stream, possibly cut off."""
    closed: dict[str, Any]
    """The close frame's header: ``Closed``."""
