"""What a queue asks, as data: the kinds of question, what a definition must hold, what an answer may be.

A queue has a leading question, whose answer makes the verdict, and any number of further ones. Pure: knows
neither models nor pages. What several answers add up to is in annotations.verdicts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.utils.text import slugify

MAIN = "main"
"""The leading question's name."""
FIELD = "q-"
"""A form's fields for answers begin with it, then comes the question's name."""
MOST_OPTIONS = 60
MOST_FURTHER = 8
KEYS = 9
"""Options beyond have no number key."""
IN_BAR = 5
"""So many buttons fit where Approve, Reject and Correct would stand."""
_LONGEST_TEXT = 20_000
_MOST_MARKS = 500


class Kind:
    """What a question asks for."""

    APPROVE = "approve"
    TOOL_CALL = "tool_call"
    CHOICE = "choice"
    CHOICES = "choices"
    RATING = "rating"
    PAIR = "pair"
    TEXT = "text"
    SPANS = "spans"
    TOKENS = "tokens"


KINDS = {
    Kind.APPROVE: "approve, reject or correct the answer",
    Kind.TOOL_CALL: "approve, reject or correct a tool call",
    Kind.CHOICE: "one of several",
    Kind.CHOICES: "any of several",
    Kind.RATING: "a rating",
    Kind.PAIR: "which of two answers is better",
    Kind.TEXT: "free text",
    Kind.SPANS: "mark words of the answer",
    Kind.TOKENS: "mark pieces the model was unsure of",
}
VERDICTS = (Kind.APPROVE, Kind.TOOL_CALL)
"""Kinds that are answered by approving, rejecting or correcting; they can only lead."""
ONE_PRESS = (Kind.CHOICE, Kind.RATING, Kind.PAIR)
"""Kinds whose answer is a single press."""
COMPARED = (*VERDICTS, *ONE_PRESS, Kind.CHOICES)
"""Kinds in which two people can say the same; the others are collected."""
LABELLED = (Kind.CHOICE, Kind.CHOICES, Kind.SPANS, Kind.TOKENS)
"""Kinds that need options."""
FURTHER = tuple(kind for kind in KINDS if kind not in (*VERDICTS, Kind.PAIR))
PAIR = {"left": "Left is better", "right": "Right is better", "equal": "Equal", "neither": "Both bad"}
"""What is pressed, as the sides are shown; stored are first and second, whatever side they were on."""
_SIDES = {"left": ("first", "second"), "right": ("second", "first")}
RATINGS = ("1", "2", "3", "4", "5")


class Unfit(ValueError):  # noqa: N818 - it is told to a person
    """An answer or a definition that does not fit; the text is for people."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked. ``options`` are choices, labels, or the words of a rating's steps."""

    name: str
    kind: str
    words: str
    options: tuple[str, ...] = ()
    required: bool = True

    @property
    def field(self) -> str:
        """Its field in a form."""
        return FIELD + self.name

    @property
    def in_bar(self) -> bool:
        """Whether its answers stand in the bar."""
        return self.name == MAIN and self.kind in ONE_PRESS and len(self.pressed) <= IN_BAR

    @property
    def pressed(self) -> list[tuple[str, str]]:
        """(value, words) of each button or box."""
        if self.kind == Kind.PAIR:
            return list(PAIR.items())
        if self.kind == Kind.RATING:
            return [(str(step), words) for step, words in enumerate(self.options or RATINGS, 1)]
        return [(option, option) for option in self.options]

    def as_dict(self) -> dict[str, Any]:
        """For a queue's JSON; ``from_dict`` reads it back."""
        return {
            "name": self.name,
            "kind": self.kind,
            "words": self.words,
            "options": list(self.options),
            "required": self.required,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Question":
        """Raises Unfit on what is no question."""
        try:
            found = cls(
                str(stored["name"]),
                str(stored["kind"]),
                str(stored["words"]),
                tuple(str(option) for option in stored.get("options", ())),
                bool(stored.get("required", True)),
            )
        except (KeyError, TypeError) as error:
            raise Unfit("A question needs a name, a kind and words.") from error
        return found


def check(question: Question) -> None:
    """Raise Unfit when a definition can't be asked."""
    if question.kind not in KINDS:
        raise Unfit(f"“{question.kind}” is no kind of question.")
    if question.name != MAIN and question.kind not in FURTHER:
        raise Unfit("Approving and comparing can only be a queue's leading question.")
    if not question.words.strip() or len(question.words) > 200:
        raise Unfit("A question has words, at most 200 characters.")
    if question.name != MAIN and (slugify(question.name) != question.name or len(question.name) > 40):
        raise Unfit(f"“{question.name}” is no name of a question.")
    if question.kind in LABELLED and len(question.options) < 2 - (question.kind in (Kind.SPANS, Kind.TOKENS)):
        raise Unfit("Write what can be chosen, one a line.")
    if question.kind == Kind.RATING and len(question.options or RATINGS) > KEYS:
        raise Unfit(f"A rating has at most {KEYS} steps: there are nine number keys.")
    if question.kind in (Kind.SPANS, Kind.TOKENS) and len(question.options) > KEYS:
        raise Unfit(f"At most {KEYS} labels: there are nine number keys.")
    if len(question.options) > MOST_OPTIONS and question.kind not in VERDICTS:
        raise Unfit(f"At most {MOST_OPTIONS} options.")
    if any(not option.strip() or len(option) > 200 for option in question.options):
        raise Unfit("An option has 1 to 200 characters.")


def read(question: Question, given: Sequence[str], text: str, *, swapped: bool = False) -> Any:
    """The value of what a form gave, None for nothing. ``text`` is the model's answer, for marks on it.

    A choice is its option, choices a list in the options' order, a rating a number from 1, a preference
    ``first``, ``second``, ``equal`` or ``neither``, spans {start, end, label} in characters of the answer,
    each line end one, tokens {index, label, text}. Raises Unfit.
    """
    values = [value for value in given if value.strip()]
    if not values:
        if question.required and question.kind not in VERDICTS:
            raise Unfit(_ASK.get(question.kind, "Choose an answer."))
        return None
    return _READERS[question.kind](question, values, text, swapped)


_ASK = {
    Kind.CHOICES: "Choose at least one.",
    Kind.TEXT: "Write an answer.",
    Kind.SPANS: "Mark at least one piece of the answer.",
    Kind.TOKENS: "Mark at least one piece of the answer.",
}


def _choice(question: Question, values: list[str], text: str, swapped: bool) -> str:
    [value] = values[-1:]
    if value not in question.options:
        raise Unfit(f"“{value}” is not one of the answers. Choose one of them.")
    return value


def _choices(question: Question, values: list[str], text: str, swapped: bool) -> list[str]:
    for value in values:
        _choice(question, [value], text, swapped)
    return [option for option in question.options if option in values]


def _rating(question: Question, values: list[str], text: str, swapped: bool) -> int:
    steps = len(question.pressed)
    value = values[-1].strip()
    if not (value.isdecimal() and len(value) == 1 and 1 <= int(value) <= steps):
        raise Unfit(f"Choose a number from 1 to {steps}.")
    return int(value)


def _pair(question: Question, values: list[str], text: str, swapped: bool) -> str:
    value = values[-1]
    if value not in PAIR:
        raise Unfit("Choose one of the four answers.")
    return _SIDES[value][swapped] if value in _SIDES else value


def _text(question: Question, values: list[str], text: str, swapped: bool) -> str:
    value = values[-1].strip()
    if len(value) > _LONGEST_TEXT:
        raise Unfit(f"That is longer than {_LONGEST_TEXT:,} characters.")
    return value


def _spans(question: Question, values: list[str], text: str, swapped: bool) -> list[dict[str, Any]]:
    """A script sends JSON; people without one write ``label: words`` lines; the first such words count."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as a page has it
    spans = _marks(values[0]) if values[0].lstrip().startswith("[") else _lines(values[0], text)
    for span in spans:
        start, end = span.get("start"), span.get("end")
        if not (isinstance(start, int) and isinstance(end, int)) or not 0 <= start < end <= len(text):
            raise Unfit("A mark does not fit the answer's text. Mark it again.")
        if span.get("label") not in question.options:
            raise Unfit(f"“{span.get('label')}” is not one of the labels.")
    spans = sorted(({k: s[k] for k in ("start", "end", "label")} for s in spans), key=lambda s: s["start"])
    if any(one["end"] > two["start"] for one, two in pairwise(spans)):
        raise Unfit("Two marks overlap. Remove one of them.")
    return spans


def _lines(written: str, text: str) -> list[dict[str, Any]]:
    spans = []
    for line in filter(None, (line.strip() for line in written.splitlines())):
        label, _, words = (part.strip() for part in line.partition(":"))
        start = text.find(words)
        if not words or start < 0:
            raise Unfit(f"“{words or line}” does not stand in the answer. Write label: words.")
        spans.append({"start": start, "end": start + len(words), "label": label})
    return spans


def _tokens(question: Question, values: list[str], text: str, swapped: bool) -> list[dict[str, Any]]:
    found = {}
    for mark in _marks(values[0]):
        index = mark.get("index")
        if not isinstance(index, int) or not 0 <= index < 1_000_000:
            raise Unfit("A mark does not fit the answer's pieces. Mark it again.")
        if mark.get("label") not in question.options:
            raise Unfit(f"“{mark.get('label')}” is not one of the labels.")
        found[index] = {"index": index, "label": mark["label"], "text": str(mark.get("text", ""))[:100]}
    return [found[index] for index in sorted(found)]


def _marks(written: str) -> list[dict[str, Any]]:
    try:
        marks = json.loads(written)
    except ValueError as error:
        raise Unfit("The marks could not be read. Mark the pieces again.") from error
    if not isinstance(marks, list) or len(marks) > _MOST_MARKS or not all(isinstance(m, dict) for m in marks):
        raise Unfit("The marks could not be read. Mark the pieces again.")
    return marks


_READERS = {
    Kind.CHOICE: _choice,
    Kind.CHOICES: _choices,
    Kind.RATING: _rating,
    Kind.PAIR: _pair,
    Kind.TEXT: _text,
    Kind.SPANS: _spans,
    Kind.TOKENS: _tokens,
}


def canonical(value: Any) -> str:
    """One way to write a value, to compare and to count by."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def told(question: Question, value: Any) -> str:
    """A value in words, as a list of judgements shows it."""
    if question.kind == Kind.PAIR:
        return {**PAIR, "first": "the first is better", "second": "the second is better"}[value]
    if question.kind == Kind.RATING:
        words = dict(question.pressed).get(str(value), "")
        return f"{value} of {len(question.pressed)}" + (f" ({words})" if words != str(value) else "")
    if question.kind == Kind.SPANS:
        return f"{len(value)} marked"
    if question.kind == Kind.TOKENS:
        return ", ".join(f"{mark['text'].strip()} ({mark['label']})" for mark in value)
    return ", ".join(value) if isinstance(value, list) else str(value)


def all_told(asked: Sequence[Question], values: dict[str, Any]) -> list[str]:
    """Values in words by their question's name, each with its question where several were asked."""
    words = [
        (question.words, told(question, values[question.name]))
        for question in asked
        if question.name in values
    ]
    return [said if len(asked) == 1 else f"{question} {said}" for question, said in words]


def named(words: str, taken: Sequence[str]) -> str:
    """A name for a new further question, from its words."""
    base = slugify(words)[:30].strip("-") or "question"
    name, number = base, 1
    while name in (MAIN, *taken):
        number += 1
        name = f"{base}-{number}"
    return name
