"""Pairs of answers recorded from a real vLLM 0.32: each request sent plainly, and with what capture injects.

``python -m tests.inference.recorded plain http://127.0.0.1:8001`` records a part of recorded.json anew. The
parts need engines of their own: ``plain`` as flywheel.local.engine starts it; ``tools`` with
``--enable-auto-tool-choice --tool-call-parser hermes``; ``thinking`` with ``--reasoning-parser granite`` and
``--structured-outputs-config '{"enable_in_reasoning": true}'``; ``embed`` with ``--runner pooling`` and
``--convert embed``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson

_FILE = Path(__file__).with_suffix(".json")
_MODEL = "smollm2-135m"
_CHAT = {
    "model": _MODEL,
    "messages": [
        {"role": "system", "content": "ICD-10-CM chapter desk."},
        {"role": "user", "content": "wheezing after exercise"},
    ],
    "max_tokens": 8,
    "temperature": 0,
    "seed": 1,
}
_TEXT = {"model": _MODEL, "prompt": "The lungs are", "max_tokens": 6, "temperature": 0, "seed": 1}
_IDS = {"return_token_ids": True, "return_tokens_as_token_ids": True}
_CHAT_ALL = {"logprobs": True, "top_logprobs": 6, **_IDS}
_TEXT_ALL = {"logprobs": 5, **_IDS}
_STREAM = {"stream": True}
_USAGE = {"stream_options": {"include_usage": True}}
_HOT = {"temperature": 2.0, "seed": 7}
_WISH = {"logprobs": True, "top_logprobs": 2}
_ONLY_IDS = {"return_token_ids": True}

_CHATS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat": ({}, _CHAT_ALL),
    "chat_streamed": (_STREAM, {**_CHAT_ALL, **_USAGE}),
    "chat_streamed_usage": ({**_STREAM, **_USAGE}, _CHAT_ALL),
    "chat_n2": ({"n": 2, "temperature": 1.0}, _CHAT_ALL),
    "chat_n2_streamed": ({"n": 2, "temperature": 1.0, **_STREAM}, _CHAT_ALL),
    "chat_logprobs": (_WISH, _ONLY_IDS),
    "chat_logprobs_streamed": ({**_WISH, **_STREAM}, {**_ONLY_IDS, **_USAGE}),
    "chat_ids": (_ONLY_IDS, _CHAT_ALL),
    "chat_hot": (_HOT, _CHAT_ALL),
    "chat_stop": ({"max_tokens": 40, "stop": ["."], **_STREAM}, {**_CHAT_ALL, **_USAGE}),
    "chat_bad": ({"temperature": -1}, _CHAT_ALL),
    "chat_too_long": ({"max_tokens": 100_000}, _CHAT_ALL),
    "chat_top_cap": ({"logprobs": True, "top_logprobs": 30}, _ONLY_IDS),
    "chat_malformed": ({"messages": "x"}, _CHAT_ALL),
}
_TEXTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "completion": ({}, _TEXT_ALL),
    "completion_streamed": (_STREAM, {**_TEXT_ALL, **_USAGE}),
    "completion_batch": ({"prompt": ["The lungs are", "The heart is"]}, _TEXT_ALL),
    "completion_batch_streamed": ({"prompt": ["The lungs are", "The heart is"], **_STREAM}, _TEXT_ALL),
    "completion_logprobs": ({"logprobs": 2}, _ONLY_IDS),
    "completion_hot": (_HOT, _TEXT_ALL),
}
_ECHOED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat_prompt_logprobs": ({"prompt_logprobs": 1}, _CHAT_ALL),
    "chat_prompt_logprobs_streamed": ({"prompt_logprobs": 1, **_STREAM}, {**_CHAT_ALL, **_USAGE}),
}
_ECHOED_TEXTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "completion_prompt_logprobs": ({"prompt_logprobs": 1}, _TEXT_ALL),
    "completion_echo": ({"echo": True, "logprobs": 1}, {}),
}
_SCHEMA = {
    "type": "object",
    "properties": {"chapter": {"type": "string", "enum": ["Respiratory", "Injury"]}},
    "required": ["chapter"],
}
_JSON = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "chapter", "schema": _SCHEMA}},
    "max_tokens": 24,
}
_STRUCTURED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat_json": (_JSON, _CHAT_ALL),
    "chat_json_streamed": ({**_JSON, **_STREAM}, {**_CHAT_ALL, **_USAGE}),
}
_CODE = {"name": "code", "description": "Look a chapter up.", "parameters": _SCHEMA}
_TOOLS = {"tools": [{"type": "function", "function": _CODE}], "max_tokens": 48}
_NAMED = {**_TOOLS, "tool_choice": {"type": "function", "function": {"name": "code"}}}
_REQUIRED = {**_TOOLS, "tool_choice": "required"}
_THINK = {
    "structured_outputs": {
        "regex": "Here is my thought process: (it|this) (is|may be) asthma\\. Here is my response: (yes|no)"
    },
    "max_tokens": 40,
}
_CALLING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tool_named": (_NAMED, _CHAT_ALL),
    "tool_named_streamed": ({**_NAMED, **_STREAM}, {**_CHAT_ALL, **_USAGE}),
    "tool_required": (_REQUIRED, _CHAT_ALL),
    "tool_required_streamed": ({**_REQUIRED, **_STREAM}, {**_CHAT_ALL, **_USAGE}),
}
_THINKING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "reasoning": (_THINK, _CHAT_ALL),
    "reasoning_streamed": ({**_THINK, **_STREAM}, {**_CHAT_ALL, **_USAGE}),
    "reasoning_hidden": ({**_THINK, "include_reasoning": False}, _CHAT_ALL),
    "reasoning_hidden_streamed": (
        {**_THINK, "include_reasoning": False, **_STREAM},
        {**_CHAT_ALL, **_USAGE},
    ),
}
_RESPONSE = {
    "model": _MODEL,
    "instructions": "ICD-10-CM chapter desk.",
    "input": "wheezing after exercise",
    "max_output_tokens": 16,
    "temperature": 0,
    "metadata": {"model": "of the patient"},
}
_RESPONSE_ALL = {"include": ["message.output_text.logprobs"], "enable_response_messages": True}
_RESPONSE_WISH = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
_RESPONSE_TOOL = {
    "tools": [{"type": "function", **_CODE}],
    "tool_choice": {"type": "function", "name": "code"},
    "max_output_tokens": 48,
}
_RESPONSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "responses": ({}, _RESPONSE_ALL),
    "responses_streamed": (_STREAM, _RESPONSE_ALL),
    "responses_turns": (
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "wheezing"}]},
                {"role": "assistant", "content": "After exercise?"},
                {"role": "user", "content": "yes"},
            ]
        },
        _RESPONSE_ALL,
    ),
    "responses_logprobs": (_RESPONSE_WISH, {"enable_response_messages": True}),
    "responses_logprobs_streamed": (
        {**_RESPONSE_WISH, **_STREAM},
        {"enable_response_messages": True},
    ),
    "responses_bad": ({"temperature": -1}, _RESPONSE_ALL),
}
_THINK_RESPONSE = {name: _THINK[name] for name in ("structured_outputs",)}
_RESPONSES_CALLING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "responses_tool": (_RESPONSE_TOOL, _RESPONSE_ALL),
    "responses_tool_streamed": ({**_RESPONSE_TOOL, **_STREAM}, _RESPONSE_ALL),
}
_RESPONSES_THINKING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "responses_reasoning": ({**_THINK_RESPONSE, "max_output_tokens": 40}, _RESPONSE_ALL),
    "responses_reasoning_streamed": (
        {**_THINK_RESPONSE, "max_output_tokens": 40, **_STREAM},
        _RESPONSE_ALL,
    ),
}
_MESSAGE = {
    "model": _MODEL,
    "system": "ICD-10-CM chapter desk.",
    "messages": [{"role": "user", "content": "wheezing after exercise"}],
    "max_tokens": 8,
    "temperature": 0,
}
_MESSAGE_TOOL = {
    "tools": [{"name": "code", "description": "Look a chapter up.", "input_schema": _SCHEMA}],
    "tool_choice": {"type": "tool", "name": "code"},
    "max_tokens": 48,
}
_MESSAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "messages": ({}, {}),
    "messages_streamed": (_STREAM, {}),
    "messages_stop": ({"stop_sequences": ["of"], **_STREAM}, {}),
    "messages_bad": ({"max_tokens": 0}, {}),
}
_MESSAGES_CALLING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "messages_tool": (_MESSAGE_TOOL, {}),
    "messages_tool_streamed": ({**_MESSAGE_TOOL, **_STREAM}, {}),
}
_JSON_MESSAGE = {
    "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}},
    "max_tokens": 24,
}
_MESSAGES_THINKING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "messages_thinking": (_JSON_MESSAGE, {}),
    "messages_thinking_streamed": ({**_JSON_MESSAGE, **_STREAM}, {}),
}
_TOKENIZE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tokenize": ({"prompt": "wheezing", "return_token_strs": True}, {}),
    "tokenize_chat": ({"messages": _CHAT["messages"]}, {}),
    "tokenize_bad": ({"prompt": 5}, {}),
}
_DETOKENIZE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"detokenize": ({"tokens": [504, 2336]}, {})}
_EMBED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "embeddings": ({"input": "wheezing"}, {}),
    "embeddings_batch": ({"input": ["wheezing", "a cough"], "encoding_format": "base64"}, {}),
    "embeddings_bad": ({"input": "wheezing", "encoding_format": "roman"}, {}),
}
_NAME = {"model": _MODEL}
_PARTS: dict[str, list[tuple[str, dict[str, Any], dict[str, tuple[dict[str, Any], dict[str, Any]]]]]] = {
    "plain": [
        ("/v1/chat/completions", _CHAT, {**_CHATS, **_STRUCTURED}),
        ("/v1/completions", _TEXT, _TEXTS),
        ("/v1/responses", _RESPONSE, _RESPONSES),
        ("/v1/messages", _MESSAGE, _MESSAGES),
        ("/tokenize", _NAME, _TOKENIZE),
        ("/detokenize", _NAME, _DETOKENIZE),
    ],
    "tools": [
        ("/v1/chat/completions", _CHAT, {**_CALLING, **_ECHOED}),
        ("/v1/completions", _TEXT, _ECHOED_TEXTS),
        ("/v1/responses", _RESPONSE, _RESPONSES_CALLING),
        ("/v1/messages", _MESSAGE, _MESSAGES_CALLING),
    ],
    "thinking": [
        ("/v1/chat/completions", _CHAT, _THINKING),
        ("/v1/responses", _RESPONSE, _RESPONSES_THINKING),
        ("/v1/messages", _MESSAGE, _MESSAGES_THINKING),
    ],
    "embed": [("/v1/embeddings", _NAME, _EMBED)],
}


@dataclass(frozen=True)
class Reply:
    """What the engine answered."""

    status: int
    type: str
    body: bytes


@dataclass(frozen=True)
class Pair:
    """One request, and its answers without and with what capture injects."""

    path: str
    request: dict[str, Any]
    injected: dict[str, Any]
    plain: Reply
    captured: Reply


def _reply(stored: dict[str, Any]) -> Reply:
    return Reply(stored["status"], stored["type"], stored["body"].encode())


PAIRS = {
    name: Pair(one["path"], one["request"], one["injected"], _reply(one["plain"]), _reply(one["captured"]))
    for name, one in orjson.loads(_FILE.read_bytes()).items()
}


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = Request(url, orjson.dumps(body), {"content-type": "application/json"})
    try:
        answer = urlopen(request, timeout=120)
    except HTTPError as error:
        answer = error
    return {
        "status": answer.status,
        "type": answer.headers["content-type"],
        "body": answer.read().decode(),
    }


def _record(part: str, engine: str) -> None:
    recorded = orjson.loads(_FILE.read_bytes())
    for path, base, wishes in _PARTS[part]:
        for name, (wish, injection) in wishes.items():
            request, injected = {**base, **wish}, {**base, **wish, **injection}
            plain = _post(engine + path, request)
            recorded[name] = {
                "path": path,
                "request": request,
                "injected": injected,
                "plain": plain,
                "captured": _post(engine + path, injected) if injection else plain,
            }
            print(name, plain["status"], recorded[name]["captured"]["status"])
    _FILE.write_bytes(orjson.dumps(recorded))


if __name__ == "__main__":
    _record(*sys.argv[1:])
