"""One item as a page shows it: what is read, what was typed so far, and why it came back.

Joins a place (annotations.leases) with its reading; leaves HTML to the templates.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from django.contrib.auth.models import User

from annotations import access, judging, leases, questions
from annotations.judging import CANT_JUDGE_REASONS, Judgement, NotTaken
from annotations.masks import Mask
from annotations.models import Annotation, Assignment, Item, Queue, Suggestion
from annotations.questions import Kind, Question
from annotations.reading import Reading, read

PANELS = ("reject", "correct", "cant_judge")
"""Decisions that ask for more: what ``?open=`` may name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on the page, with what was given so far and what is wrong with it."""

    question: Question
    ident: str
    given: list[str]
    wrong: str = ""
    alone: bool = False
    """Whether nothing else is asked: then one press sends."""

    @property
    def pressed(self) -> list[tuple[str, str, bool]]:
        """(value, words, whether it was given) of each button or box."""
        return [(value, words, value in self.given) for value, words in self.question.pressed]

    @property
    def written(self) -> str:
        """What a text field holds."""
        return self.given[-1] if self.given else ""

    @property
    def one_press(self) -> bool:
        return self.alone and self.question.kind in questions.ONE_PRESS


@dataclass
class Showing:
    """An item on somebody's screen. ``opened`` names the panel that is open; ``told`` is why it came back.

    What is read of it is ``shown``: masked, where there is a mask.
    """

    item: Item
    queue: Queue
    key: str
    number: int = 0
    opened: str = ""
    said: Judgement | None = None
    told: NotTaken | None = None
    newcomer: bool = False
    skipped: bool = False
    heat_map_seen: bool = False
    mask: Mask | None = None

    @property
    def shown(self) -> Item:
        """The item as the person may read it."""
        return self.mask.item if self.mask else self.item

    @property
    def hides(self) -> bool:
        """Whether something in it is masked."""
        return self.mask is not None and self.mask.hides

    @cached_property
    def reading(self) -> Reading:
        return read(self.shown.messages)

    @cached_property
    def asked(self) -> list[Asked]:
        """The questions that stand in the page: not those whose answers are in the bar."""
        given = self.said.given if self.said else {}
        lead = self.queue.lead
        asked = judging.asked(self.queue, masked=self.hides)
        shown = [q for q in asked if q.kind not in questions.VERDICTS and not q.in_bar]
        return [
            Asked(
                question,
                f"{question.field}-{self.key}",
                list(given.get(question.name, [])),
                self.told.message if self.told and self.told.field == question.field else "",
                alone=question == lead and not self.queue.further,
            )
            for question in shown
        ]

    @property
    def wrong_in_bar(self) -> bool:
        """Whether what was refused has no place of its own in the page."""
        if self.told is None or self.told.field == "answer":
            return False
        return not any(asked.wrong for asked in self.asked)

    @property
    def sides(self) -> list[tuple[str, str, bool]]:
        """A pair's answers as they stand: words above, text, whether it was cut off; none for one answer."""
        if not self.item.other_answer:
            return []
        answers = [(self.shown.answer, self.item.cut), (self.shown.other_answer, self.item.other_cut)]
        if leases.sides_swapped(self.key):
            answers.reverse()
        return [("Left answer", *answers[0]), ("Right answer", *answers[1])]

    @property
    def marks(self) -> bool:
        """Whether words of the answer are marked."""
        return any(asked.question.kind == Kind.SPANS for asked in self.asked)

    @property
    def closed_list(self) -> list[tuple[str, str]]:
        """What a correction is chosen from, each with its hint; a tool call is always written."""
        return [] if self.item.tools is not None else self.queue.closed_list

    @property
    def hint(self) -> str:
        """What the closed list says of the model's answer."""
        return dict(self.closed_list).get(self.shown.answer.strip(), "") if self.queue.by_verdict else ""

    @property
    def guideline_words(self) -> int:
        """How many there are to read, marks of Markdown left out."""
        return len(re.findall(r"[^\W_]+(?:[’'-][^\W_]+)*", self.queue.guidelines))

    @cached_property
    def suggestion(self) -> Suggestion | None:
        """What a model said of it, where the queue shows that before judging."""
        if not self.queue.suggested_by or not self.queue.suggested_before:
            return None
        found = Suggestion.objects.filter(item=self.item, model=self.queue.suggested_by)
        one = found.exclude(decision="").first()
        return self.mask.suggestion(one) if self.mask else one

    @property
    def lost(self) -> bool:
        """Whether it can no longer be answered here."""
        return self.told is not None and self.told.status in (409, 410)

    @property
    def typed(self) -> str:
        """What the correction's field holds: what was typed, else nothing, or the answer to edit."""
        if self.said and self.said.answer:
            return self.said.answer
        return "" if self.closed_list else self.shown.answer

    @property
    def equals_answer(self) -> bool:
        """Whether the refused correction was the model's own answer."""
        return bool(self.said and self.told and self.said.answer.strip() == self.shown.answer.strip())

    @property
    def cant_judge_reasons(self) -> tuple[str, ...]:
        return CANT_JUDGE_REASONS


def mask_of(item: Item, queue: Queue, reviewer: User) -> Mask | None:
    """How the person reads the item: None, as it is."""
    return Mask(item) if access.reviews_masked(queue, reviewer) else None


def of(place: Assignment, queue: Queue, reviewer: User, number: int = 0) -> Showing:
    """A reserved place as it is shown to its holder."""
    place.item.queue = queue
    return Showing(
        place.item,
        queue,
        place.key,
        number,
        skipped=place.skipped_at is not None,
        heat_map_seen=place.heat_map_seen,
        mask=mask_of(place.item, queue, reviewer),
    )


def returned(item: Item, key: str, said: Judgement, told: NotTaken, mask: Mask | None) -> Showing:
    """An item that comes back with what was typed and why."""
    told = mask.told(told) if mask else told
    return Showing(item, item.queue, key, opened=_panel(said), said=said, told=told, mask=mask)


def _panel(said: Judgement) -> str:
    return said.decision if said.decision in PANELS else ""


def reserved(queue: Queue, reviewer: User, judged: int, held: frozenset[str] = frozenset()) -> list[Showing]:
    """The person's next items without those their page holds, numbered on from those ``judged``."""
    places = enumerate(leases.reserve(queue, reviewer), 1)
    return [of(place, queue, reviewer, judged + n) for n, place in places if place.key not in held]


def last(queue: Queue, reviewer: User) -> Annotation | None:
    """What undo would take back, as its giver reads it."""
    return as_read(judging.standing(queue, reviewer).first(), queue, reviewer)


def taken_back(item: Item, queue: Queue, reviewer: User, key: str) -> Annotation | None:
    """What undo took back, as its giver reads it."""
    return as_read(Annotation.objects.filter(item=item, reviewer=reviewer, key=key).first(), queue, reviewer)


def as_read(annotation: Annotation | None, queue: Queue, reviewer: User) -> Annotation | None:
    """What somebody said, as this person reads it."""
    if annotation and annotation.answer and access.reviews_masked(queue, reviewer):
        return Mask(annotation.item).annotation(annotation)
    return annotation


def is_newcomer(reviewer: User) -> bool:
    """Whether this is the person's first item ever, in any queue."""
    return not Annotation.objects.filter(reviewer=reviewer).exists()
