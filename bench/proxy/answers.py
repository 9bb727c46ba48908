"""The canned answers: 64 tokens as vLLM sends them, with the top 5 of each by id or without logprobs.

Knows the bytes only; who sends them is in upstream.py and paced.py.
"""

from typing import Any

import orjson

TOKENS = 64
SHOWN = 6
"""Alternatives a token: to be sure of the top 5, the proxy asks for one more (the sampled one counts)."""
STAMP = 1_000_000_000_000_000_000
"""Stands where an event's time of sending goes, in its text; as wide as nanoseconds since 1970 are."""
_CREATED = 1_790_000_000
"""The same in all events of a stream, as an engine has it."""
WORD = " word"
TEXT = WORD * TOKENS
_FIRST_ID = 1_000


def _named(token: int) -> str:
    return f"token_id:{token}"


def _ranked(token: int) -> dict[str, Any]:
    text = _named(token)
    return {"token": text, "logprob": -1.8448139429092407, "bytes": list(text.encode())}


def _position(token: int) -> dict[str, Any]:
    """One token with its alternatives: the sampled one counts among the engine's top."""
    sampled = {"token": _named(token), "logprob": -1.8448139429092407, "bytes": list(WORD.encode())}
    return {**sampled, "top_logprobs": [_ranked(token + rank) for rank in range(SHOWN)]}


def _usage() -> dict[str, int]:
    return {"prompt_tokens": 28, "total_tokens": 28 + TOKENS, "completion_tokens": TOKENS}


def whole(*, logprobs: bool) -> bytes:
    """A chat's answer in one piece: 50 KB with logprobs, 1 KB without."""
    ids = list(range(_FIRST_ID, _FIRST_ID + TOKENS))
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": TEXT,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        },
        "logprobs": {"content": [_position(one) for one in ids]} if logprobs else None,
        "finish_reason": "length",
        "stop_reason": None,
        "token_ids": ids if logprobs else None,
        "routed_experts": None,
    }
    return orjson.dumps(
        {
            **_head("chat.completion"),
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": "vllm-0.32.0",
            "usage": _usage(),
            "prompt_logprobs": None,
            "prompt_token_ids": list(range(28)) if logprobs else None,
            "prompt_text": None,
            "kv_transfer_params": None,
        }
    )


def events(*, logprobs: bool, usage: bool = True, word: str = WORD) -> list[bytes]:
    """The same as a stream's events: 64 KB with logprobs, 15 KB without. ``word``: each token's text."""
    made = [_event({"role": "assistant", "content": ""}, None, None)]
    for position in range(TOKENS):
        token = _FIRST_ID + position if logprobs else None
        made.append(_event({"content": word}, token, "length" if position == TOKENS - 1 else None))
    if usage:
        made.append(_dump({**_head("chat.completion.chunk"), "choices": [], "usage": _usage()}))
    return [*made, b"data: [DONE]\n\n"]


def _event(delta: dict[str, str], token: int | None, finish: str | None) -> bytes:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None if token is None else {"content": [_position(token)]},
        "finish_reason": finish,
        "token_ids": None if token is None else [token],
    }
    return _dump({**_head("chat.completion.chunk"), "choices": [choice]})


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-912093d8cd5fb85f", "object": kind, "created": _CREATED, "model": "m"}


def _dump(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
