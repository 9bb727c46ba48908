"""An engine that answers what a real one once answered to the same request, and the proxy in front of it.

A request is known by what the client sent: what capture adds to it is left out of the comparison, so that
capture may change its mind. ``RECORD=http://127.0.0.1:8001 pytest tests/clients`` asks a real vLLM instead
(with ``--enable-auto-tool-choice --tool-call-parser hermes``), and writes recorded.json anew.
"""

import os
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.inference.double import Message, Receive, Send, begin, reply

FILE = Path(__file__).with_name("recorded.json")
ENGINE = os.environ.get("RECORD", "")
_ALWAYS_ADDED = frozenset({"return_token_ids", "stream_options", "include", "enable_response_messages"})
_ADDED = _ALWAYS_ADDED | {"logprobs", "top_logprobs", "return_tokens_as_token_ids"}
_PIECE = 700
"""Bytes sent at once: less than an event, so that clients get events in pieces."""


def _asked(path: str, body: Any) -> str:
    """What a request is known by."""
    # A client's own wish for logprobs is for strings, not for ids.
    added = _ADDED if body.get("return_tokens_as_token_ids") else _ALWAYS_ADDED
    wish = {name: value for name, value in body.items() if name not in added}
    return f"{path} {orjson.dumps(wish, option=orjson.OPT_SORT_KEYS).decode()}"


class Script:
    """An ASGI application. ``recorded`` grows when there is an engine to ask."""

    def __init__(self, recorded: dict[str, Any]) -> None:
        self._recorded = recorded

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = _asked(scope["path"], orjson.loads(body))
        if ENGINE:
            self._recorded[asked] = await _ask(scope["path"], body)
        found = self._recorded.get(asked)
        if found is None:
            await reply(send, 418, {"error": {"message": f"nobody recorded an answer to {asked}"}})
            return
        await begin(send, found["status"], found["type"])
        answer = found["body"].encode()
        for at in range(0, len(answer), _PIECE):
            part = answer[at : at + _PIECE]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


async def _ask(path: str, body: bytes) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(ENGINE + path, data=body, headers=headers) as answer,
    ):
        kind = answer.headers["content-type"]
        return {"status": answer.status, "type": kind, "body": await answer.text()}


def load() -> dict[str, Any]:
    """What is recorded; nothing when it is to be recorded anew."""
    return orjson.loads(FILE.read_bytes()) if FILE.exists() and not ENGINE else {}


def save(recorded: dict[str, Any]) -> None:
    """Keep what was recorded."""
    FILE.write_bytes(orjson.dumps(recorded, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
