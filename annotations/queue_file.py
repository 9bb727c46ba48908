"""A queue as a file: what is asked, of what, and by which rules; no items, no judgements, no people.

The same values begin a copy. What a file holds is checked by the form that it fills, as if it were typed.
"""

import json
from typing import Any

from annotations import questions
from annotations.models import Queue
from annotations.questions import MOST_FURTHER, Question, Unfit

FORMAT = "flywheel queue 1"
FIELDS = (
    *("name", "kind", "question", "answers", "hints", "also", "reasons", "against", "guidelines"),
    *("filter", "order", "judgements_per_item", "rule", "gold_every", "heat_map", "masked"),
    "lease_minutes",
)
LONGEST = 1 << 20
_NOT_A_QUEUE = "This file is no queue. Export one from a queue's page to see the form."


class NotAQueue(ValueError):  # noqa: N818 - it is told to a person
    """Why an upload is no queue, for people."""


def definition(queue: Queue) -> dict[str, Any]:
    """What begins a copy."""
    return {field: getattr(queue, field) for field in FIELDS}


def dump(queue: Queue) -> bytes:
    """The file, as JSON."""
    made = {"format": FORMAT, **definition(queue)}
    return json.dumps(made, ensure_ascii=False, indent=2).encode() + b"\n"


def load(content: bytes) -> dict[str, Any]:
    """A file's definition, each value of the right type. Raises NotAQueue."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise NotAQueue(_NOT_A_QUEUE) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise NotAQueue(_NOT_A_QUEUE)
    known = {field: found[field] for field in FIELDS if field in found}
    empty = Queue()
    for field, value in known.items():
        kind = next(kind for kind in (bool, str, int, list, dict) if isinstance(getattr(empty, field), kind))
        # To Python, true is a number.
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise NotAQueue(f"“{field}” in this file has the wrong form.")
    for field in ("answers", "reasons"):
        if not all(isinstance(line, str) for line in known.get(field, [])):
            raise NotAQueue(f"“{field}” in this file has the wrong form.")
    if not all(isinstance(hint, str) for hint in known.get("hints", {}).values()):
        raise NotAQueue("“hints” in this file has the wrong form.")
    known["also"] = _further(known.get("also", []))
    return known


def _further(also: list[Any]) -> list[dict[str, Any]]:
    if len(also) > MOST_FURTHER:
        raise NotAQueue(f"A queue asks at most {MOST_FURTHER} further questions.")
    try:
        found = [Question.from_dict(stored) for stored in also if isinstance(stored, dict)]
        for question in found:
            questions.check(question)
    except Unfit as unfit:
        raise NotAQueue(f"A question in this file does not fit: {unfit}") from unfit
    if len({question.name for question in found}) != len(also):
        raise NotAQueue("Two questions in this file have the same name, or one is none.")
    return [question.as_dict() for question in found]
