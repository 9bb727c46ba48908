"""How sure the model was of each piece of its answer, ready to be painted.

Joins tokens to pieces that people can read (a character split over tokens is one piece), and puts each in
one of five classes by probability, entropy or margin. Pure but for reading the vocabulary. Leaves markup to
templates/inference/heatmap.html and moving about to heatmap.js.
"""

import codecs
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from inference.answer import Tokens
from inference.vocabulary import Vocabulary

WINDOW = 2000
"""Pieces painted at once."""
CLASSES = ("h0", "h1", "h2", "h3", "h4")
PROBABILITY = (0.9, 0.7, 0.5, 0.2)
ENTROPY = (0.25, 0.5, 1.0, 2.0)
MARGIN = (0.8, 0.5, 0.3, 0.1)
JOINER, VARIATION = "\u200d", "\ufe0f"
WHITESPACE = {" ": "space", "\n": "newline", "\t": "tab"}
GLYPHS = {" ": "·", "\n": "↵", "\t": "→"}


def heat(probability: float) -> str:
    """``h0`` (sure, unpainted) to ``h4``."""
    return CLASSES[sum(probability < limit for limit in PROBABILITY)]


def entropy(probabilities: list[float]) -> float:
    """Bits, from the known probabilities and one lumped tail, so it is at least this much."""
    tail = max(0.0, 1.0 - sum(probabilities))
    return -sum(p * math.log2(p) for p in [*probabilities, tail] if p > 0)


def is_control(character: str) -> bool:
    """Whether a character must be named instead of shown: controls, bidi marks and other invisibles."""
    if character in "\n\t\r" or character in (JOINER, VARIATION):
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Cn")


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of plain text, or one named character (``code`` is like ``U+202E``)."""

    text: str
    code: str = ""


def segments(text: str) -> list[Segment]:
    """Plain runs and named characters, in order."""
    found: list[Segment] = []
    run = ""
    for character in text:
        if is_control(character):
            found += [Segment(run)] if run else []
            found.append(Segment("", f"U+{ord(character):04X}"))
            run = ""
        else:
            run += character
    return found + ([Segment(run)] if run else [])


def visible(text: str) -> str:
    """A piece standing alone, for lists: spaces and line ends as glyphs, invisibles by name."""
    shown = "".join(f"U+{ord(c):04X}" if is_control(c) else GLYPHS.get(c, c) for c in text)
    return shown.removeprefix("·") if shown.startswith("·") and len(shown) > 1 else shown


@dataclass(slots=True)
class Alternative:
    """Something the model could have written at a position."""

    text: str
    probability: float
    chosen: bool = False


@dataclass(slots=True)
class Piece:
    """One span of the heat map: usually one token, several when they make up one character."""

    index: int
    text: str
    tokens: list[int]
    logprobs: list[float]
    special: str = ""
    alternatives: list[Alternative] = field(default_factory=list)
    rest: float = 0.0
    rank: int | None = None
    entropy: float = 0.0
    margin: float = 1.0

    @property
    def probability(self) -> float:
        return math.exp(min(0.0, sum(self.logprobs)))

    @property
    def heat(self) -> str:
        return heat(self.probability)

    @property
    def unsure(self) -> bool:
        return self.heat != "h0"

    @property
    def place(self) -> int:
        """Counted from one, as people do."""
        return self.index + 1

    @property
    def lead(self) -> str:
        """A leading space, which stays unpainted; "" when the piece is nothing but whitespace."""
        return " " if self.text.startswith(" ") and self.text.strip() else ""

    @property
    def segments(self) -> list[Segment]:
        return segments(self.text.removeprefix(self.lead))

    @property
    def whitespace(self) -> str:
        """``space``, ``tab`` or ``newline`` for a piece of only that, else ""."""
        if self.special or self.text.strip():
            return ""
        return WHITESPACE.get("\n" if "\n" in self.text else self.text[:1], "")

    @property
    def visible(self) -> str:
        return self.special or visible(self.text)

    @property
    def runner_up(self) -> Alternative | None:
        """The likeliest that was not chosen."""
        return next((a for a in self.alternatives if not a.chosen), None)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """One choice's pieces, or in ``missing`` why there are none."""

    ident: str
    pieces: list[Piece] = field(default_factory=list)
    missing: str = ""
    total: int = 0
    start: int = 0
    source: str = ""
    mode: str = ""
    known: bool = True
    details: bool = False
    logprob: float = 0.0
    """Of the whole answer."""

    @property
    def probability(self) -> float:
        """Of the whole answer: the product over all its tokens."""
        return math.exp(min(0.0, self.logprob))

    @property
    def unsure(self) -> int:
        return sum(piece.unsure for piece in self.pieces)

    @property
    def first(self) -> int:
        """Place of the first token shown, counted from one."""
        return self.start + 1

    @property
    def last(self) -> int:
        return min(self.total, self.start + WINDOW)

    @property
    def least_sure_first(self) -> list[Piece]:
        return sorted(self.pieces, key=lambda piece: piece.probability)[:200]

    @property
    def earlier(self) -> int | None:
        return max(0, self.start - WINDOW) if self.start else None

    @property
    def later(self) -> int | None:
        return self.start + WINDOW if self.start + WINDOW < self.total else None

    @property
    def data(self) -> dict[str, Any]:
        """What heatmap.js needs for the popover; ids, logprobs and the like only where ``details``."""
        return {
            "pieces": [_data(piece, self.details) for piece in self.pieces],
            "limits": {"probability": PROBABILITY, "entropy": ENTROPY, "margin": MARGIN},
            "source": self.source if self.details else "",
            "mode": self.mode if self.details else "",
        }

    @property
    def json(self) -> str:
        """``data`` as text."""
        return orjson.dumps(self.data).decode()


def _data(piece: Piece, details: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "i": piece.index,
        "t": piece.visible,
        "p": round(piece.probability, 6),
        "e": round(piece.entropy, 4),
        "m": round(piece.margin, 4),
        "rank": piece.rank,
        "top": [[a.text, round(a.probability, 6), a.chosen] for a in piece.alternatives],
        "rest": round(piece.rest, 6),
    }
    if details:
        shown["ids"] = piece.tokens
        shown["lp"] = [round(value, 4) for value in piece.logprobs]
    return shown


def paint(
    tokens: Tokens,
    vocabulary: Vocabulary | None,
    *,
    ident: str = "heat",
    mode: str = "",
    details: bool = False,
    start: int = 0,
) -> HeatMap:
    """The heat map of one choice's tokens from position ``start`` on, at most WINDOW of them."""
    stop = min(len(tokens.ids), start + WINDOW)
    pieces: list[Piece] = []
    for piece in _pieces(tokens, vocabulary, start, stop):
        if pieces and _continues(pieces[-1], piece):
            _join(pieces[-1], piece)
        else:
            pieces.append(piece)
    return HeatMap(
        ident=ident,
        pieces=pieces,
        total=len(tokens.ids),
        start=start,
        source=tokens.source,
        mode=mode,
        known=vocabulary is not None,
        details=details,
        logprob=sum(tokens.logprobs),
    )


def _pieces(tokens: Tokens, vocabulary: Vocabulary | None, start: int, stop: int) -> Iterator[Piece]:
    """Whole characters: tokens are collected until their bytes end with one."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, first = "", start
    for i in range(start, stop):
        special = vocabulary.special(tokens.ids[i]) if vocabulary else ""
        known = vocabulary.bytes(tokens.ids[i]) if vocabulary else None
        named = special or (f"#{tokens.ids[i]}" if known is None else "")
        text += decoder.decode(b"" if named else known or b"", final=bool(named) or i == stop - 1)
        if named and first < i:
            yield _piece(tokens, vocabulary, range(first, i), text)
            text, first = "", i
        if named or not decoder.getstate()[0]:
            yield replace(_piece(tokens, vocabulary, range(first, i + 1), text), special=named)
            text, first = "", i + 1


def _piece(tokens: Tokens, vocabulary: Vocabulary | None, at: range, text: str) -> Piece:
    span = slice(at.start, at.stop)
    piece = Piece(at.start, text, tokens.ids[span], tokens.logprobs[span])
    if len(at) == 1:
        _rank(piece, tokens, vocabulary, at.start)
    else:
        parts = zip(piece.tokens, piece.logprobs, strict=True)
        piece.alternatives = [Alternative(_name(vocabulary, t), math.exp(p), True) for t, p in parts]
    return piece


def _rank(piece: Piece, tokens: Tokens, vocabulary: Vocabulary | None, i: int) -> None:
    """Fill in the alternatives of a piece that is one token."""
    span = slice(tokens.top_offsets[i], tokens.top_offsets[i + 1])
    ranked = list(zip(tokens.top_ids[span], tokens.top_logprobs[span], strict=True))
    chosen = tokens.ids[i]
    listed = [token for token, _ in ranked]
    piece.rank = listed.index(chosen) + 1 if chosen in listed else None
    if piece.rank is None:
        ranked.append((chosen, tokens.logprobs[i]))
    ranked.sort(key=lambda pair: -pair[1])
    piece.alternatives = [Alternative(_name(vocabulary, t), math.exp(p), t == chosen) for t, p in ranked]
    probabilities = [a.probability for a in piece.alternatives]
    piece.rest = max(0.0, 1.0 - sum(probabilities))
    piece.entropy = entropy(probabilities)
    second = probabilities[1] if len(probabilities) > 1 else piece.rest
    piece.margin = probabilities[0] - second


def _name(vocabulary: Vocabulary | None, token_id: int) -> str:
    if vocabulary is None:
        return f"#{token_id}"
    known = vocabulary.bytes(token_id)
    if known is None:
        return f"#{token_id}"
    special = vocabulary.special(token_id)
    try:
        return special or visible(known.decode())
    except UnicodeDecodeError:
        return "part of a character (" + " ".join(f"{byte:02X}" for byte in known) + ")"


def _continues(before: Piece, piece: Piece) -> bool:
    """Whether a piece belongs to the character before it: combining marks, variation selectors, joiners."""
    if before.special or piece.special or not piece.text or not before.text.strip():
        return False
    first = piece.text[0]
    joined = first in (JOINER, VARIATION) or before.text.endswith(JOINER)
    return joined or unicodedata.combining(first) > 0 or 0x1F3FB <= ord(first) <= 0x1F3FF


def _join(before: Piece, piece: Piece) -> None:
    both = [before, piece]
    before.alternatives = [
        part
        for each in both
        for part in (
            each.alternatives if len(each.tokens) > 1 else [a for a in each.alternatives if a.chosen]
        )
    ]
    before.text += piece.text
    before.tokens += piece.tokens
    before.logprobs += piece.logprobs
    before.rank, before.rest = None, 0.0
    before.entropy += piece.entropy
    before.margin = min(before.margin, piece.margin)
