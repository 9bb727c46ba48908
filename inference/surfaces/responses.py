"""``/v1/responses``, as vLLM serves it. Pure.

Its logprobs come with tokens as text, and ids only with the raw messages at the end; alternatives' ids not at
all. So capture asks for both, and a row has each token's own probability and no alternatives. What an
engine stores of a response stays in that engine: only what is answered in the request itself is served.
"""

import re
from collections.abc import Iterator

from inference.answer import Answer, Building
from inference.ranking import logarithms
from inference.surfaces.surface import Added, Hidden, Message, Surface, names_model

_LOGPROBS = "message.output_text.logprobs"
_ENDS = (b"response.completed", b"response.incomplete", b"response.failed")
_END = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')
_RAW = ("input_messages", "output_messages")


def add(body: Message, _: int, __: int) -> Added | None:
    """Logprobs in the text, and the raw messages with their ids."""
    include = body.get("include")
    if include is not None and not isinstance(include, list):
        return None
    own = _LOGPROBS in (include or ())
    fields: Message = {} if own else {"include": [*(include or ()), _LOGPROBS]}
    if not body.get("enable_response_messages"):
        fields["enable_response_messages"] = True
    hidden = Hidden(logprobs=not own, ids="enable_response_messages" in fields)
    return Added(fields, 0, hidden)


def finishes(name: bytes, data: bytes) -> int:
    """The event with the whole response."""
    return int(name in _ENDS or (not name and bool(_END.search(data))))


def clean(hidden: Hidden, message: Message) -> None:
    """Empty what was added, in place: a stream's logprobs are an empty list, a body's are null."""
    if hidden.logprobs:
        if message.get("logprobs"):
            message["logprobs"] = []
        for text in _texts(message):
            if text.get("logprobs"):
                text["logprobs"] = None
    for whole in (message, message.get("response")):
        if not isinstance(whole, dict):
            continue
        if hidden.logprobs and "top_logprobs" in whole:
            whole["top_logprobs"] = None
        if hidden.ids:
            for name in _RAW:
                if whole.get(name) is not None:
                    whole[name] = None


def _texts(message: Message) -> Iterator[Message]:
    """The parts of text in a body, or in an event's response, item or part."""
    if isinstance(part := message.get("part"), dict):
        yield part
    response = message.get("response")
    items = (response if isinstance(response, dict) else message).get("output") or []
    for item in (*items, message.get("item")):
        if isinstance(item, dict):
            yield from (part for part in item.get("content") or () if isinstance(part, dict))


def rename(message: Message, model: str) -> None:
    """In a body, or in an event's response."""
    response = message.get("response")
    names_model(response if isinstance(response, dict) else message, model)


def refuses(body: Message) -> str:
    """An answer that comes later, to another request, could not be kept."""
    return "background responses are not served here" if body.get("background") else ""


def asked(body: Message) -> list[Message]:
    """Instructions and input, as a chat's messages."""
    instructions, given = body.get("instructions"), body.get("input")
    messages: list[Message] = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict):
            messages += _asked(item)
    return messages


def _asked(item: Message) -> list[Message]:
    kind = item.get("type", "message")
    if kind == "message":
        return [{"role": item.get("role", "user"), "content": item.get("content")}]
    if kind == "function_call":
        return [{"role": "assistant", "content": None, "tool_calls": [_call(item)]}]
    if kind == "function_call_output":
        return [{"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}]
    return []


def _call(item: Message) -> Message:
    function = {"name": item.get("name") or "", "arguments": item.get("arguments") or ""}
    return {"id": item.get("call_id") or item.get("id"), "type": "function", "function": function}


def read(messages: list[Message], _: int) -> Answer:
    """One choice: the response, or the pieces of one that was cut off."""
    answer, built = Answer(), Building()
    whole = None
    for message in messages:
        answer.take_error(message.get("error"))
        response = message.get("response") if "type" in message else message
        if isinstance(response, dict) and response.get("output"):
            whole = response
        elif whole is None:
            _take_piece(built, message)
    if whole is not None:
        built = _whole(answer, whole)
    if whole is not None or built.text or built.reasoning or built.tool_calls:
        answer.add(0, built)
    return answer


def _take_piece(built: Building, event: Message) -> None:
    kind, delta = event.get("type"), event.get("delta")
    item = event.get("item")
    if (
        kind == "response.output_item.added"
        and isinstance(item, dict)
        and item.get("type") == "function_call"
    ):
        built.tool_calls.append(_call(item))
    if not isinstance(delta, str):
        return
    if kind == "response.output_text.delta":
        built.text.append(delta)
    elif kind == "response.reasoning_text.delta":
        built.reasoning.append(delta)
    elif kind == "response.function_call_arguments.delta" and built.tool_calls:
        built.tool_calls[-1]["function"]["arguments"] += delta


def _whole(answer: Answer, response: Message) -> Building:
    built = Building()
    answer.take_error(response.get("error"))
    usage = response.get("usage") or {}
    answer.take_usage(usage.get("input_tokens"), usage.get("output_tokens"))
    for item in response.get("output") or ():
        kind = item.get("type")
        if kind == "function_call":
            built.tool_calls.append(_call(item))
        for part in item.get("content") or ():
            if kind == "reasoning":
                built.reasoning.append(part.get("text") or "")
            elif part.get("type") == "output_text":
                built.text.append(part.get("text") or "")
                _take_logprobs(built, part)
    for raw in response.get("input_messages") or ():
        answer.take_prompt(raw.get("tokens"))
    for raw in response.get("output_messages") or ():
        built.ids += raw.get("tokens") or ()
    built.finish_reason = _finish(response, calls=bool(built.tool_calls))
    return built


def _take_logprobs(built: Building, part: Message) -> None:
    found = part.get("logprobs") or ()
    built.wire.names += [""] * len(found)
    built.wire.widths += [0] * len(found)
    built.wire.sampled += logarithms([entry.get("logprob") for entry in found])


def _finish(response: Message, *, calls: bool) -> str:
    status = response.get("status")
    if status == "completed":
        return "tool_calls" if calls else "stop"
    if status != "incomplete":
        return ""
    reason = (response.get("incomplete_details") or {}).get("reason")
    return "content_filter" if reason == "content_filter" else "length"


RESPONSES = Surface(
    name="responses",
    path="/v1/responses",
    asked=asked,
    read=read,
    add=add,
    finishes=finishes,
    clean=clean,
    rename=rename,
    refuses=refuses,
    model_first=False,
    names_events=True,
    gives_tokens=True,
    not_parameters=frozenset(("input", "instructions", "include", "enable_response_messages")),
)
