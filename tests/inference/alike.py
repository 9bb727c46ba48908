"""When two answers of an engine are alike: but for ids, times, and how choices' events are interleaved."""

from typing import Any

import orjson

from inference.sse import DONE, Splitter, name_of, payload

_DIFFERENT = {"id", "created", "created_at", "item_id", "call_id"}


def alike(value: Any) -> Any:
    """Without what differs from call to call."""
    if isinstance(value, list):
        return [alike(one) for one in value]
    if isinstance(value, dict):
        return {name: alike(one) for name, one in value.items() if name not in _DIFFERENT}
    return value


def body(answer: bytes) -> Any:
    """A JSON answer."""
    return alike(orjson.loads(answer))


def stream(answer: bytes) -> dict[int, list[tuple[bytes, Any]]]:
    """A stream's events by the choice that they are about, -1 for those about none: names and values."""
    found: dict[int, list[tuple[bytes, Any]]] = {}
    for event in Splitter().feed(answer):
        data = payload(event)
        value = data.decode() if data in (None, DONE) and data else alike(orjson.loads(data or b"null"))
        choices = value.get("choices") if isinstance(value, dict) else None
        found.setdefault(choices[0]["index"] if choices else -1, []).append((name_of(event), value))
    return found


def renamed(value: Any, model: str) -> Any:
    """The same under another model name, wherever an engine says it."""
    if isinstance(value, dict):
        return {
            name: model if (name, one) == ("model", "smollm2-135m") else renamed(one, model)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(renamed(one, model) for one in value)
    return value
