"""What a request asked for besides its question, as a person reads it: names and values, the usual ones.

Pure. What is of no known form is left out rather than shown as code.
"""

import json
from typing import Any

SHOWN = (
    *("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty"),
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "seed", "n", "stop", "stop_sequences"),
    *("logprobs", "top_logprobs"),
)
MOST_TOOLS = 20
LONGEST = 200


def told(given: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each, in the order of ``SHOWN``; then how the answer was bound, and the tools."""
    plain = [(name.replace("_", " "), _value(given[name])) for name in SHOWN if given.get(name) is not None]
    return [*plain, *_bound(given), *_tools(given.get("tools"))]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return _short(", ".join(_value(one) for one in value))
    return _short(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value))


def _quoted(text: str) -> str:
    """With what can't be seen, such as the end of a line, written out."""
    return f"“{_short(json.dumps(text, ensure_ascii=False)[1:-1])}”"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _bound(given: dict[str, Any]) -> list[tuple[str, str]]:
    """By a schema or to JSON: a chat's ``response_format``, or ``text.format`` of a response."""
    text = given.get("text")
    form = given.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    if not isinstance(form, dict):
        return []
    if form.get("type") == "json_object":
        return [("answer bound to", "a JSON object")]
    if form.get("type") != "json_schema":
        return []
    inner = form.get("json_schema")
    name = (inner if isinstance(inner, dict) else form).get("name")
    return [("answer bound by a schema", _short(str(name)) if name else "without a name")]


def _tools(given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, list) or not given:
        return []
    names = [_short(name) for one in given[:MOST_TOOLS] if (name := _tool(one))]
    more = len(given) - MOST_TOOLS
    return [("tools offered", ", ".join(names) + (f" and {more} more" if more > 0 else ""))] if names else []


def _tool(given: Any) -> str:
    """A tool's name, in a chat's form or flat; one of the engine's own by its kind."""
    if not isinstance(given, dict):
        return ""
    function = given.get("function")
    inner = function if isinstance(function, dict) else given
    return str(inner.get("name") or given.get("type") or "")
