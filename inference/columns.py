"""The explorer's columns: which there are, which a reader chose, and what stands in a cell.

When and what was asked stand always: they are what a row is told by. The choice is text, `user,cost,seconds`,
in an address and in a saved view; an unknown name is left out.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from inference import account
from inference.filters import Equals
from inference.heatmap import heat
from inference.lookups import Settled
from inference.stored import ExchangeSummary


@dataclass(frozen=True, slots=True)
class Column:
    """``kind`` says how a value is shown; ``narrows`` is the filter's name by which a value can be chosen."""

    name: str
    title: str
    kind: str
    value: Callable[[ExchangeSummary], object]
    narrows: str = ""
    spare: bool = False
    """Of the usual ones, what gives way where there is little room."""

    @property
    def number(self) -> bool:
        return self.kind in ("chance", "seconds", "number", "dollars")


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one row of a column. ``tone`` is a class of the heat map, or an ending's."""

    column: Column
    value: object
    tone: str = ""
    term: Equals | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """What the trace store does not hold of an exchange: its cost (None: no price) and its verdict."""

    dollars: float | None = None
    settled: Settled | None = None


def _named(name: str, title: str, narrows: str = "", spare: bool = False) -> Column:
    narrows = narrows or name
    return Column(name, title, "name", lambda x: getattr(x, narrows), narrows, spare)


def _nothing(x: ExchangeSummary) -> None:
    """The value of what is in ``_BESIDE``."""


ALL = (
    Column("answered", "Answered", "text", lambda x: x.answer),
    Column("least_p", "Least sure", "chance", lambda x: x.least_p),
    Column("mean_p", "On the whole", "chance", lambda x: x.mean_p),
    Column("end", "End", "ending", lambda x: account.ending(x.end_reason), "end"),
    Column("status", "Status", "number", lambda x: x.status),
    Column("seconds", "Took", "seconds", lambda x: x.seconds, spare=True),
    Column("first_token", "First token", "seconds", lambda x: x.first_token_seconds),
    Column("prompt_tokens", "Tokens read", "number", lambda x: x.prompt_tokens),
    Column("tokens", "Tokens", "number", lambda x: x.completion_tokens, spare=True),
    Column("cost", "Cost", "dollars", _nothing),
    Column("verdict", "Verdict", "text", _nothing),
    Column("corrected", "Corrected to", "text", _nothing),
    _named("route", "Route"),
    _named("version", "Version", "model", spare=True),
    _named("adapter", "Weights", "weights"),
    _named("upstream", "Engine"),
    _named("key", "Key"),
    _named("user", "User"),
    _named("session", "Session"),
    _named("group", "Group"),
    Column("tags", "Tags", "text", lambda x: ", ".join(f"{k}={v}" for k, v in x.tags.items())),
    _named("surface", "Surface"),
    _named("capture", "Capture"),
)
USUAL = ("answered", "least_p", "end", "seconds", "tokens", "version")
JUDGED = frozenset(("verdict", "corrected"))
_BESIDE: dict[str, Callable[[Beside], object]] = {
    "cost": lambda known: known.dollars,
    "verdict": lambda known: known.settled and known.settled.verdict,
    "corrected": lambda known: known.settled and known.settled.corrected,
}
_BY_NAME = {column.name: column for column in ALL}


def chosen(texts: Iterable[str]) -> tuple[Column, ...]:
    """What names mean, also several in a text, in the order of ``ALL``; none: the usual ones."""
    names = {name for text in texts for name in text.split(",")} & set(_BY_NAME)
    return tuple(column for column in ALL if column.name in (names or USUAL))


def text(columns: Sequence[Column]) -> str:
    """The one text form; "" for the usual ones."""
    names = tuple(column.name for column in columns)
    return "" if names == USUAL else ",".join(names)


def cell(column: Column, x: ExchangeSummary, known: Beside) -> Cell:
    """What stands in the exchange's row."""
    value = _BESIDE[column.name](known) if column.name in _BESIDE else column.value(x)
    if column.kind == "chance":
        return Cell(column, value, heat(value) if isinstance(value, float) else "h0")
    term = Equals(column.narrows, (str(value),)) if column.kind == "name" and value else None
    return Cell(column, value, "", term)
