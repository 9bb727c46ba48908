"""An item as somebody reads it who is not to see personal data, and what they type over it.

Finds become placeholders by inference.masking, the same throughout a conversation (an item's group), made
with a key of the site's own. What is typed comes back in the item's own words: for a placeholder that stands
for one spelling, that is put back. One that could be several stays, and its row comes into no dataset
(``unclear``). Who reads masked is in annotations.access.
"""

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from django.utils.crypto import salted_hmac

from annotations import questions
from annotations.judging import Judgement, NotTaken, Refused
from annotations.models import Adjudication, Annotation, Item, Queue, Suggestion
from annotations.questions import Kind
from inference import masking
from inference.masking import PLACEHOLDER, Masker
from inference.personal import Finder, Found

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LONG_NUMBER = 10**8
_BROKEN = r"\[(?:{kinds})\b[ 0-9a-f]{{0,8}}\]?"
"""What is left of a placeholder when a part of it was deleted."""


@cache
def _finder() -> Finder:
    return masking.finder()


def _masker(scope: str) -> Masker:
    key = salted_hmac("annotations.masks", "placeholders", algorithm="sha256").digest()
    return Masker(_finder(), key, scope)


@dataclass(frozen=True, slots=True)
class Piece:
    """A placeholder in a masked text, and what it stands for in the text before: both as [start, end)."""

    start: int
    end: int
    raw_start: int
    raw_end: int


def unclear(text: str, item: Item) -> bool:
    """Whether a text holds a placeholder that its item's own texts don't: then it says less than its writer
    meant, and nothing should learn from it.
    """
    found = set(PLACEHOLDER.findall(text))
    if not found:
        return False
    own = f"{item.answer}\n{item.other_answer}\n{json.dumps(item.messages, ensure_ascii=False)}"
    return any(one not in own for one in found)


def words(text: str, queue: Queue) -> str:
    """A text that belongs to no item, such as a queue's filter line."""
    return _Masked(_masker(f"queue {queue.pk}"), text).text


class _Masked:
    """One text: how it reads with placeholders, and where they stand."""

    def __init__(self, masker: Masker, raw: str) -> None:
        self.raw, self.pieces = raw, list[Piece]()
        parts, at, length = list[str](), 0, 0
        for one in _finds(masker.finder, raw):
            made = masker.placeholder(one, raw)
            parts += [raw[at : one.start], made]
            start = length + one.start - at
            length, at = start + len(made), one.end
            self.pieces.append(Piece(start, length, one.start, one.end))
        self.text = "".join((*parts, raw[at:]))

    def raw_of(self, piece: Piece) -> str:
        return self.raw[piece.raw_start : piece.raw_end]

    def outward(self, start: int, end: int) -> tuple[int, int]:
        """A part of the masked text in the raw one: what touches a placeholder takes all of it."""
        return self._raw_place(start, first=True), self._raw_place(end, first=False)

    def _raw_place(self, at: int, *, first: bool) -> int:
        moved = 0
        for piece in self.pieces:
            if at >= piece.end:
                moved = piece.raw_end - piece.end
            elif piece.start < at < piece.end or (first and at == piece.start):
                return piece.raw_start if first else piece.raw_end
        return at + moved


def _finds(finder: Finder, text: str) -> list[Found]:
    """Finds, and string literals in which one stands behind JSON's escapes, whole."""
    found = finder.find(text)
    for literal in _LITERAL.finditer(text) if "\\" in text else ():
        inner = _finds(finder, said) if (said := _said(literal[0])) else []
        start, end = literal.start() + 1, literal.end() - 1
        if inner and not any(one.start < end and start < one.end for one in found):
            found.append(Found(inner[0].kind, start, end))
    return sorted(found, key=lambda one: one.start)


def _said(literal: str) -> str:
    """What a literal with escapes says; "" for any other, and for what is no JSON."""
    try:
        return str(json.loads(literal, strict=False)) if "\\" in literal else ""
    except ValueError:
        return ""


class Mask:
    """One item as it is read masked."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self._masker = _masker(item.group or str(item.exchange_id))
        self._spellings: dict[str, list[str]] = {}
        """Placeholder → how it is spelled in the item, the answer's spellings first."""
        self._answer = self._read(item.answer)
        self._of_answer = {made: list(raws) for made, raws in self._spellings.items()}

    @cached_property
    def item(self) -> Item:
        """The item with placeholders, its verdict too: a copy to be read, never saved."""
        shown = copy.copy(self._asked)
        shown.verdict_answer = self.text(self._item.verdict_answer)
        shown.verdict_values = self._said(self._item.verdict_values)
        return shown

    @cached_property
    def _asked(self) -> Item:
        """With what was asked and answered read: all texts whose spellings a placeholder can stand for."""
        shown = copy.copy(self._item)
        shown.answer = self._answer.text
        shown.other_answer = self._read(self._item.other_answer).text
        shown.messages, shown.tools = self._value(self._item.messages), self._value(self._item.tools)
        return shown

    @property
    def hides(self) -> bool:
        """Whether anything is masked."""
        return bool(self._asked and self._spellings)

    def _read(self, raw: str) -> _Masked:
        masked = _Masked(self._masker, raw)
        for piece in masked.pieces:
            spellings = self._spellings.setdefault(masked.text[piece.start : piece.end], [])
            if (spelled := masked.raw_of(piece)) not in spellings:
                spellings.append(spelled)
        return masked

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._read(value).text
        if isinstance(value, dict):
            return {self._read(str(name)).text: self._value(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if isinstance(value, int) and not isinstance(value, bool) and value >= _LONG_NUMBER:
            masked = self._read(str(value)).text
            return value if masked == str(value) else masked
        return value

    def text(self, text: str) -> str:
        """Any other text about the item: the item's own values are known in it, however they stand there."""
        assert self._asked
        known = [(raw, made) for made, raws in self._spellings.items() for raw in raws]
        for raw, made in sorted(known, key=lambda pair: -len(pair[0])):
            text = text.replace(raw, made)
        return _Masked(self._masker, text).text

    def told(self, told: NotTaken) -> NotTaken:
        """Why something was not taken, without what the person may not see."""
        return type(told)(self.text(told.message), told.field)

    def suggestion(self, one: Suggestion | None) -> Suggestion | None:
        """What a model said of the item, to be read."""
        if one is None:
            return None
        shown = copy.copy(one)
        shown.answer, shown.reason = self.text(one.answer), self.text(one.reason)
        return shown

    def annotation(self, one: Annotation) -> Annotation:
        """What somebody said of the item, to be read; with the masked item."""
        shown = copy.copy(one)
        shown.item = self.item
        shown.answer, shown.note, shown.reason = (
            self.text(one.answer),
            self.text(one.note),
            self.text(one.reason),
        )
        shown.values = {name: self._said(value) for name, value in one.values.items()}
        return shown

    def adjudication(self, one: Adjudication) -> Adjudication:
        """What a lead decided, to be read; with the masked item."""
        shown = copy.copy(one)
        shown.item = self.item
        shown.answer, shown.why = self.text(one.answer), self.text(one.why)
        shown.values = self._said(one.values)
        return shown

    def _said(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._said(one) for one in value]
        if isinstance(value, dict):
            return {name: self._said(one) for name, one in value.items()}
        return self.text(value) if isinstance(value, str) else value

    def read(self, said: Judgement) -> Judgement:
        """A judgement as it is meant of the item itself. Raises Refused on a placeholder that was broken."""
        if not self.hides:
            return said
        given = {name: self._given(name, values) for name, values in said.given.items()}
        return replace(said, answer=self._restore(said.answer), given=given)

    def _restore(self, text: str) -> str:
        for made in self._spellings:
            if (raw := self._spelled(made)) is not None:
                text = text.replace(made, raw)
        if broken := self._broken(text):
            raise Refused(
                f"“{broken}” is a piece of a placeholder. Put in the whole one, or take all of it out.",
                "answer",
            )
        return text

    def _spelled(self, made: str) -> str | None:
        """The one spelling that a placeholder stands for: the answer's before others; None of several."""
        raws = self._of_answer.get(made) or self._spellings[made]
        return raws[0] if len(raws) == 1 else None

    def _broken(self, text: str) -> str:
        kinds = "|".join(sorted({re.escape(made[1:].partition(" ")[0]) for made in self._spellings}))
        whole = set(PLACEHOLDER.findall(text))
        for match in re.finditer(_BROKEN.format(kinds=kinds), text):
            if match[0] not in whole:
                return match[0]
        cores = (made.strip("[]") for made in self._spellings)
        rest = PLACEHOLDER.sub("", text)
        return next((core for core in cores if core in rest), "")

    def _given(self, name: str, values: Sequence[str]) -> list[str]:
        """Marks on the masked answer become marks on the answer; all else is as it was given."""
        asked = next((one for one in self._item.queue.asked if one.name == name), None)
        if asked is None or asked.kind != Kind.SPANS:
            return list(values)
        # Places count each line end as one: so they are found in texts that have it so.
        masked = _Masked(self._masker, self._item.answer.replace("\r\n", "\n").replace("\r", "\n"))
        try:
            spans = questions.read(replace(asked, required=False), values, masked.text) or []
        except questions.Unfit as unfit:
            raise Refused(str(unfit), asked.field) from unfit
        for span in spans:
            span["start"], span["end"] = masked.outward(span["start"], span["end"])
        return [json.dumps(spans)] if spans else []
