"""Guidelines as reviewers see them: Markdown made safe, and what changed since they last worked by them."""

import difflib
from dataclasses import dataclass

from django.utils.safestring import SafeString, mark_safe

from annotations.models import Annotation, Queue
from inference.reading import markdown


@dataclass(frozen=True, slots=True)
class Change:
    """A line that came or went; ``kind`` is ``new`` or ``gone``."""

    kind: str
    text: str


def render(text: str) -> SafeString:
    """Safe HTML; nothing for no guidelines."""
    return mark_safe(markdown(text))  # noqa: S308 - cleaned by inference.reading


def changes(before: str, after: str) -> list[Change]:
    """Lines that differ, in order. Pure."""
    kinds = {"+ ": "new", "- ": "gone"}
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [Change(kinds[line[:2]], line[2:]) for line in lines if line[:2] in kinds and line[2:].strip()]


def changes_for(queue: Queue, latest: Annotation | None) -> list[Change]:
    """What changed in the guidelines since the person's latest judgement; nothing for a newcomer."""
    if latest is None or latest.guidelines_version == queue.guidelines_version:
        return []
    old = queue.old_guidelines.filter(version=latest.guidelines_version).first()
    return changes(old.text, queue.guidelines) if old else []
