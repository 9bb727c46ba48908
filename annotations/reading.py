"""What a reviewer reads of an exchange, in reviewers' words: what was asked, what came before, instructions.

Pure. Message shapes are known to inference.reading.
"""

import json
from dataclasses import dataclass
from typing import Any

from inference.reading import plain

_WHO = {"user": "They asked", "assistant": "The assistant said", "tool": "The assistant was told"}
_INSTRUCTIONS = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said, and by whom."""

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
    spoken = [m for m in messages if m.get("role") not in _INSTRUCTIONS]
    given = [plain(m.get("content")) for m in messages if m.get("role") in _INSTRUCTIONS]
    said = [turn for message in spoken for turn in _turns(message)]
    asked = said.pop().text if said else ""
    return Reading(asked, said, "\n\n".join(given))


def _turns(message: dict[str, Any]) -> list[Turn]:
    who = _WHO.get(str(message.get("role")), "Somebody said")
    text = plain(message.get("content"))
    lookups = [Turn("The assistant looked up", _lookup(call)) for call in message.get("tool_calls") or []]
    if lookups and not text:
        return lookups
    return [Turn(who, text or "(nothing)"), *lookups]


def _lookup(call: dict[str, Any]) -> str:
    """``icd_search: term = wheeze`` reads better than JSON; what is no object stays as it came."""
    function = call.get("function") or {}
    name, raw = function.get("name", "something"), function.get("arguments") or ""
    try:
        values = json.loads(raw)
    except (TypeError, ValueError):
        values = None
    if not isinstance(values, dict):
        return f"{name}: {raw}"
    return f"{name}: " + ", ".join(f"{key} = {value}" for key, value in values.items())
