"""Verdicts that make no row of a dataset, and why: each reason as people read it.

Knows one item at a time, by its verdict alone. What a recipe leaves out besides (a filter, siblings, numbers)
is flywheel.datasets' to say, in the words kept here.
"""

from annotations import masks
from annotations.models import Item, Queue
from annotations.questions import Kind

NOT_SETTLED = "not settled"
CANT_JUDGE = "can't be judged"
FLAGGED = "flagged as personal data"
A_CALL = "a tool call, not a text"
UNCLEAR = "holds a placeholder that could be several values"
NO_ANSWER = "rejected without a right answer"
UNLISTED = "approved, but not in the list of answers"
CUT_OFF = "approved, but cut off"
DUPLICATE = "duplicate question"
SIBLING = "sibling of an exam row"
OUTSIDE = "outside the filter"
NOT_NEEDED = "more than asked for"

_BY_STATE = {
    Item.State.UNJUDGED: CANT_JUDGE,
    Item.State.FLAGGED: FLAGGED,
    Item.State.WAITING: NOT_SETTLED,
    Item.State.CONFLICT: NOT_SETTLED,
}
_JUDGED_BY = {
    Kind.CHOICE: "a choice",
    Kind.CHOICES: "choices",
    Kind.RATING: "a rating",
    Kind.PAIR: "comparing two answers",
    Kind.TEXT: "free text",
    Kind.SPANS: "marks",
    Kind.TOKENS: "marks",
}


def makes_rows(kind: str) -> bool:
    """Whether a queue with this leading question says which text is the right answer."""
    return kind == Kind.APPROVE


def no_right_answer(kind: str) -> str:
    """Why what people said to a question that asks for no verdict makes no rows."""
    return f"judged by {_JUDGED_BY[kind]}, which gives no right answer"


def right_answer(item: Item) -> str:
    """What a row would teach; "" where the verdict has none."""
    return item.verdict_answer or (item.answer if item.verdict == Item.Verdict.APPROVED else "")


def why(item: Item, queue: Queue) -> str:
    """Why an item's verdict makes no row; "" when it makes one."""
    if reason := _BY_STATE.get(Item.State(item.state), ""):
        return reason
    if item.verdict == Item.Verdict.ANSWERED and queue.kind in _JUDGED_BY:
        return no_right_answer(queue.kind)
    if item.tools is not None:
        return A_CALL
    answer = right_answer(item)
    if masks.unclear(answer, item):
        return UNCLEAR
    return _unfit(item, queue) if answer else NO_ANSWER


def _unfit(item: Item, queue: Queue) -> str:
    """Of an approved answer: a person said that it is right, but it is none that may be learned from.

    A correction is from the list already, and nobody cut it off.
    """
    if item.verdict != Item.Verdict.APPROVED:
        return ""
    if queue.answers and _plain(item.answer) not in map(_plain, queue.answers):
        return UNLISTED
    return CUT_OFF if item.cut else ""


def _plain(answer: str) -> str:
    # As flywheel.evaluation compares: a line end behind an answer makes it no other.
    return " ".join(answer.split()).casefold()
