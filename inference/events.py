"""What comes to be known of an exchange after it ended: feedback, a client that left. Pure.

An event is a record of the spool of its own, with an id of its own: it is appended, and nothing is updated.
It names the exchange, or the trace in which the exchange stands. Which feedback is well formed is in
inference.feedback; how an event becomes a row, in inference.rows.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from inference.raw import RawExchange


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Times are microseconds since 1970 UTC."""

    event_id: str
    kind: str
    """``feedback``, or ``client_left`` after the answer had been completed."""
    exchange_id: str
    """Empty when only the trace is known."""
    trace_id: str
    """Empty when the exchange is named."""
    at_us: int
    source: str
    """Who says so: the API key's name, or ``proxy``."""
    data: dict[str, Any]

    @property
    def started_us(self) -> int:
        """Where it is sorted: the time in the exchange's id, so that who knows the id finds it."""
        return began_us(self.exchange_id) if self.exchange_id else self.at_us


def began_us(exchange_id: str) -> int:
    """The time in a UUIDv7, in microseconds since 1970; it is exact to the millisecond."""
    return (UUID(exchange_id).int >> 80) * 1000


def header(event: str, *, exchange_id: str, trace_id: str, at_us: int, source: str) -> dict[str, Any]:
    """What an event's record is opened with; its body is ``Event.data`` as JSON."""
    return {
        "kind": "event",
        "event": event,
        "exchange_id": exchange_id,
        "trace_id": trace_id,
        "at_us": at_us,
        "source": source,
    }


def parse(raw: RawExchange) -> Event:
    """The event in ``raw``. Raises ValueError when it is not what a proxy spools."""
    opened = raw.opened
    try:
        data = orjson.loads(raw.request)
        if not isinstance(data, dict):
            raise TypeError("its data is no object")
        exchange_id = str(UUID(opened["exchange_id"])) if opened["exchange_id"] else ""
        return Event(
            event_id=raw.exchange_id,
            kind=opened["event"],
            exchange_id=exchange_id,
            trace_id=opened["trace_id"],
            at_us=opened["at_us"],
            source=opened["source"],
            data=data,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"event {raw.exchange_id} can't be parsed: {error!r}") from error
