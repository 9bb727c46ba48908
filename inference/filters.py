"""Which exchanges: one value with one text form, `route:icd end:stop least_p:<0.3 since:7d "chest pain"`.

The same text stands in the explorer's filter line, in a queue and in a link. Knows the words and their
values; what they mean in SQL is in inference.queries. Terms narrow (all must hold); values after one name,
split by commas, widen (any may hold); a minus before a term leaves out what it matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

NAMES = (
    *("route", "model", "weights", "upstream", "end", "key", "user"),
    *("session", "conversation", "surface", "group", "id", "trace", "capture"),
)
"""What an exchange is compared with by equality. ``weights``, ``id`` and ``trace`` may be a beginning."""
NUMBERS = (
    *("least_p", "mean_p", "seconds", "first_token", "prompt_tokens", "tokens", "status", "attempt"),
    *("entropy", "cost", "score"),
)
"""What is compared as a number; least_p and mean_p are probabilities, seconds and first_token are seconds,
entropy is the mean of the answer's tokens in bits (at least: what is not among the top k counts as one),
cost is in dollars at today's prices, score is what a user gave, from 0 to 1."""
FEEDBACK = ("up", "down", "comment", "correction", "score", "any")
"""What ``feedback:`` may ask for: the last thumbs of a user, or that something of the kind was said."""
LABELS = (
    *("approved", "rejected", "corrected", "answered"),
    *("waiting", "conflict", "unjudged", "flagged", "any"),
)
"""What ``label:`` may ask for: what judges' verdict was in some queue, or how far they are with it."""
WORDS = {"feedback": FEEDBACK, "label": LABELS}
"""Names that have only these values."""
TIMES = ("since", "until")
ALIASES = {"version": "model", "finish": "end", "adapter": "weights"}
OPERATORS = ("<=", ">=", "<", ">", "=")

_NEARLY = re.compile(r"([A-Za-z_]+)(<=|>=|<|>|=|:)(\S+)")
"""What was probably meant as a term."""
_LOGIC = {
    "OR": "there is no OR: write values of one name with a comma, end:stop,length",
    "AND": "there is no AND: all parts must hold anyway",
    "NOT": "there is no NOT: a minus leaves out, -end:stop",
}
_MINUS = re.compile(r"-(?=[^\s-])")
_PLAIN = re.compile(r'[^\s",:\\]+')
_NAME = re.compile(r"[a-z_]+(?=:)")
_AGO = re.compile(r"([1-9]\d{0,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MOST_TERMS = 50
_MOST_CHARACTERS = 4000


class FilterError(ValueError):
    """``part`` of the text was not understood; ``message`` says why, for people."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(f"{part}: {message}")
        self.part = part
        self.message = message


@dataclass(frozen=True, slots=True)
class Equals:
    """The named fact is one of the values."""

    name: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}:{','.join(map(quoted, self.values))}"


@dataclass(frozen=True, slots=True)
class Compare:
    """The named number stands to ``value`` as ``operator`` says. Without a number (no tokens): no match."""

    name: str
    operator: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}:{self.operator.removeprefix('=')}{_number(self.value)}"


@dataclass(frozen=True, slots=True)
class Tag:
    """The exchange's tag ``name`` has the value."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"tag:{quoted(self.name)}={quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Time:
    """Began at or after (``since``), or before (``until``): a moment, or a span before now."""

    name: str
    value: timedelta | datetime

    def __str__(self) -> str:
        return f"{self.name}:{_moment(self.value)}"

    def at(self, now: datetime) -> datetime:
        """The moment that is meant, seen from ``now``."""
        return now - self.value if isinstance(self.value, timedelta) else self.value


@dataclass(frozen=True, slots=True)
class Words:
    """The question or the answer contains the text, whatever its case."""

    text: str

    def __str__(self) -> str:
        bare = not (self.text.startswith("-") or _no_text(self.text))
        return quoted(self.text) if bare else _in_quotes(self.text)


Positive = Equals | Compare | Tag | Words


@dataclass(frozen=True, slots=True)
class Not:
    """Everything but what the term matches: so also what has no such number, tag or label."""

    term: Positive

    def __str__(self) -> str:
        return f"-{self.term}"


Term = Positive | Time | Not


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms that must all hold; none: every exchange."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def without(self, term: Term) -> Filter:
        """The filter less one term: what remains when a chip is dropped."""
        return Filter(tuple(one for one in self.terms if one != term))

    def with_term(self, term: Term) -> Filter:
        """The filter narrowed by one more term; one it already has changes nothing."""
        return self if term in self.terms else Filter((*self.terms, term))

    def pinned(self, now: datetime) -> Filter:
        """The filter with spans before now as moments: it means the same whenever it is asked."""
        return Filter(
            tuple(replace(one, value=one.at(now)) if isinstance(one, Time) else one for one in self.terms)
        )


def text(filter: Filter) -> str:  # noqa: A002 - the noun of this module
    """The filter's text: ``parse(text(f)) == f``."""
    return str(filter)


def parse(line: str) -> Filter:
    """Read a filter line. Raises FilterError that names the part not understood."""
    if len(line) > _MOST_CHARACTERS:
        raise FilterError(line[:20] + "…", f"a filter has at most {_MOST_CHARACTERS} characters")
    terms = tuple(_terms(_Reader(line)))
    if len(terms) > _MOST_TERMS:
        raise FilterError(str(terms[_MOST_TERMS]), f"a filter has at most {_MOST_TERMS} terms")
    return Filter(terms)


class _Reader:
    """Walks over a line; every ``take`` says where it stood when it fails."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0

    @property
    def rest(self) -> str:
        return self.line[self.at :]

    @property
    def part(self) -> str:
        """The term around the place where reading stopped."""
        start = max((m.end() for m in re.finditer(r"\s", self.line[: self.at])), default=0)
        found = re.match(r"\S+", self.line[start:])
        return found.group() if found else self.line

    def skip_space(self) -> None:
        while self.at < len(self.line) and self.line[self.at].isspace():
            self.at += 1

    def skip(self, literal: str) -> bool:
        if literal and self.line.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.line, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found.group()

    def value(self, stop: str = ",") -> str:
        """A quoted text, or what stands up to a space, a quotation mark or one of ``stop``."""
        if self.skip('"'):
            return self._until_quote()
        begin = self.at
        while self.at < len(self.line) and not (
            self.line[self.at].isspace() or self.line[self.at] in '"' + stop
        ):
            self.at += 1
        if self.at == begin:
            raise FilterError(self.part, "a value is missing")
        return self.line[begin : self.at]

    def _until_quote(self) -> str:
        begin, out = self.at - 1, ""
        while self.at < len(self.line):
            character = self.line[self.at]
            self.at += 1
            if character == '"':
                return out
            if character == "\\" and self.at < len(self.line):
                character = self.line[self.at]
                self.at += 1
            out += character
        raise FilterError(self.line[begin:], "the quotation mark is not closed")


def _terms(reader: _Reader) -> Iterator[Term]:
    reader.skip_space()
    while reader.rest:
        begin = reader.at
        yield _term(reader)
        if reader.rest and not reader.rest[0].isspace():
            reader.at = begin
            raise FilterError(reader.part, "a space is missing between two terms")
        reader.skip_space()


def _term(reader: _Reader) -> Term:
    if not reader.match(_MINUS):
        return _plain(reader)
    part, term = reader.part, _plain(reader)
    if isinstance(term, Time):
        other = next(one for one in TIMES if one != term.name)
        raise FilterError(part, f"a time is turned round by {other}:, not by a minus")
    return Not(term)


def _plain(reader: _Reader) -> Positive | Time:
    begin = reader.at
    if reader.skip('"'):
        reader.at = begin
        return Words(_some(reader.value(), reader.part))
    name = reader.match(_NAME)
    if not name:
        return _word(reader)
    reader.skip(":")
    name = ALIASES.get(name, name)
    if name == "tag":
        return _tag(reader)
    if name in NUMBERS:
        return _compare(name, reader)
    if name in TIMES:
        return Time(name, _time(name, reader.value()))
    if name in NAMES:
        return Equals(name, _values(reader))
    if name in WORDS:
        return _worded(name, reader)
    reader.at = begin
    known = ", ".join((*NAMES, *WORDS, *NUMBERS, *TIMES, "tag"))
    raise FilterError(reader.part, f"there is no {name}: to filter by. There are: {known}")


def _word(reader: _Reader) -> Words:
    """A bare word is looked for as text, unless it looks like a term: no exchange found says too little."""
    word = reader.value(stop="")
    if why := _no_text(word):
        raise FilterError(word, f"{why}; put it in quotation marks to look for it")
    return Words(word)


def _no_text(word: str) -> str:
    """Why a bare word is not looked for, or nothing."""
    nearly = _NEARLY.fullmatch(word)
    if nearly and _known(nearly[1].lower()):
        return f"write {nearly[1].lower()}:{nearly[2].strip('=:') and nearly[2]}{nearly[3]} to filter by it"
    return _LOGIC.get(word, "")


def _known(name: str) -> bool:
    return ALIASES.get(name, name) in (*NAMES, *NUMBERS, *WORDS, *TIMES, "tag")


def _some(value: str, part: str) -> str:
    if not value:
        raise FilterError(part, "there is nothing between the quotation marks")
    return value


def _values(reader: _Reader) -> tuple[str, ...]:
    values = [reader.value()]
    while reader.skip(","):
        values.append(reader.value())
    return tuple(values)


def _worded(name: str, reader: _Reader) -> Equals:
    values = _values(reader)
    if not set(values) <= {*WORDS[name]}:
        raise FilterError(reader.part, f"{name} is one of {', '.join(WORDS[name])}")
    return Equals(name, values)


def _tag(reader: _Reader) -> Tag:
    name = reader.value(stop=",=")
    if not reader.skip("="):
        raise FilterError(reader.part, "a tag is written tag:name=value")
    return Tag(name, reader.value())


def _compare(name: str, reader: _Reader) -> Compare:
    operator = next((one for one in OPERATORS if reader.skip(one)), "=")
    given, two = reader.value(), f"a range is two parts, {name}:>0.2 {name}:<0.5"
    if not re.fullmatch(r"-?(\d+(\.\d*)?|\.\d+)(e-?\d+)?", given) or len(given) > 30:
        shown = "" if operator == "=" else operator
        more = f"; {two}" if re.search(r"\d(\.\.|-)\.?\d", given) else ""
        raise FilterError(f"{name}:{shown}{given}", f"“{given}” is not a number{more}")
    if reader.skip(","):
        raise FilterError(reader.part, f"a number has one value; {two}")
    return Compare(name, operator, float(given))


def _time(name: str, given: str) -> timedelta | datetime:
    ago = _AGO.fullmatch(given)
    if ago:
        return timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        message = "a time is written 30m, 24h, 7d, 2w, 2026-11-01 or 2026-11-01T10:00"
        raise FilterError(f"{name}:{given}", message) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def quoted(value: str) -> str:
    """A value as it stands in a line."""
    if _PLAIN.fullmatch(value) and "=" not in value:
        return value
    return _in_quotes(value)


def _in_quotes(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _number(value: float) -> str:
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value).replace("e+", "e")


def _moment(value: timedelta | datetime) -> str:
    if isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None)
        return naive.date().isoformat() if naive.time() == datetime.min.time() else naive.isoformat()
    minutes = int(value.total_seconds()) // 60
    for unit, length in (("w", 10080), ("d", 1440), ("h", 60)):
        if minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"
