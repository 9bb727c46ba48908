"""For whom the trace store is asked: which routes' exchanges they may read, and of which also the texts.

Whoever asks without having said for whom gets an error, never an answer. Knows neither people nor SQL: who
has which rights is in inference.reading_rights, what comes of them in inference.queries.asking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property


class NoReaderError(RuntimeError):
    """The trace store was asked for nobody: a fault of the program."""


class HiddenError(Exception):
    """Texts were asked for by somebody who may see numbers only."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Names of routes whose exchanges may be read at all, and of those whose texts may. None: every one, also
    what was asked of no route. ``texts`` lie within ``routes``.
    """

    routes: frozenset[str] | None
    texts: frozenset[str] | None

    @property
    def any(self) -> bool:
        """Whether there is anything to read."""
        return self.routes is None or bool(self.routes)

    @property
    def numbers_only(self) -> bool:
        """Whether no text may be read at all."""
        return self.texts is not None and not self.texts

    def hides(self, route: str | None) -> bool:
        """Whether texts of the route's exchanges are hidden; None: nobody knows of which route they are."""
        return self.texts is not None and route not in self.texts


EVERYTHING = Rights(None, None)
NOTHING = Rights(frozenset(), frozenset())


@dataclass(eq=False)
class Reading:
    """One page's or one command's reading. The rights are looked up when something is first asked."""

    ask_rights: Callable[[], Rights]
    looked: dict[str, str] = field(default_factory=dict)
    """The route of each exchange of which a text left the store, by its id."""

    @cached_property
    def rights(self) -> Rights:
        return self.ask_rights()


_reading: ContextVar[Reading] = ContextVar("reading")


def current() -> Reading:
    """The reading that goes on. Raises NoReaderError when nobody said for whom; so does a new thread."""
    try:
        return _reading.get()
    except LookupError:
        raise NoReaderError("say for whom the trace store is asked: inference.readers") from None


def rights() -> Rights:
    """What whoever reads now may read."""
    return current().rights


def hides(route: str | None) -> bool:
    """Whether texts of the route's exchanges are hidden from whoever reads now."""
    return rights().hides(route)


def saw(exchange_id: object, route: str = "") -> None:
    """Note that a page shows texts of an exchange from elsewhere: a copy in a queue or dataset."""
    current().looked[str(exchange_id)] = route


@contextmanager
def reading(new: Reading) -> Iterator[Reading]:
    """Ask for this reader within the block."""
    token = _reading.set(new)
    try:
        yield new
    finally:
        _reading.reset(token)


@contextmanager
def as_the_system() -> Iterator[Reading]:
    """Ask for nobody in particular: jobs, and what a person may see by another right than reading."""
    with reading(Reading(lambda: EVERYTHING)) as found:
        yield found
