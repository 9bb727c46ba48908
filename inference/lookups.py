"""What filters and lists ask that the trace store does not hold: prices of versions, and what people judged.

Pure. Who knows registers here when the apps are ready; without Django nobody has, and such a filter says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from inference.filters import FilterError

MOST_LABELLED = 5000
"""Exchanges that a filter by label can name: their ids travel with the question."""


class Price(NamedTuple):
    """What a version costs, in nano-dollars a token."""

    prompt: int
    completion: int

    def dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e9


class Settled(NamedTuple):
    """What people settled on: the verdict in words, and the right answer where they wrote one."""

    verdict: str
    corrected: str = ""


Named = tuple[UUID, int]
"""An exchange's id and attempt."""
Prices = Callable[[], dict[str, Price]]
"""By the version's name."""
Labelled = Callable[[Sequence[str], datetime | None, datetime | None, int], list[UUID]]
"""Exchanges that have one of the labels and began in [since, until), at most so many."""
Verdicts = Callable[[Sequence[Named]], dict[Named, Settled]]
"""Of the named exchanges those that are settled in some queue."""

_prices: list[Prices] = []
_labelled: list[Labelled] = []
_verdicts: list[Verdicts] = []


def know_prices(source: Prices) -> None:
    """Ask ``source`` from now on."""
    _prices[:] = [source]


def know_labels(source: Labelled) -> None:
    """Ask ``source`` from now on."""
    _labelled[:] = [source]


def know_verdicts(source: Verdicts) -> None:
    """Ask ``source`` from now on."""
    _verdicts[:] = [source]


def prices() -> dict[str, Price]:
    """Every version's price. Raises FilterError where nobody knows them."""
    if not _prices:
        raise FilterError("cost:", "prices are not known here")
    return _prices[0]()


def labelled(labels: Sequence[str], since: datetime | None, until: datetime | None) -> list[UUID]:
    """Ids of the exchanges with one of the labels. Raises FilterError when they are too many to be named."""
    part = f"label:{','.join(labels)}"
    if not _labelled:
        raise FilterError(part, "labels are not known here")
    found = _labelled[0](labels, since, until, MOST_LABELLED + 1)
    if len(found) > MOST_LABELLED:
        raise FilterError(part, f"more than {MOST_LABELLED:,} exchanges have it; narrow the time with since:")
    return found


def verdicts(named: Sequence[Named]) -> dict[Named, Settled]:
    """What people settled on; nothing where nobody knows. Corrections are texts: who may see them is for the
    caller to say.
    """
    return _verdicts[0](named) if _verdicts and named else {}
