"""A request that was once sent, made ready to be sent to another model version. Pure."""

from typing import Any

import orjson

from inference.routing import VERSION_PREFIX

_DROPPED = ("stream", "stream_options", "user", "metadata", "store", "service_tier")
"""What is of the first sending and not of the question."""


class NotAgainError(Exception):
    """Why a request can't be sent again, as a sentence."""


def body(request: bytes, version: str) -> dict[str, Any]:
    """The request's JSON for this version, to be answered whole. Raises NotAgainError."""
    try:
        found = orjson.loads(request)
    except ValueError as error:
        raise NotAgainError("What was sent is no JSON, so it can’t be sent again.") from error
    if not isinstance(found, dict):
        raise NotAgainError("What was sent is no object, so it can’t be sent again.")
    kept = {name: value for name, value in found.items() if name not in _DROPPED}
    return {**kept, "model": VERSION_PREFIX + version, "stream": False}
