"""Lays the choices of chats and completions together, from a body or from a stream's events. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict, TypeVar

import msgspec

from inference.answer import Answer, Building
from inference.listing import Columns
from inference.surfaces.choices import IDS
from inference.surfaces.surface import Message

_L = TypeVar("_L")


def form(logprobs: type[Any]) -> Any:
    """What is read of an answer whose choices have such logprobs."""
    ids, anything = list[int] | None, ("index", "text", "message", "delta", "finish_reason")
    choice = _fields(logprobs=logprobs | None, **dict.fromkeys(IDS, ids), **dict.fromkeys(anything, Any))
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
