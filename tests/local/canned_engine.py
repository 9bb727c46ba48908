"""An OpenAI-compatible engine that answers "Eye" to everything as vLLM would, streamed or not."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

TOKENS = [("E", 36, -0.7), ("ye", 2342, -0.1)]


@contextmanager
def canned_engine() -> Iterator[str]:
    """Its base address, while it runs in a thread."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_app())
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    host, port = runner.addresses[0][:2]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def _app() -> web.Application:
    app = web.Application()
    app.router.add_get("/health", _health)
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/chat/completions", _chat)
    return app


async def _health(request: web.Request) -> web.Response:
    return web.Response()


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "canned", "object": "model"}]})


async def _chat(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    usage = {"prompt_tokens": 3, "completion_tokens": len(TOKENS), "total_tokens": 3 + len(TOKENS)}
    head: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": "canned"}
    if not asked.get("stream"):
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "Eye"},
            "logprobs": _logprobs(TOKENS, asked),
            "token_ids": [token for _, token, _ in TOKENS],
            "finish_reason": "stop",
        }
        body = {
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage,
            "prompt_token_ids": [1, 2, 3],
        }
        return web.json_response({**head, **body})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    head["object"] = "chat.completion.chunk"
    first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    await _event(response, {**head, "choices": [first], "prompt_token_ids": [1, 2, 3]})
    for number, token in enumerate(TOKENS, 1):
        chunk = {
            "index": 0,
            "delta": {"content": token[0]},
            "logprobs": _logprobs([token], asked),
            "token_ids": [token[1]],
            "finish_reason": "stop" if number == len(TOKENS) else None,
        }
        await _event(response, {**head, "choices": [chunk]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        await _event(response, {**head, "choices": [], "usage": usage})
    await response.write(b"data: [DONE]\n\n")
    return response


def _logprobs(tokens: list[tuple[str, int, float]], asked: dict[str, Any]) -> dict[str, Any] | None:
    if not asked.get("logprobs"):
        return None
    content = []
    for text, token, logprob in tokens:
        name = f"token_id:{token}" if asked.get("return_tokens_as_token_ids") else text
        entry: dict[str, Any] = {"token": name, "logprob": logprob, "bytes": list(text.encode())}
        other = {"token": "token_id:5", "logprob": -3.0, "bytes": [33]}
        content.append({**entry, "top_logprobs": [entry, other]})
    return {"content": content}


async def _event(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(data).encode() + b"\n\n")
