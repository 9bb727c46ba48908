"""Guidelines as reviewers see them: Markdown made safe, and what changed since the version they last worked by."""

import difflib
from dataclasses import dataclass

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from annotations.models import Annotation, Queue

_TAGS = {"p", "br", "hr", "strong", "em", "code", "pre", "blockquote", "ul", "ol", "li", "h3", "h4", "h5", "h6"} | {
    "a", "table", "thead", "tbody", "tr", "th", "td", "del",
}  # fmt: skip
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@dataclass(frozen=True, slots=True)
class Change:
    """A line that came or went; ``kind`` is ``new`` or ``gone``."""

    kind: str
    text: str


def render(markdown: str) -> SafeString:
    """Safe HTML. Headings begin at the third level, below the page's own; links leave no trace of us."""
    html = _MARKDOWN.render(markdown)
    for level in (4, 3, 2, 1):
        html = html.replace(f"<h{level}>", f"<h{level + 2}>").replace(f"</h{level}>", f"</h{level + 2}>")
    clean = nh3.clean(html, tags=_TAGS, attributes={"a": {"href", "title"}}, url_schemes={"http", "https"})
    return mark_safe(clean)  # noqa: S308 - nh3 cleaned it


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
