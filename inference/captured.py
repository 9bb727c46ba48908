"""What an engine's plugin kept of a choice's tokens, read from its record. Pure.

The record's form is in inference.engine.form; the values are the ones that inference.answer reads from the
wire, so that how tokens were taken concerns nobody downstream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.answer import Tokens
from inference.engine.form import HEAD, ID, LOGPROB, Holds
from inference.raw import RawExchange


@dataclass(frozen=True, slots=True)
class CapturedTokens:
    """What an engine kept of one choice of an exchange."""

    exchange_id: str
    attempt: int
    started_us: int
    """The exchange's."""
    weights: str
    tokenizer: str
    logprobs_mode: str
    tokens: Tokens
    prompt_ids: list[int]
    """Only with a prompt's first choice."""
    finish: str
    """stop, length, abort, error as the engine ended it; empty when the engine died."""
    complete: bool
    """Whether there are as many positions as the engine says it generated."""


def read(raw: RawExchange) -> CapturedTokens:
    """The record of an engine's spool. Raises ValueError on another's.

    A record without its end (the engine was killed) gives the tokens that had come to disk.
    """
    try:
        opened, closed = raw.opened, raw.closed
        blocks = [*_blocks(raw.request), *_blocks(raw.response)]
        scoring = bool(opened["prompt_from"]) or any(holds is Holds.PROMPT for holds, *_ in blocks)
        wanted = Holds.PROMPT if scoring else Holds.SAMPLED
        kept = closed.get("kept")
        found = [(ids, logprobs) for holds, ids, logprobs in blocks if holds is wanted]
        tokens, count = _tokens(opened, found, None if scoring else kept)
        return CapturedTokens(
            exchange_id=opened["exchange_id"],
            attempt=opened["attempt"],
            started_us=opened["started_us"],
            weights=opened["weights"],
            tokenizer=opened["tokenizer"],
            logprobs_mode=opened["logprobs_mode"],
            tokens=tokens,
            prompt_ids=[
                i for holds, ids, _ in blocks if holds is Holds.PROMPT_IDS for i in ids[:, 0].tolist()
            ],
            finish=closed.get("finish", ""),
            complete=scoring or kept == count,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record of tokens: {error!r}") from error


_Ids = np.ndarray[tuple[int, int], np.dtype[np.int32]]
_Logprobs = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def _blocks(body: bytes) -> Iterator[tuple[Holds, _Ids, _Logprobs]]:
    at = 0
    while at < len(body):
        if len(body) - at < HEAD.size:
            raise ValueError("a block's head is cut off")
        holds, count, width = HEAD.unpack_from(body, at)
        at += HEAD.size
        size, has_logprobs = count * width * ID.itemsize, holds != Holds.PROMPT_IDS
        if len(body) - at < size * (1 + has_logprobs):
            raise ValueError("a block is cut off")
        ids = np.frombuffer(body, ID, count * width, at).reshape(count, width)
        logprobs = np.frombuffer(body, LOGPROB, count * width * has_logprobs, at + size)
        yield Holds(holds), ids, logprobs.reshape(count if has_logprobs else 0, width)
        at += size * (1 + has_logprobs)


def _tokens(
    opened: dict[str, Any], found: list[tuple[_Ids, _Logprobs]], kept: int | None
) -> tuple[Tokens, int]:
    """The arrays as a choice's tokens, and how many positions came; of more than were kept the rest goes."""
    tokens = Tokens(opened["choice"], opened["source"], [], [], [], [], [0])
    for ids, logprobs in found:
        left = len(ids) if kept is None else min(len(ids), kept - len(tokens.ids))
        tokens.ids.extend(ids[:left, 0].tolist())
        tokens.logprobs.extend(logprobs[:left, 0].tolist())
        tokens.top_ids.extend(ids[:left, 1:].ravel().tolist())
        tokens.top_logprobs.extend(logprobs[:left, 1:].ravel().tolist())
        begin, top_k = tokens.top_offsets[-1], ids.shape[1] - 1
        tokens.top_offsets.extend(begin + top_k * (position + 1) for position in range(left))
    return tokens, len(tokens.ids)
