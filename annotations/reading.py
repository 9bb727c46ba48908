"""What a reviewer reads of an exchange: plain turns out of the chat form, whatever product sent it.

Pure: knows message shapes and reviewers' words, nothing of queues or pages.
"""

import json
from dataclasses import dataclass
from typing import Any

_ROLES = {"user": "They asked", "assistant": "The assistant said", "tool": "The assistant was told"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said, and by whom in reviewers' words."""

    who: str
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """``asked`` is the last message; ``earlier`` come before it; instructions stand apart."""

    asked: str
    earlier: list[Turn]
    instructions: str


def read(messages: list[dict[str, Any]]) -> Reading:
    """Sort a chat's messages for a reader. Unknown shapes are shown as they are, never left out."""
    instructions = [m for m in messages if m.get("role") in ("system", "developer")]
    said = [turn for m in messages if m not in instructions for turn in _turns(m)]
    asked = said.pop().text if said else ""
    return Reading(asked, said, "\n\n".join(_text(m.get("content")) for m in instructions))


def _turns(message: dict[str, Any]) -> list[Turn]:
    turns = []
    text = _text(message.get("content"))
    if text:
        turns.append(Turn(_ROLES.get(str(message.get("role")), "Somebody said"), text))
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        turns.append(Turn("The assistant looked up", f"{function.get('name', '')} {_arguments(function)}"))
    return turns or [Turn(_ROLES.get(str(message.get("role")), "Somebody said"), "(nothing)")]


def _arguments(function: dict[str, Any]) -> str:
    """``icd_search: term = wheeze`` reads better than JSON; JSON stays where it is not an object."""
    raw = function.get("arguments") or ""
    try:
        values = json.loads(raw)
    except (TypeError, ValueError):
        return str(raw)
    if not isinstance(values, dict):
        return str(raw)
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _text(content: object) -> str:
    """A message's text: a string, or the text parts of a list, others named by their type."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else json.dumps(content, ensure_ascii=False)
    parts = []
    for part in content:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        else:
            kind = part.get("type", "something") if isinstance(part, dict) else "something"
            parts.append(f"[{str(kind).replace('_', ' ')}]")
    return "\n".join(parts)
