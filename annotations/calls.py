"""A tool call as an expert reads and corrects it: JSON, checked against the schema the model was given.

Pure. The engine's form of a call holds its arguments as text within JSON; here they are values.
"""

import json
from collections.abc import Sequence
from typing import Any

from jsonschema import SchemaError
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

from annotations.questions import Unfit


def text_of(tool_calls: Sequence[dict[str, Any]]) -> str:
    """Calls as indented JSON, ``{name, arguments}``; several as a list; "" for none."""
    calls = [_call(call) for call in tool_calls]
    if not calls:
        return ""
    return json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False, indent=2)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        value = arguments  # a model's broken JSON, or one nested beyond reading, is shown as it came
    return {"name": function.get("name", ""), "arguments": value}


def check(text: str, tools: Sequence[dict[str, Any]]) -> None:
    """Raise Unfit when the text is no call, or one that the tools' schemas refuse.

    ``tools`` as the request named them. A tool without a schema takes any object.
    """
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unfit(f"This is no JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except RecursionError as error:
        raise Unfit("This is nested too deep to be a call.") from error
    schemas = {
        function.get("name"): function.get("parameters") or {"type": "object"}
        for function in (tool.get("function", {}) for tool in tools if isinstance(tool, dict))
    }
    for call in given if isinstance(given, list) else [given]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise Unfit("A call has a name and arguments.")
        if schemas and call["name"] not in schemas:
            raise Unfit(f"There is no tool “{call['name']}”. There are: {', '.join(map(str, schemas))}.")
        _check_arguments(call.get("arguments"), schemas.get(call["name"], {"type": "object"}))


def _check_arguments(arguments: Any, schema: dict[str, Any]) -> None:
    made = validator_for(schema)
    try:
        made.check_schema(schema)
    except SchemaError:
        return  # the product's own schema is broken: nothing can be held against it
    wrong = best_match(made(schema).iter_errors(arguments))
    if wrong is not None:
        place = "arguments" + "".join(
            f"[{p}]" if isinstance(p, int) else f".{p}" for p in wrong.absolute_path
        )
        raise Unfit(f"{place}: {wrong.message}.")
