"""What an end user says about an answer: thumbs, a score, a comment, a correction. Pure.

Knows which bodies of ``POST /v1/feedback`` are well formed, and nothing of exchanges: whether the one that is
named exists is not known where it is received.
"""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

THUMBS = ("up", "down")
LONGEST = 20_000
"""Characters of a comment or a correction."""
_LONGEST_NAME = 256
_TRACE = re.compile(r"[0-9a-f]{32}")
_FIELDS = ("exchange_id", "trace_id", "thumbs", "score", "comment", "correction", "choice", "user")


class FeedbackError(ValueError):
    """The body is no feedback: ``param`` names the field, if it is one's fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class Feedback:
    """One well-formed body. Either ``exchange_id`` or ``trace_id`` is empty; ``data`` is the rest of it."""

    exchange_id: str
    trace_id: str
    data: dict[str, Any]


def read(body: bytes, user: str = "") -> Feedback:
    """Read a body; ``user`` is who speaks when it names nobody. Raises FeedbackError."""
    given = _load(body)
    exchange_id, trace_id = _about(given)
    data = {
        "thumbs": _thumbs(given.get("thumbs")),
        "score": _score(given.get("score")),
        "comment": _text(given, "comment", LONGEST),
        "correction": _text(given, "correction", LONGEST),
    }
    said = {name: value for name, value in data.items() if value not in (None, "")}
    if not said:
        raise FeedbackError("Say at least one of thumbs, score, comment and correction.")
    if (choice := _choice(given.get("choice"))) is not None:
        said["choice"] = choice
    if who := _text(given, "user", _LONGEST_NAME) or user:
        said["user"] = who
    return Feedback(exchange_id, trace_id, said)


def _load(body: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise FeedbackError(f"The request body could not be parsed: {error}") from error
    if not isinstance(given, dict):
        raise FeedbackError("The request body must be a JSON object.")
    # A misspelt field would be lost without a word.
    for name in given:
        if name not in _FIELDS:
            raise FeedbackError(
                f"There is no field {name[:80]!r}. There are: {', '.join(_FIELDS)}.", name[:80]
            )
    return given


def _about(given: dict[str, Any]) -> tuple[str, str]:
    exchange, trace = given.get("exchange_id"), given.get("trace_id")
    if (exchange is None) == (trace is None):
        raise FeedbackError(
            "Name either the exchange (exchange_id, from the answer's x-flywheel-exchange-id) or its trace "
            "(trace_id).",
            "exchange_id",
        )
    if exchange is not None:
        return _exchange(exchange), ""
    if not isinstance(trace, str) or not _TRACE.fullmatch(trace.lower()) or not int(trace, 16):
        raise FeedbackError("A trace's id is 32 hexadecimal digits, as in traceparent.", "trace_id")
    return "", trace.lower()


def _exchange(value: object) -> str:
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.version != 7:
        raise FeedbackError("exchange_id is no exchange's id.", "exchange_id")
    return str(found)


def _thumbs(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in THUMBS):
        return value
    raise FeedbackError('thumbs is "up" or "down".', "thumbs")


def _score(value: object) -> float | None:
    if value is None:
        return None
    # NaN is in no range.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise FeedbackError("score is a number from 0 (worst) to 1 (best).", "score")


def _choice(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 65_536):
        return value
    raise FeedbackError("choice is the index of one of the answer's choices.", "choice")


def _text(given: dict[str, Any], name: str, longest: int) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FeedbackError(f"{name} must be text.", name)
    if len(value) > longest:
        raise FeedbackError(f"{name} has more than {longest} characters.", name)
    return value.strip()
