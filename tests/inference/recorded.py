"""Pairs of answers recorded from a real vLLM 0.32: each request sent plainly, and with what capture injects.

``python -m tests.inference.recorded http://127.0.0.1:8001`` records recorded.json anew.
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
    "completion_logprobs": ({"logprobs": 2}, _ONLY_IDS),
    "completion_hot": (_HOT, _TEXT_ALL),
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


def _record(engine: str) -> None:
    cases = [("/v1/chat/completions", _CHAT, _CHATS), ("/v1/completions", _TEXT, _TEXTS)]
    recorded = {}
    for path, base, wishes in cases:
        for name, (wish, injection) in wishes.items():
            request, injected = {**base, **wish}, {**base, **wish, **injection}
            recorded[name] = {
                "path": path,
                "request": request,
                "injected": injected,
                "plain": _post(engine + path, request),
                "captured": _post(engine + path, injected),
            }
    _FILE.write_bytes(orjson.dumps(recorded))


if __name__ == "__main__":
    _record(sys.argv[1])
