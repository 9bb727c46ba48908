"""The demonstration's story: a clinic's coding desk, with an answer key that experts wrote.

Short clinical phrases from the official ICD-10-CM tabular list (descriptions and inclusion terms), each
with its 3-character category and its chapter, the label that the desk's model must give. Says which
phrases are asked and what is right; sends nothing and judges nothing. A demonstration, not a medical
product: phrases are dictionary entries, no patient is behind any.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

ROUTE = "icd-chapter"
"""The public model name that the desk's product calls."""
SYSTEM_PROMPT = "ICD-10-CM chapter desk."

LABELS: dict[int, str] = {
    1: "Infections",
    2: "Neoplasms",
    3: "Blood",
    4: "Endocrine",
    5: "Mental",
    6: "Nervous system",
    7: "Eye",
    8: "Ear",
    9: "Circulatory",
    10: "Respiratory",
    11: "Digestive",
    12: "Skin",
    13: "Musculoskeletal",
    14: "Genitourinary",
    15: "Pregnancy",
    16: "Perinatal",
    17: "Congenital",
    18: "Symptoms",
    19: "Injury",
    20: "External causes",
    21: "Health factors",
}
"""Chapter number to label. Chapter 22 (codes for special purposes) holds three codes and is left out."""

CODES: dict[int, str] = {
    1: "A00–B99",
    2: "C00–D49",
    3: "D50–D89",
    4: "E00–E89",
    5: "F01–F99",
    6: "G00–G99",
    7: "H00–H59",
    8: "H60–H95",
    9: "I00–I99",
    10: "J00–J99",
    11: "K00–K95",
    12: "L00–L99",
    13: "M00–M99",
    14: "N00–N99",
    15: "O00–O9A",
    16: "P00–P96",
    17: "Q00–Q99",
    18: "R00–R99",
    19: "S00–T88",
    20: "V00–Y99",
    21: "Z00–Z99",
}
"""Chapter number to its codes, as coders know them; the list of 2026 goes on to QA0."""

MAX_LENGTH = 60
_NAMES_A_CODE = re.compile(r"\bcodes?\b|\b[A-TV-Z]\d[0-9A-Z]", re.IGNORECASE)
"""Phrases that name codes ("conditions in J45") give the answer away or are notes to coders."""
_EPISODE = re.compile(r", (initial encounter|subsequent encounter|sequela)\b.*$")
"""The 7th character says which visit it is: three phrases for one condition."""
_SIDE = re.compile(r", (right|left|bilateral)\b.*$|(?<=\bof )(right|left) ", re.IGNORECASE)
_NOISE = re.compile(r"\bunspecified\b|\bnot elsewhere classified\b|\bNOS\b|\bNEC\b|^other\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Phrase:
    """One thing a product might ask, and the right answer."""

    text: str
    category: str
    """The code's first three characters, such as J45: what siblings share."""
    chapter: int
    label: str


@lru_cache(maxsize=1)
def phrases() -> tuple[Phrase, ...]:
    """All phrases, each once (case apart), in the tabular list's order.

    A text that stands in two chapters has no single right answer and is left out altogether.
    """
    found: dict[str, Phrase] = {}
    ambiguous: set[str] = set()
    for phrase in _read():
        key = phrase.text.casefold()
        known = found.setdefault(key, phrase)
        if known.chapter != phrase.chapter:
            ambiguous.add(key)
    return tuple(phrase for key, phrase in found.items() if key not in ambiguous)


def _read() -> Iterator[Phrase]:
    with warnings.catch_warnings():
        # It reads its own files the old way, which Python 3.11 announces at every import.
        warnings.simplefilter("ignore", DeprecationWarning)
        import simple_icd_10_cm as tabular  # noqa: PLC0415  (2 s; only who draws pays)

    for number, label in LABELS.items():
        for code in tabular.get_descendants(str(number)):
            if not tabular.is_leaf(code):
                continue
            category = code[:3]
            for text in (tabular.get_description(code), *tabular.get_inclusion_term(code)):
                short = clean(text)
                if short:
                    yield Phrase(short, category, number, label)


def clean(text: str) -> str:
    """The clinical core of an entry, or "" when nothing is left worth asking.

    Visit, side and coders' notes are cut off, so that one condition is one phrase.
    """
    short = _EPISODE.sub("", " ".join(text.split()))
    short = _SIDE.sub("", short).strip(" ,;")
    if not 4 <= len(short) <= MAX_LENGTH or _NOISE.search(short) or _NAMES_A_CODE.search(short):
        return ""
    return short


def draw(n: int, seed: int = 0, among: Iterable[Phrase] | None = None) -> list[Phrase]:
    """The first n phrases in an order that depends on the seed and the texts alone.

    Draws of the same seed are prefixes of each other: asking for more later repeats nothing. Raises
    ValueError when there are fewer than n.
    """
    pool = phrases() if among is None else among
    order = sorted(pool, key=lambda phrase: _rank(seed, phrase.text))
    if n > len(order):
        raise ValueError(f"asked for {n} phrases; there are {len(order)}")
    return order[:n]


def split(pool: Iterable[Phrase], exam_share: float, seed: int = 0) -> tuple[list[Phrase], list[Phrase]]:
    """(to learn from, for the exam): whole categories fall to one side, about `exam_share` to the exam."""
    train: list[Phrase] = []
    exam: list[Phrase] = []
    for phrase in pool:
        side = exam if _rank(seed, phrase.category) < exam_share * 2**64 else train
        side.append(phrase)
    return train, exam


def answer_key() -> dict[str, str]:
    """Phrase (casefolded) to its label: what the reference reviewer looks up."""
    return {phrase.text.casefold(): phrase.label for phrase in phrases()}


def _rank(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:8])
