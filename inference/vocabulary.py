"""Token ids as the text they stand for, from a tokenizer's own file, kept by its hash beside other artefacts.

Knows byte-level and byte-fallback tokenizers. A token is bytes, not text: a character may be split over
several. Leaves painting to inference.heatmap.
"""

import json
from functools import lru_cache
from typing import Any

import fsspec
from tokenizers import Tokenizer

ENDS = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|return|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
}
SENTENCEPIECE_SPACE = "\u2581"


def _byte_of_character() -> dict[str, int]:
    """GPT-2's byte-level alphabet: printable bytes stand for themselves, the rest for U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    rest = [byte for byte in range(256) if byte not in table.values()]
    return table | {chr(256 + i): byte for i, byte in enumerate(rest)}


BYTES = _byte_of_character()


class Vocabulary:
    """What each id of one tokenizer stands for."""

    def __init__(self, text: str) -> None:
        self._tokenizer = Tokenizer.from_str(text)
        self._byte_level = "ByteLevel" in json.dumps(json.loads(text).get("decoder"))
        added: dict[int, Any] = self._tokenizer.get_added_tokens_decoder()
        self._added = {index: token.content for index, token in added.items()}
        self._special = {index for index, token in added.items() if token.special}

    def special(self, token_id: int) -> str:
        """A special token's name in words (``end``, ``tool call``); "" for ordinary text."""
        if token_id not in self._special:
            return ""
        content = self._added[token_id]
        return "end" if content in ENDS else content.strip("<|/>[]").replace("_", " ").strip() or content

    def bytes(self, token_id: int) -> bytes | None:
        """The token's UTF-8 bytes, perhaps a part of a character; None for an id not in the vocabulary."""
        if token_id in self._added:
            return str(self._added[token_id]).encode()
        token: str | None = self._tokenizer.id_to_token(token_id)
        if token is None:
            return None
        if self._byte_level:
            return b"".join(bytes([BYTES[c]]) if c in BYTES else c.encode() for c in token)
        if len(token) == 6 and token.startswith("<0x"):
            return bytes([int(token[3:5], 16)])
        return token.replace(SENTENCEPIECE_SPACE, " ").encode()


@lru_cache(maxsize=8)
def _load(folder: str, sha256: str) -> Vocabulary:
    with fsspec.open(f"{folder}/tokenizers/{sha256}.json", "rt", encoding="utf-8") as file:
        return Vocabulary(file.read())


def load(folder: str, sha256: str) -> Vocabulary | None:
    """The vocabulary of the tokenizer with this hash; None when the artefacts' folder has none."""
    if len(sha256) != 64 or not sha256.isalnum():
        return None
    try:
        return _load(folder, sha256)
    except FileNotFoundError:
        return None
