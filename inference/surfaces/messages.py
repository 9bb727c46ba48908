"""``/v1/messages``, as Anthropic's clients speak it and vLLM serves it: no logprobs. Pure."""

import re
from typing import Any

import orjson

from inference.answer import Answer, Building
from inference.surfaces.surface import Message, Surface, names_model

_STOP = re.compile(rb'"stop_reason"\s*:\s*"')
_ENDS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
"""Their reasons in the words of a chat's."""


def finishes(name: bytes, data: bytes) -> int:
    """The event that says why it stopped."""
    return int((name == b"message_delta" or b'"message_delta"' in data) and bool(_STOP.search(data)))


def rename(message: Message, model: str) -> None:
    """In a body, or in a stream's first event."""
    started = message.get("message")
    names_model(started if isinstance(started, dict) else message, model)


def asked(body: Message) -> list[Message]:
    """System prompt and messages."""
    system, messages = body.get("system"), body.get("messages")
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + ([one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else [])


def read(messages: list[Message], _: int) -> Answer:
    """One choice, of the body's blocks or of the events' pieces."""
    answer, built = Answer(), Building()
    began = False
    for message in messages:
        answer.take_error(message.get("error"))
        whole: Message = message.get("message") or message
        delta: Message = message.get("delta") or {}
        began = began or bool(whole.get("content") is not None or delta)
        for usage in (whole.get("usage"), message.get("usage")):
            if isinstance(usage, dict):
                answer.take_usage(usage.get("input_tokens"), usage.get("output_tokens"))
        for block in whole.get("content") or ():
            _take_block(built, block)
        if isinstance(block := message.get("content_block"), dict):
            _take_block(built, block)
        _take_delta(built, delta)
        reason = whole.get("stop_reason") or delta.get("stop_reason")
        built.finish_reason = _ENDS.get(reason, str(reason)) if reason else built.finish_reason
    if began:
        answer.add(0, built)
    return answer


def _take_block(built: Building, block: Message) -> None:
    kind = block.get("type")
    if kind == "text":
        built.text.append(block.get("text") or "")
    elif kind == "thinking":
        built.reasoning.append(block.get("thinking") or "")
    elif kind == "tool_use":
        arguments = orjson.dumps(block["input"]).decode() if block.get("input") else ""
        function: dict[str, Any] = {"name": block.get("name") or "", "arguments": arguments}
        built.tool_calls.append({"id": block.get("id"), "type": "function", "function": function})


def _take_delta(built: Building, delta: Message) -> None:
    built.text.append(delta.get("text") or "")
    built.reasoning.append(delta.get("thinking") or "")
    if delta.get("partial_json") and built.tool_calls:
        built.tool_calls[-1]["function"]["arguments"] += delta["partial_json"]


MESSAGES = Surface(
    name="messages",
    path="/v1/messages",
    asked=asked,
    read=read,
    finishes=finishes,
    rename=rename,
    model_first=False,
    names_events=True,
    anthropic=True,
    not_parameters=frozenset(("messages", "system")),
)
