"""What the page of two exchanges shows: their words side by side, and where their distributions part.

Leaves comparing to inference.difference and fetching to inference.queries.
"""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from inference import account, difference, parameters, reading, vocabulary
from inference.difference import Step
from inference.exchange_page import first_tokens, version_name
from inference.heatmap import visible
from inference.stored import StoredExchange
from inference.vocabulary import Vocabulary

HEIGHT, COLUMN = 96, 8
_ON_ITS_WAY = 300


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its sentence in parts, and where it opens."""

    letter: str
    x: StoredExchange
    ending: account.Ending
    version: str
    url: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Something known of both. ``same`` when there is nothing to see."""

    name: str
    first: str
    second: str

    @property
    def same(self) -> bool:
        return self.first == self.second


@dataclass(frozen=True, slots=True)
class Bar:
    """A position of the plot, in its units, and what it says."""

    x: int
    y: float
    height: float
    parted: bool
    title: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A position in words: what each wrote and how sure it was, with links to the tokens."""

    step: Step
    first: str
    second: str
    first_url: str
    second_url: str

    @property
    def place(self) -> int:
        """Counted from one, as people do."""
        return self.step.place + 1


def side(letter: str, x: StoredExchange) -> Side:
    """One of the two, for people."""
    attempt = f"?attempt={x.attempt}" if x.attempt else ""
    url = reverse("exchange", args=[x.exchange_id]) + attempt
    return Side(letter, x, account.ending(x.end_reason), version_name(x.model, x.weights), url)


def is_fresh(text: str) -> bool:
    """Whether an exchange's id was made in the last minutes, so that it may be on its way to the store."""
    try:
        made = (UUID(text.partition(".")[0]).int >> 80) / 1000
    except ValueError:
        return False
    return abs(time.time() - made) < _ON_ITS_WAY


def context(first: StoredExchange, second: StoredExchange) -> dict[str, Any]:
    """Everything that the page shows."""
    sides = (side("A", first), side("B", second))
    if first.hidden or second.hidden:
        return {"sides": sides, "hidden": True, "facts": facts(*sides)}
    return {
        "sides": sides,
        "asked": difference.words(asked(first), asked(second)),
        "answered": difference.words(first.answer, second.answer),
        "facts": facts(*sides),
        **plot(*sides),
    }


def asked(x: StoredExchange) -> str:
    """Every message that the model read, as text with who said it."""
    return "\n\n".join(f"{turn.label}: {turn.text}" for turn in reading.turns(x.messages))


def facts(first: Side, second: Side) -> list[Fact]:
    """What is known of both, what differs first."""
    one, two = first.x, second.x
    found = [
        Fact("route", one.route, two.route),
        Fact("version", first.version, second.version),
        Fact("weights", one.weights[:8], two.weights[:8]),
        Fact("ended", first.ending.words, second.ending.words),
        Fact("took", f"{one.seconds:.2f} s", f"{two.seconds:.2f} s"),
        Fact("tokens in", f"{one.prompt_tokens:,}", f"{two.prompt_tokens:,}"),
        Fact("tokens out", f"{one.completion_tokens:,}", f"{two.completion_tokens:,}"),
    ]
    first_told, then_told = (dict(parameters.told(x.params)) for x in (one, two))
    found += [
        Fact(name, first_told.get(name, "–"), then_told.get(name, "–")) for name in first_told | then_told
    ]
    return sorted(found, key=lambda fact: fact.same)


def plot(first: Side, second: Side) -> dict[str, Any]:
    """The distance of their distributions at each comparable position, or in words why there is none.

    Of the first choice of each.
    """
    one, two = first_tokens(first.x, 0), first_tokens(second.x, 0)
    if one is None or two is None:
        return {"no_plot": "Without the tokens of both, their distributions can’t be compared."}
    if first.x.tokenizer != second.x.tokenizer:
        return {"no_plot": "Their tokenizers differ, so no token of one is one of the other."}
    found = difference.steps(one, two)
    if not found:
        return {"no_plot": "One of them has no tokens."}
    known = vocabulary.load(settings.ARTEFACTS, first.x.tokenizer)
    parted = found[-1] if found[-1].parted else None
    return {
        "bars": [bar(step, known) for step in found],
        "bars_width": COLUMN * len(found),
        "height": HEIGHT,
        "compared": len(found),
        "parted": spot(parted, known, first, second) if parted else None,
        "most_apart": max(step.apart for step in found),
        "spots": [spot(step, known, first, second) for step in difference.widest(found)],
    }


def bar(step: Step, known: Vocabulary | None) -> Bar:
    """At least a unit high, so that what is not zero is seen."""
    height = max(1.0, round(HEIGHT * step.apart, 1)) if step.apart > 0.0005 else 0.0
    wrote = named(known, step.first)
    wrote += f" against {named(known, step.second)}" if step.parted else ""
    title = f"{step.place + 1}: {wrote}, at least {100 * step.apart:.0f} % apart"
    return Bar(step.place * COLUMN, HEIGHT - height, height, step.parted, title)


def spot(step: Step, known: Vocabulary | None, first: Side, second: Side) -> Spot:
    """A position with the words of both."""
    return Spot(
        step,
        named(known, step.first),
        named(known, step.second),
        f"{first.url}#t{step.place}",
        f"{second.url}#t{step.place}",
    )


def named(known: Vocabulary | None, token_id: int) -> str:
    """A token as people read it: its text, a special one's name, or its number where that is all there is."""
    found = known.bytes(token_id) if known else None
    if known is None or found is None:
        return f"#{token_id}"
    return known.special(token_id) or visible(found.decode("utf-8", "replace"))
