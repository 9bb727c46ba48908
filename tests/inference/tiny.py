"""A tiny real tokenizer and answers made of its tokens."""

import json
import math

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from inference.answer import Tokens


def tokenizer_json() -> str:
    """A byte-level BPE with a chat's special tokens, trained on a few words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_end|>", "<|tool_call|>"],
    )
    tokenizer.train_from_iterator(
        ["Diseases of the respiratory system, wheezing after exercise"] * 9, trainer
    )
    tokenizer.add_special_tokens(
        [AddedToken("<|im_end|>", special=True), AddedToken("<|tool_call|>", special=True)]
    )
    return tokenizer.to_str()


def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json())


def special_id(content: str) -> int:
    """The id of a special token."""
    found = tokenizer().token_to_id(content)
    assert found is not None
    return found


def byte_fallback_json() -> str:
    """A SentencePiece-like vocabulary: spaces as U+2581, unknown bytes as <0xNN>."""
    vocabulary = {"<unk>": 0, "<0xF0>": 1, "<0x9F>": 2, "<0x98>": 3, "<0x80>": 4, "\u2581lung": 5}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    text = made.to_str()
    assert json.loads(text)["model"]["byte_fallback"]
    return text


def tokens(ids: list[int], probabilities: list[float], tops: list[list[tuple[int, float]]]) -> Tokens:
    """One choice's tokens; ``tops`` holds (id, probability) for each position, likeliest first."""
    flat = [pair for top in tops for pair in top]
    offsets = [0]
    for top in tops:
        offsets.append(offsets[-1] + len(top))
    logs = [math.log(p) if p else -9999.0 for p in probabilities]
    return Tokens(0, "wire", ids, logs, [i for i, _ in flat], [math.log(p) for _, p in flat], offsets)
