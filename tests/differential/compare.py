"""What may differ between the engine's own answer and the one through the proxy, and what may not.

May: ids, times, how a stream is cut into events. May not: the status, an error, the engine's headers, and
for each choice the text, tool arguments, tokens, finish, usage and which fields there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from inference.sse import DONE, Splitter, payload

_ITS_OWN = frozenset({"id", "created", "created_at", "completed_at", "item_id", "call_id", "request_id"})
"""Fields that differ from call to call."""
_NOT_COMPARED = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding", "upgrade"}
    # The proxy's own name for the call; an engine's would be another one each time.
    | {"x-request-id"}
)


@dataclass(frozen=True)
class Answer:
    """One whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_broken: bool = False
    """Whether it broke off: the connection was closed in the middle."""

    @property
    def says_it_failed(self) -> bool:
        """Whether a client can tell that it is not whole."""
        return self.is_broken or self.status >= 500 or b'"error"' in self.body

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


def difference(direct: Answer, proxied: Answer, *, served: str, public: str) -> str:
    """What differs and should not, or nothing. ``served`` and ``public`` are the model's two names."""
    if direct.is_broken or proxied.is_broken:
        said = proxied.says_it_failed if direct.is_broken else False
        return "" if said else f"broke off: {direct.body[-200:]!r} became {proxied.body[-200:]!r}"
    if direct.status != proxied.status:
        return f"status {direct.status} became {proxied.status}: {direct.body[:200]!r} {proxied.body[:200]!r}"
    if found := _of_headers(direct.headers, proxied.headers):
        return found
    expected, got = _comparable(direct), _comparable(proxied)
    return _of_values(expected, got if public == served else _renamed(got, public, served))


def _of_headers(direct: Mapping[str, str], proxied: Mapping[str, str]) -> str:
    names = {name.lower() for name in (*direct, *proxied)} - _NOT_COMPARED
    for name in sorted(name for name in names if not name.startswith("x-flywheel-")):
        if direct.get(name) != proxied.get(name):
            return f"header {name}: {direct.get(name)!r} became {proxied.get(name)!r}"
    return ""


def _comparable(answer: Answer) -> Any:
    if answer.is_stream:
        return laid_together(answer.body)
    try:
        return without_its_own(orjson.loads(answer.body))
    except orjson.JSONDecodeError:
        return answer.body


def without_its_own(value: Any) -> Any:
    """A value without what differs from call to call, at any depth."""
    if isinstance(value, dict):
        return {name: without_its_own(one) for name, one in value.items() if name not in _ITS_OWN}
    return [without_its_own(one) for one in value] if isinstance(value, list) else value


def _renamed(value: Any, public: str, served: str) -> Any:
    """With the engine's name where the public one is, and something else where the engine's was."""
    if isinstance(value, dict):
        return {
            name: (served if one == public else f"not {public}")
            if name == "model" and isinstance(one, str)
            else _renamed(one, public, served)
            for name, one in value.items()
        }
    return [_renamed(one, public, served) for one in value] if isinstance(value, list) else value


def laid_together(body: bytes) -> dict[str, Any]:
    """A stream's end result."""
    found = _Stream()
    splitter = Splitter()
    for raw in splitter.feed(body):
        found.take(raw)
    if splitter.rest.strip():
        found.take(splitter.rest)
    return found.result()


class _Stream:
    """Events put together: a chat's or a completion's by choice, others by their type."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}
        self._fields: set[str] = set()
        self._models: set[str] = set()
        self._rest: list[Any] = []
        self._texts: dict[str, str] = {}
        self._ended = False

    def take(self, raw: bytes) -> None:
        data = payload(raw)
        if data is None:
            self._rest.append(raw.decode())
        elif data == DONE:
            self._ended = True
        else:
            self._message(without_its_own(orjson.loads(data)))

    def result(self) -> dict[str, Any]:
        return {
            "choices": [self._choices[index] for index in sorted(self._choices)],
            "fields": sorted(self._fields),
            "models": [{"model": name} for name in sorted(self._models)],
            "rest": self._rest,
            "texts": self._texts,
            "done": self._ended,
        }

    def _message(self, message: dict[str, Any]) -> None:
        self._fields |= set(message)
        if "model" in message:
            self._models.add(message.pop("model"))
        if "choices" not in message:
            self._typed(message)
            return
        for choice in message.pop("choices"):
            self._choice(choice)
        usage = message.pop("usage", None)
        if usage is not None:
            # The last one counts: with continuous usage there is one an event.
            self._rest = [one for one in self._rest if not (isinstance(one, dict) and "usage" in one)]
            self._rest.append({"usage": usage})
        for name, value in message.items():
            if value is not None and {name: value} not in self._rest:
                self._rest.append({name: value})

    def _typed(self, message: dict[str, Any]) -> None:
        """An event of the responses' or the messages' stream, or an error: deltas are joined."""
        delta = message.pop("delta", None)
        message.pop("sequence_number", None)
        if delta is None:
            self._rest.append(message)
            return
        inner = delta.get("text", delta.get("partial_json")) if isinstance(delta, dict) else delta
        text = inner if isinstance(inner, str) else orjson.dumps(delta).decode()
        # Where logprobs come with it, one list goes on.
        logprobs = message.pop("logprobs", None)
        key = orjson.dumps(message).decode()
        self._texts[key] = self._texts.get(key, "") + text
        if logprobs:
            self._texts[key + " logprobs"] = self._texts.get(key + " logprobs", "") + orjson.dumps(
                logprobs
            ).decode().strip("[]")

    def _choice(self, choice: dict[str, Any]) -> None:
        kept = self._choices.setdefault(choice.pop("index"), {"fields": [], "texts": {}, "lists": {}})
        delta = choice.pop("delta", None) or {}
        fields = {*choice, *(f"delta.{name}" for name in delta)}
        kept["fields"] = sorted({*kept["fields"], *fields})
        logprobs = choice.pop("logprobs", None) or {}
        for call in delta.pop("tool_calls", None) or ():
            self._call(kept["texts"], call)
        for name, value in (*delta.items(), *choice.items(), *logprobs.items()):
            if isinstance(value, str) and name not in ("role", "finish_reason"):
                kept["texts"][name] = kept["texts"].get(name, "") + value
            elif isinstance(value, list):
                kept["lists"].setdefault(name, []).extend(value)
            elif value is not None:
                kept.setdefault(name, []).append(value)

    def _call(self, texts: dict[str, str], call: dict[str, Any]) -> None:
        for name, value in call.get("function", {}).items():
            key = f"call {call['index']} {name}"
            texts[key] = texts.get(key, "") + (value or "")


def _of_values(expected: Any, got: Any, at: str = "") -> str:
    """The first place where two values differ."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for name in (*expected, *(name for name in got if name not in expected)):
            if name not in expected or name not in got:
                what = "appeared" if name in got else "vanished"
                return f"{at}.{name} {what}: {got.get(name, expected.get(name))!r}"
            if found := _of_values(expected[name], got[name], f"{at}.{name}"):
                return found
        return ""
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return next((found for i, (a, b) in pairs if (found := _of_values(a, b, f"{at}[{i}]"))), "")
    return "" if expected == got and type(expected) is type(got) else f"{at}: {expected!r} became {got!r}"
