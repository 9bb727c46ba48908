"""Ids as text, from real tokenizers' files."""

import hashlib
from pathlib import Path

import pytest

from inference import vocabulary
from inference.vocabulary import Vocabulary
from tests.inference import tiny

TEXT = "Diseases of the respiratory system: wheezing ☃ 𝄞 naïve\n\tend"


def test_byte_level_tokens_join_to_the_very_text() -> None:
    known = Vocabulary(tiny.tokenizer_json())
    parts = [known.bytes(token) for token in tiny.tokenizer().encode(TEXT).ids]
    assert b"".join(part for part in parts if part is not None).decode() == TEXT
    assert len(parts) > 10


def test_byte_fallback_tokens_are_single_bytes_and_spaces() -> None:
    known = Vocabulary(tiny.byte_fallback_json())
    assert known.bytes(5) == b" lung"
    assert b"".join(known.bytes(i) or b"" for i in (1, 2, 3, 4)).decode() == "😀"


def test_special_tokens_have_names_in_words() -> None:
    known = Vocabulary(tiny.tokenizer_json())
    ids = tiny.tokenizer()
    assert known.special(tiny.special_id("<|im_end|>")) == "end"
    assert known.special(tiny.special_id("<|tool_call|>")) == "tool call"
    assert known.special(ids.encode("wheezing").ids[0]) == ""


def test_an_id_outside_the_vocabulary_is_none() -> None:
    assert Vocabulary(tiny.tokenizer_json()).bytes(123_456) is None


def test_it_is_found_by_its_hash_and_only_by_a_hash(tmp_path: Path) -> None:
    text = tiny.tokenizer_json()
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / f"{sha256}.json").write_text(text)
    found = vocabulary.load(str(tmp_path), sha256)
    assert found is not None
    assert found.bytes(tiny.tokenizer().encode("w").ids[0]) == b"w"
    assert vocabulary.load(str(tmp_path), "0" * 64) is None


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", "../" * 21 + "x"])
def test_a_name_that_is_no_hash_opens_no_file(tmp_path: Path, sha256: str) -> None:
    assert vocabulary.load(str(tmp_path), sha256) is None
