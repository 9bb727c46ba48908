"""What users said of an exchange, the newest first, and which of it counts no longer. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from inference.stored import StoredEvent

COUNTED_ONCE = ("thumbs", "score")
"""Of these the newest counts (docs/serve.md); comments and corrections all do."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """``replaced``: all of it that is counted once, the same user said anew later."""

    said: StoredEvent
    replaced: bool


def opinions(events: Iterable[StoredEvent], *, told_apart: bool = True) -> list[Opinion]:
    """From events in their order. Not ``told_apart``: who said them is hidden, so none is called replaced."""
    later: set[tuple[object, ...]] = set()
    found = []
    for said in reversed([event for event in events if event.kind == "feedback"]):
        who = (said.exchange_id, said.source, said.data.get("user"), said.data.get("choice"))
        given = {(*who, name) for name in COUNTED_ONCE if said.data.get(name) is not None}
        found.append(Opinion(said, told_apart and bool(given) and given <= later))
        later |= given
    return found
