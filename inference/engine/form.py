"""The form of the record that an engine's spool keeps of one choice. Pure; inference.captured reads it.

The body is a sequence of blocks, so that a long answer goes to disk while it grows: what the block holds (one
byte), positions n (four bytes), width w (four), then n·w ids as int32 and n·w logprobs as float32, little
endian. A row begins with the token itself and goes on with its alternatives in descending order. A prompt's
ids come as a block without logprobs.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np

KIND = "tokens"
"""The record's kind in its header."""
DROPPED = "dropped"
"""The end of a record that the plugin gave up halfway, for want of disk."""
HEAD = struct.Struct("<BII")
ID, LOGPROB = np.dtype("<i4"), np.dtype("<f4")


class Holds(IntEnum):
    """What a block holds."""

    SAMPLED = 1
    """Generated tokens, each with its alternatives."""
    PROMPT = 2
    """Prompt tokens, each with its alternatives: the first position has none and is left out."""
    PROMPT_IDS = 3
    """The prompt's ids, without logprobs."""


def block(holds: Holds, count: int, width: int, ids: bytes | bytearray, logprobs: bytes | bytearray) -> bytes:
    """A block's bytes, from arrays' bytes in row order."""
    return b"".join((HEAD.pack(holds, count, width), ids, logprobs))
