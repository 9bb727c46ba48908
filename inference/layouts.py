"""How the events of each model's streams are laid out, remembered from one stream to the next. Pure.

Learning a layout takes reading and writing an event as JSON, twice (inference.cutting). From one stream to
the next of a model only the answer's id and its time change, so what was learned of one is known of all.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from inference.cutting import Cut

_ID = b'data: {"id":"'


@dataclass(frozen=True, slots=True)
class _Layout:
    """A cut but for what is each stream's own: the id, between quotes, and the time, a number."""

    between: bytes
    """Between the two."""
    head: bytes
    """After the time."""
    renamed: bytes
    """The same with the public name."""
    tail: bytes
    kept: bytes

    def of(self, event: bytes) -> Cut | None:
        """The cut for the stream of this event; None when it is laid out otherwise."""
        if not event.startswith(_ID):
            return None
        begin = event.find(b'"', len(_ID))
        if not event.startswith(self.between, begin) or event.find(b"\\", len(_ID), begin) >= 0:
            return None
        begin += len(self.between)
        end = event.find(b",", begin)
        if not event[begin:end].isdigit() or not event.startswith(self.head, end):
            return None
        own = event[:end]
        return Cut(own + self.head, own + self.renamed, self.tail, self.kept)


class Layouts:
    """By whatever tells one way of answering from another: a surface, a model and its public name."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Layout] = {}

    def find(self, of: tuple[str, ...], event: bytes) -> Cut | None:
        """The cut for the stream that this event begins, if its layout is known."""
        known = self._known.get(of)
        return None if known is None else known.of(event)

    def learn(self, of: tuple[str, ...], event: bytes, message: dict[str, Any], cut: Cut) -> None:
        """Remember a cut that was learned from an event and what that holds."""
        if list(message)[:3] != ["id", "object", "created"]:
            return
        between = b'","object":%b,"created":' % orjson.dumps(message["object"])
        begin = event.find(between)
        skip = begin + len(between) + len(orjson.dumps(message["created"]))
        made = _Layout(between, cut.head[skip:], cut.renamed[skip:], cut.tail, cut.kept)
        if begin > 0 and made.of(event) == cut:
            self._known[of] = made
