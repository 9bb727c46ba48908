"""What chats and completions have in common: choices, each finished for itself. Pure."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict, TypeVar

import msgspec

from inference.answer import Answer, Building
from inference.listing import Columns
from inference.surfaces.surface import Hidden, Message

# A quote inside a JSON string is escaped, so this finds keys alone.
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_IDS = ("token_ids", "prompt_token_ids")
_L = TypeVar("_L")


def form(logprobs: type[Any]) -> Any:
    """What is read of an answer whose choices have such logprobs."""
    ids, anything = list[int] | None, ("index", "text", "message", "delta", "finish_reason")
    choice = _fields(logprobs=logprobs | None, **dict.fromkeys(_IDS, ids), **dict.fromkeys(anything, Any))
    choices = list[choice] | None  # type: ignore[valid-type]
    return _fields(choices=choices, usage=Any, error=Any, prompt_token_ids=ids)


def _fields(**kinds: Any) -> Any:
    """An object that may have these fields; what else it has is passed over."""
    return TypedDict("Fields", kinds, total=False)  # type: ignore[operator]


def logprobs(choice: Message, kind: type[_L]) -> _L | None:
    """A choice's logprobs, also of an answer that was not decoded by its form. Raises ValueError."""
    found = choice.get("logprobs")
    if found is None or isinstance(found, kind):
        return found
    return msgspec.convert(found, kind) if found else None


def finishes(_: bytes, data: bytes) -> int:
    """How many choices an event finishes."""
    return len(_FINISH.findall(data))


def count(body: Message) -> int:
    """How many choices a prompt gets."""
    asked = body.get("n")
    return asked if isinstance(asked, int) and asked > 0 else 1


def adds_usage(body: Message) -> bool:
    """Whether a stream's usage can be asked for without the client seeing more than one event."""
    options = body.get("stream_options")
    quiet = options is None or (isinstance(options, dict) and not options.get("include_usage"))
    return bool(body.get("stream")) and quiet and not (options or {}).get("continuous_usage_stats")


def with_usage(body: Message) -> Message:
    """The field that asks for it."""
    return {"stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}


def clean(hidden: Hidden, message: Message) -> None:
    """Null what was added, in place."""
    if hidden.ids and message.get("prompt_token_ids") is not None:
        message["prompt_token_ids"] = None
    for choice in message.get("choices") or ():
        if hidden.logprobs and choice.get("logprobs") is not None:
            choice["logprobs"] = None
        if hidden.ids:
            for name in _IDS:
                if choice.get(name) is not None:
                    choice[name] = None


def read(
    messages: list[Message],
    top_k: int,
    take: Callable[[Building, Message], None],
    said: Callable[[Message], Message],
    columns: Mapping[int, Columns] = MappingProxyType({}),
) -> Answer:
    """Lay choices together. ``take`` adds one part's tokens to its choice, ``said`` finds its message.
    ``columns`` are the tokens of choices that were read before, by their index.
    """
    answer = Answer()
    building: dict[int, Building] = {}
    for message in messages:
        answer.take_error(message.get("error"))
        if usage := message.get("usage"):
            answer.take_usage(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        answer.take_prompt(message.get("prompt_token_ids"))
        for choice in message.get("choices") or ():
            answer.take_prompt(choice.get("prompt_token_ids"))
            index = choice.get("index", 0)
            built = building.get(index)
            if built is None:
                built = building[index] = Building()
            _take_text(built, choice, said(choice))
            built.ids += choice.get("token_ids") or ()
            take(built, choice)
    for index, built in sorted(building.items()):
        built.columns = columns.get(index)
        answer.add(index, built, top_k)
    return answer


def _take_text(built: Building, choice: Message, said: Message) -> None:
    content = said.get("content")
    built.text.append(content if isinstance(content, str) else "")
    built.reasoning.append(said.get("reasoning") or said.get("reasoning_content") or "")
    built.finish_reason = choice.get("finish_reason") or built.finish_reason
    for position, call in enumerate(said.get("tool_calls") or ()):
        _take_call(built.tool_calls, call.get("index", position), call)


def _take_call(calls: list[dict[str, Any]], index: int, piece: Message) -> None:
    """A tool call comes whole in a body, and in a stream its arguments come in pieces."""
    while len(calls) <= index:
        calls.append({})
    call, function = calls[index], piece.get("function") or {}
    call.update({name: piece[name] for name in ("id", "type") if piece.get(name)})
    whole = call.setdefault("function", {"name": "", "arguments": ""})
    whole["name"] = function.get("name") or whole["name"]
    whole["arguments"] += function.get("arguments") or ""
