"""What other rooms have to say about an exchange, in the right rail of its page.

This room imports neither of the others, so they register here when the apps are ready.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Panel:
    """A card: a title and a template of the room that made it. Smaller ``order`` stands higher."""

    title: str
    template: str
    context: dict[str, Any] = field(default_factory=dict)
    order: int = 100


@dataclass(frozen=True, slots=True)
class Subject:
    """What a panel is about: the exchange, and the weights that answered (SHA-256; "" when none did)."""

    exchange_id: UUID
    attempt: int
    weights: str
    route: str
    hidden: bool = False
    """Whether the reader may see numbers only: no text of it then, nor what people wrote of it."""


Source = Callable[[Subject], list[Panel]]
_sources: list[Source] = []


def register(source: Source) -> None:
    """Ask ``source`` for panels of every exchange shown. Registering the same one again changes nothing."""
    if source not in _sources:
        _sources.append(source)


def panels(subject: Subject) -> list[Panel]:
    """Every room's panels, in order."""
    found = [panel for source in _sources for panel in source(subject)]
    return sorted(found, key=lambda panel: panel.order)
