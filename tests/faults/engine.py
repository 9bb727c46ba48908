"""An engine for faults, in a process of its own: answers as vLLM does, at any pace, and fails as it is told.

    python -m tests.faults.engine --port 8001

The last message orders: ``tokens=12 pace=5 then=stop nonce=abc`` gives twelve tokens, one every five
milliseconds, that begin with the nonce, so that a caller knows what a whole answer is. ``then`` is what
follows them: stop, die (the connection breaks), hang, quiet (an end without a finish), malformed, error.
``GET /seen`` tells how many calls came, how many were broken off by whoever asked, and how many run.
"""

import argparse
import asyncio
import json
import re
from typing import Any

from aiohttp import web

_ORDER = re.compile(r"(\w+)=(\S+)")


def text_of(tokens: int, nonce: str) -> str:
    """What an answer of so many tokens says."""
    return "".join(_pieces(tokens, nonce))


def _pieces(tokens: int, nonce: str) -> list[str]:
    return [nonce if place == 0 else f" {place}" for place in range(tokens)]


class Engine:
    """The application's state: what it saw."""

    def __init__(self) -> None:
        self.asked = self.left = self.running = 0

    def app(self) -> web.Application:
        made = web.Application(client_max_size=64 << 20)
        made.router.add_get("/seen", self._seen)
        made.router.add_get("/health", _health)
        made.router.add_get("/v1/models", _models)
        made.router.add_post("/v1/chat/completions", self._chat)
        return made

    async def _seen(self, request: web.Request) -> web.Response:
        return web.json_response({"asked": self.asked, "left": self.left, "running": self.running})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        order = dict(_ORDER.findall(str(asked["messages"][-1]["content"])[:200]))
        tokens, pace = int(order.get("tokens", 3)), float(order.get("pace", 0)) / 1000
        pieces = _pieces(tokens, order.get("nonce", "Eye"))
        self.asked += 1
        self.running += 1
        try:
            if "status" in order:
                status = int(order["status"])
                error = {"message": "as ordered", "code": status}
                return web.json_response({"error": error}, status=status)
            answer = self._stream if asked.get("stream") else self._whole
            return await answer(request, asked, pieces, pace, order.get("then", "stop"))
        except (ConnectionError, asyncio.CancelledError):
            self.left += 1
            raise
        finally:
            self.running -= 1

    async def _whole(
        self, request: web.Request, asked: dict[str, Any], pieces: list[str], pace: float, then: str
    ) -> web.StreamResponse:
        await asyncio.sleep(len(pieces) * pace)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(pieces)},
            "logprobs": _logprobs(pieces, 0, asked),
            "finish_reason": "stop",
            "token_ids": _ids(pieces, 0),
        }
        body = {**_head(asked, "chat.completion"), "choices": [choice], "prompt_token_ids": [1, 2, 3]}
        content = json.dumps({**body, "usage": _usage(pieces)}, separators=(",", ":")).encode()
        if then == "hang":
            await asyncio.sleep(3600)
        if then == "malformed":
            return web.Response(body=b"{oops", content_type="application/json")
        if then == "error":
            return web.json_response({"error": {"message": "cuda", "code": 500}})
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(content)
        await response.prepare(request)
        if then != "stop":
            await response.write(content[: len(content) // 2])
            _break(request)
        await response.write(content)
        return response

    async def _stream(
        self, request: web.Request, asked: dict[str, Any], pieces: list[str], pace: float, then: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        head = _head(asked, "chat.completion.chunk")
        for place, piece in enumerate(pieces):
            await asyncio.sleep(pace)
            finish = "stop" if place == len(pieces) - 1 and then == "stop" else None
            choice = {
                "index": 0,
                "delta": {"content": piece},
                "logprobs": _logprobs([piece], place, asked),
                "token_ids": _ids([piece], place),
                "finish_reason": finish,
            }
            more = {"prompt_token_ids": [1, 2, 3]} if place == 0 else {}
            await _event(response, {**head, "choices": [choice], **more})
        if then == "die":
            _break(request)
        if then == "hang":
            await asyncio.sleep(3600)
        if then == "malformed":
            await response.write(b"data: {oops\n\n")
        if then == "error":
            await _event(response, {"error": {"message": "cuda", "code": 500}})
        if (asked.get("stream_options") or {}).get("include_usage"):
            await _event(response, {**head, "choices": [], "usage": _usage(pieces)})
        if then != "quiet":
            await response.write(b"data: [DONE]\n\n")
        return response


def _break(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionAbortedError("as ordered")


async def _health(request: web.Request) -> web.Response:
    return web.Response()


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "canned", "object": "model"}]})


def _head(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": asked.get("model", "canned")}


def _usage(pieces: list[str]) -> dict[str, int]:
    count = len(pieces)
    return {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": 3 + count}


def _ids(pieces: list[str], first: int) -> list[int]:
    return [1000 + first + place for place in range(len(pieces))]


def _logprobs(pieces: list[str], first: int, asked: dict[str, Any]) -> dict[str, Any] | None:
    if not asked.get("logprobs"):
        return None
    content = []
    for token, text in zip(_ids(pieces, first), pieces, strict=True):
        name = f"token_id:{token}" if asked.get("return_tokens_as_token_ids") else text
        entry: dict[str, Any] = {"token": name, "logprob": -0.5, "bytes": list(text.encode())}
        other = {"token": "token_id:5", "logprob": -3.0, "bytes": [33]}
        content.append({**entry, "top_logprobs": [entry, other]})
    return {"content": content}


async def _event(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n")


async def _serve(port: int) -> None:
    runner = web.AppRunner(Engine().app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.engine", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
