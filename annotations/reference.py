"""The reference reviewer: a list of known answers that judges in a person's place, and is named as such.

For demonstrations and tests of the wheel. Everything goes through the same doors as a person's judgement:
places, keys, verdicts. Leaves where the answers come from to the caller.
"""

from collections.abc import Callable

from django.contrib.auth.models import User

from annotations import judging, leases
from annotations.judging import Judgement
from annotations.models import Annotation, Item, Queue
from annotations.reading import read

USERNAME = "reference-reviewer"
_AT_ONCE = 20


def reviewer() -> User:
    """The person that stands for the list; can't sign in."""
    person, new = User.objects.get_or_create(username=USERNAME, defaults={"first_name": "Reference reviewer"})
    if new:
        person.set_unusable_password()
        person.save(update_fields=["password"])
    return person


def judge_all(queue: Queue, label: Callable[[str], str | None]) -> int:
    """Judge whatever waits and nobody holds; how many judgements were given.

    ``label`` gives the right answer to what was asked, or None when the list does not have it.
    """
    person, given = reviewer(), 0
    while places := leases.reserve(queue, person, _AT_ONCE):
        for place in places:
            said = _said(place.item, label(read(place.item.messages).asked))
            judging.judge(place.item, person, place.key, said, source=Annotation.Source.REFERENCE)
            given += 1
    return given


def _said(item: Item, right: str | None) -> Judgement:
    if right is None:
        return Judgement("cant_judge", reason="Not in the reference list")
    if right.strip() == item.answer.strip():
        return Judgement("approve")
    return Judgement("correct", answer=right)
