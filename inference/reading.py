"""An exchange as a person reads it: turns of a conversation, Markdown made safe, a call to repeat by hand.

Pure. What people or models wrote is text here until it is escaped by a template or cleaned by ``markdown``.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt

from inference.surfaces import NAMED

TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
LABELS = {
    "system": "Instructions",
    "developer": "Instructions",
    "user": "Asked",
    "assistant": "Answered",
    "tool": "Looked up",
    "function": "Looked up",
}
_SHORT = 80
"""Characters of JSON that are read as they are."""
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
_LARGEST_IMAGE = 8_000_000
_LONGEST_MARKDOWN = 200_000
"""Characters."""
LONGEST_TURN = 50_000
"""Characters of one message on a page: more takes seconds to lay out, and nobody reads it there."""
_reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])


def markdown(text: str) -> str:
    """Safe HTML of untrusted Markdown: no HTML of its own, no pictures, links only to the web and to mail.

    Headings are lowered below the page's own by CSS, not here. A text longer than a book's chapter stays as
    it was written, since reading it as Markdown takes seconds.
    """
    if len(text) > _LONGEST_MARKDOWN:
        return f"<pre>{escape(text)}</pre>"
    return nh3.clean(
        _reader.render(text),
        tags=TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model asked for."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. ``folded`` ones are shown on request: instructions, and all but the last."""

    role: str
    label: str
    text: str
    calls: list[Call] = field(default_factory=list)
    folded: bool = False
    images: list[str] = field(default_factory=list)
    """Pictures that were sent along, as addresses that hold them whole."""
    left_out: int = 0
    """Characters of the text that are not shown."""

    @property
    def laid_out(self) -> str:
        """The text as JSON laid out in lines, when it is a long object or list; else ""."""
        return laid_out(self.text)


def plain(content: Any) -> str:
    """A message's content as text; parts that are no text are named in brackets."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return json.dumps(content, ensure_ascii=False)
    return "\n".join(_part(part) for part in content)


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    kind = str(part.get("type", "part"))
    if "text" in part:
        return str(part["text"])
    return f"[{kind.removesuffix('_url').replace('_', ' ')}]"


def calls(found: Any) -> list[Call]:
    """Tool calls of a message or of an answer; what has another form than expected is left as it came."""
    made = []
    for call in found if isinstance(found, list) else []:
        function = call.get("function", {}) if isinstance(call, dict) else {}
        made.append(Call(str(function.get("name", "a tool")), _indented(function.get("arguments", ""))))
    return made


def _indented(arguments: Any) -> str:
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
        return json.dumps(value, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        # What is nested beyond reading is shown as it came.
        return arguments if isinstance(arguments, str) else "(nested too deep to be shown)"


def laid_out(text: str) -> str:
    """A text that is a long JSON object or list, indented; "" for any other, or nested too deep."""
    if len(text) < _SHORT or text.lstrip()[:1] not in ("{", "["):
        return ""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return ""


def images(content: Any) -> list[str]:
    """Pictures in a message, as data: addresses. Only what came along whole, in forms that run nothing: a
    picture elsewhere is never fetched, since that would tell its host who reads here.
    """
    found = [_image(part) for part in content] if isinstance(content, list) else []
    return [address for address in found if _is_shown(address)]


def _is_shown(address: str) -> bool:
    return len(address) <= _LARGEST_IMAGE and _IMAGE.fullmatch(address) is not None


def _without_images(content: Any) -> Any:
    """A message's content without the pictures that are shown themselves; others are named."""
    if not isinstance(content, list):
        return content
    return [part for part in content if not _is_shown(_image(part))]


def _image(part: Any) -> str:
    """The address of a part in OpenAI's forms or Anthropic's; "" for what is no picture."""
    if not isinstance(part, dict):
        return ""
    named, source = part.get("image_url"), part.get("source")
    if isinstance(source, dict):
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    return str(named.get("url", "")) if isinstance(named, dict) else str(named or "")


def turns(messages: list[dict[str, Any]]) -> list[Turn]:
    """Every message in order; only the last one that is no instruction stands unfolded."""
    spoken = [i for i, message in enumerate(messages) if _role(message) not in ("system", "developer")]
    last = spoken[-1] if spoken else len(messages) - 1
    return [_turn(message, folded=i != last) for i, message in enumerate(messages)]


def _turn(message: dict[str, Any], *, folded: bool) -> Turn:
    text = plain(_without_images(message.get("content")))
    return Turn(
        role=_role(message),
        label=LABELS.get(_role(message), _role(message) or "Said"),
        text=text[:LONGEST_TURN],
        calls=calls(message.get("tool_calls")),
        folded=folded,
        images=images(message.get("content")),
        left_out=max(0, len(text) - LONGEST_TURN),
    )


def _role(message: dict[str, Any]) -> str:
    return str(message.get("role", ""))


def asked(messages: list[dict[str, Any]]) -> str:
    """What was asked: the last message of the user, or the last at all."""
    users = [message for message in messages if _role(message) == "user"] or messages
    return plain(users[-1].get("content")) if users else ""


def as_curl(base_url: str, surface: str, request: bytes) -> str:
    """The same request, to be sent by hand. The key is a variable, never a secret."""
    path = NAMED[surface].path
    body = request.decode("utf-8", "replace")
    return (
        f"curl {shlex.quote(base_url + path)} \\\n"
        '  -H "Authorization: Bearer $FLYWHEEL_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )
