"""One choice's tokens inside the engine's front end: arrays as they come, copied at once, until the end.

What arrives from the engine's core are views of a message that holds a whole step's requests; keeping them
would keep the message. So each position's row is copied into plain buffers, and a long answer leaves them
for the spool while it grows: the memory of a request is bounded however long its answer. Knows numpy and the
record's form; nothing of vLLM beyond the order of its arrays, and nothing of files.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inference.engine.form import ID, LOGPROB, Holds, block

FLUSH_BYTES = 32 << 10
Arrays = Sequence[Any]
"""vLLM's ids and logprobs, each positions × (1 + alternatives), the token itself first; the rest unused."""


class Collector:
    """Takes a choice's arrays. ``write`` gets a block when one is full, and the rest at ``finish``."""

    __slots__ = (
        "_count",
        "_finish",
        "_full",
        "_ids",
        "_logprobs",
        "_prompt_from",
        "_top_k",
        "_width",
        "_write",
        "ended",
    )

    def __init__(
        self,
        top_k: int | None,
        prompt_from: int,
        write: Callable[[bytes], None],
        finish: Callable[[bytes, str, int], None],
    ) -> None:
        self._top_k, self._prompt_from = top_k, prompt_from
        self._write, self._finish = write, finish
        self._ids, self._logprobs = bytearray(), bytearray()
        self._count = self._width = 0
        # The first block is shorter by chance: answers that began together don't fill theirs in one step.
        self._full = random.randrange(FLUSH_BYTES // 8, FLUSH_BYTES)  # noqa: S311
        self.ended = False

    def take(self, arrays: Arrays) -> None:
        """A step's new positions: usually one, several where a draft was accepted."""
        if self._top_k is None:
            return
        ids, logprobs = arrays[0], arrays[1]
        # A request of another kind in the same batch may have narrowed everybody's.
        width = min(self._top_k + 1, ids.shape[1])
        if width != self._width:
            self._flush()
            self._width = width
        if ids.shape[1] > width:
            ids, logprobs = ids[:, :width], logprobs[:, :width]
        self._ids += _bytes(ids, ID)
        self._logprobs += _bytes(logprobs, LOGPROB)
        self._count += len(ids)
        if len(self._ids) * 2 >= self._full:
            self._full = FLUSH_BYTES
            self._flush()

    def take_rows(self, ids: bytes, logprobs: bytes, first: int, count: int, width: int) -> None:
        """The same from a whole step's matrices, ``width`` values a row: ``count`` rows from ``first`` on."""
        if self._top_k is None:
            return
        kept, size = min(self._top_k + 1, width), ID.itemsize
        if kept != self._width:
            self._flush()
            self._width = kept
        for row in range(first, first + count):
            begin, end = row * width * size, (row * width + kept) * size
            self._ids += ids[begin:end]
            self._logprobs += logprobs[begin:end]
        self._count += count
        if len(self._ids) * 2 >= self._full:
            self._full = FLUSH_BYTES
            self._flush()

    def take_prompt(self, arrays: Arrays, top_k: int) -> None:
        """A prompt's positions from the second one on, all at once: vLLM gives them when prefill is done."""
        start = max(0, self._prompt_from - 1)
        ids, logprobs = (np.asarray(one)[start:, : top_k + 1] for one in arrays[:2])
        for first in range(0, len(ids), step := max(1, FLUSH_BYTES // (8 * (top_k + 1)))):
            some, their = ids[first : first + step], logprobs[first : first + step]
            self._write(
                block(Holds.PROMPT, len(some), some.shape[1], _bytes(some, ID), _bytes(their, LOGPROB))
            )

    def end(self, finish: str, kept: int) -> None:
        """The choice has ended, for whatever reason, with ``kept`` tokens. Ending twice ends once."""
        if self.ended:
            return
        self.ended = True
        self._finish(self._taken(), finish, kept)

    def _flush(self) -> None:
        if self._count:
            self._write(self._taken())

    def _taken(self) -> bytes:
        if not self._count:
            return b""
        taken = block(Holds.SAMPLED, self._count, self._width, self._ids, self._logprobs)
        self._ids, self._logprobs, self._count = bytearray(), bytearray(), 0
        return taken


def _bytes(array: Any, dtype: np.dtype[Any]) -> bytes:
    """Row order, whatever the array's own type and layout."""
    return bytes((array if array.dtype == dtype else array.astype(dtype)).tobytes())
