"""Masking personal data before anything is stored: finds become placeholders, wherever they stand. Pure.

A placeholder names the kind and a few digits of a keyed hash of the conversation and the value: within a
conversation the same value always has the same placeholder, across conversations never, and without the key
nobody can try values. Of an exchange with any find no tokens are kept, neither ids nor probabilities, of
prompt or answer: ids spell the text, and who has the model can find masked digits by the probabilities that
the answer has after each guess. Its answer is kept as what it came to, since a stream's events cut values
in two. Which forms count is in inference.personal; that a route masks is written in each record by the
proxy.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from inference.answer import Choice
from inference.events import Event
from inference.exchange import Exchange
from inference.otlp import SpanBatch
from inference.personal import REGIONS, Finder, Found, presidio
from inference.raw import RawExchange
from inference.rows import Record
from inference.spans import SPAN_COLUMNS
from inference.spool.files import replace as replace_file

HEADER = "mask"
"""In a record's header: whether the proxy's route masks."""
MASKED = "masked"
"""Why an exchange has no tokens (``Exchange.capture``)."""
_NAMES = (
    "ResourceAttributes",
    "SpanAttributes",
    "SpanName",
    "StatusMessage",
    "Events.Name",
    "Events.Attributes",
)
_COLUMNS = tuple(SPAN_COLUMNS.index(name) for name in (*_NAMES, "Links.Attributes"))
_DIGITS = 6
PLACEHOLDER = re.compile(rf"\[[a-z_]+ [0-9a-f]{{{_DIGITS}}}\]")
"""What a placeholder looks like, whoever made it."""
_LONG_NUMBER = 10**8


@dataclass(slots=True)
class Masker:
    """Masks texts of one conversation, and counts."""

    finder: Finder
    key: bytes
    scope: str
    count: int = 0
    found: list[tuple[str, str]] = field(default_factory=list)
    """Kind and placeholder of each find, in order."""

    def text(self, text: str) -> str:
        """The text with placeholders."""
        parts, at = [], 0
        for one in self.finder.find(text):
            parts += [text[at : one.start], self.placeholder(one, text)]
            at = one.end
        return "".join((*parts, text[at:])) if parts else text

    def placeholder(self, one: Found, text: str) -> str:
        """What stands for a find, and counts it."""
        value = "".join(filter(str.isalnum, text[one.start : one.end])).casefold()
        said = f"{self.scope}\0{one.kind}\0{value}".encode("utf-8", "replace")
        made = f"[{one.kind} {hmac.digest(self.key, said, sha256).hex()[:_DIGITS]}]"
        self.count += 1
        self.found.append((one.kind, made))
        return made

    def value(self, value: Any) -> Any:
        """A JSON value with every text masked, names too, and numbers long enough to be somebody's."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        if isinstance(value, int) and not isinstance(value, bool) and value >= _LONG_NUMBER:
            masked = self.text(str(value))
            return value if masked == str(value) else masked
        return value

    def json(self, text: str) -> str:
        """A text that may be JSON, such as a tool call's arguments: then it stays JSON."""
        if text.lstrip()[:1] not in ("{", "["):
            return self.text(text)
        try:
            found = orjson.loads(text)
            masked = self.value(found)
        except (ValueError, RecursionError):
            return self.text(text)
        return text if masked == found else orjson.dumps(masked).decode()


@dataclass(frozen=True, slots=True)
class Masking:
    """How a drain masks."""

    finder: Finder
    key: bytes

    def record(self, raw: RawExchange, record: Record) -> Record:
        """The record as it may be stored. Raises nothing of its own: what does is kept aside, unstored."""
        if not raw.opened.get(HEADER):
            return record
        if isinstance(record, Exchange):
            return self.exchange(record)
        if isinstance(record, Event):
            return self._event(record)
        if isinstance(record, SpanBatch):
            return self._spans(record)
        return record

    def masker(self, scope: str) -> Masker:
        """For one conversation. Its name goes in as a keyed hash only."""
        return Masker(self.finder, self.key, scope)

    def exchange(self, one: Exchange) -> Exchange:
        """The exchange with placeholders; itself when nothing was found."""
        masker = self.masker(one.conversation)
        masked = replace(
            one,
            messages=masker.value(one.messages),
            choices=[_choice(masker, choice) for choice in one.choices],
            params=masker.value(one.params),
            tags=masker.value(one.tags),
            error=masker.text(one.error),
            request=_body(masker, one.request),
        )
        if not masker.count:
            # An answer that could not be read as one is searched as it came.
            masker.text(one.response.decode("utf-8", "replace")) if not one.choices else None
            if not masker.count:
                return one
        return replace(
            masked,
            response=orjson.dumps({"masked": masker.count, "choices": [asdict(c) for c in masked.choices]}),
            tokens=[],
            prompt_token_ids=[],
            capture=MASKED,
            top_k=0,
            tokens_match=None,
            masked=masker.count,
        )

    def _event(self, event: Event) -> Event:
        masker = self.masker(event.exchange_id or event.trace_id)
        kept = {"thumbs", "score", "user", "choice"}
        return replace(event, data={n: v if n in kept else masker.value(v) for n, v in event.data.items()})

    def _spans(self, batch: SpanBatch) -> SpanBatch:
        rows = []
        for row in batch.rows:
            masker, values = self.masker(str(row[SPAN_COLUMNS.index("TraceId")])), list(row)
            for column in _COLUMNS:
                values[column] = masker.value(values[column])
            rows.append(tuple(values))
        return replace(batch, rows=rows)


def _choice(masker: Masker, choice: Choice) -> Choice:
    return replace(
        choice,
        text=masker.json(choice.text),
        reasoning=masker.text(choice.reasoning),
        tool_calls=[_call(masker, call) for call in choice.tool_calls],
    )


def _call(masker: Masker, call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        arguments = masker.json(function["arguments"])
        rest = {name: value for name, value in function.items() if name != "arguments"}
        call = {**call, "function": None}
        return {**masker.value(call), "function": {**masker.value(rest), "arguments": arguments}}
    found: dict[str, Any] = masker.value(call)
    return found


def _body(masker: Masker, body: bytes) -> bytes:
    """A request's body; its bytes stay as they were when nothing in it was found."""
    before = masker.count
    try:
        masked = orjson.dumps(masker.value(orjson.loads(body)))
    except (ValueError, RecursionError, TypeError):
        masked = masker.text(body.decode("utf-8", "replace")).encode("utf-8", "replace")
    return masked if masker.count > before else body


def finder() -> Finder:
    """As the environment has it: FLYWHEEL_MASKING_REGIONS, FLYWHEEL_MASKING_PRESIDIO (a language)."""
    regions = [one.strip().upper() for one in os.environ.get("FLYWHEEL_MASKING_REGIONS", "").split(",")]
    language = os.environ.get("FLYWHEEL_MASKING_PRESIDIO", "")
    plugs = (presidio(language),) if language else ()
    return Finder([one for one in regions if one] or REGIONS, plugs)


def load(folder: Path) -> Masking:
    """A drain's: the key is FLYWHEEL_MASKING_KEY, or one that is made once and kept in its spool's folder.

    Drains that store one conversation's turns need the same key.
    """
    given = os.environ.get("FLYWHEEL_MASKING_KEY", "")
    if given:
        return Masking(finder(), given.encode())
    path = folder / "masking.key"
    if not path.exists():
        replace_file(path, os.urandom(32))
    return Masking(finder(), path.read_bytes())
