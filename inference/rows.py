"""What came out of a spool as rows of the trace store's tables, and how to recognise each row again.

Pure. The columns are those of inference/sql/; writing them safely is in inference.storing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from opentelemetry.sdk.trace import ReadableSpan

from inference import kept, packing, spans
from inference.answer import Tokens
from inference.captured import CapturedTokens
from inference.deciding import NOT_KNOWN, Undecided, undecided
from inference.events import Event
from inference.exchange import Exchange
from inference.otlp import KEY, SpanBatch
from inference.ragged import Ragged

CUT = 2000
"""Characters of a question and an answer that the explorer's list and search have."""
_NOBODY = str(UUID(int=0))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Values = tuple[Any, ...]
Record = Exchange | Event | SpanBatch | CapturedTokens
"""What a record of the spool came to (inference.records)."""


# Microseconds as numbers: a time written as text would be read in the server's own zone.
_BETWEEN = (
    "BETWEEN fromUnixTimestamp64Micro({first:Int64}, 'UTC') AND fromUnixTimestamp64Micro({last:Int64}, 'UTC')"
)
IN_TIME = f"started_at {_BETWEEN} AND exchange_id IN {{ids:Array(UUID)}}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is written to, and how its rows are found again: by words, one a row, that say its key.

    Words consist of what needs no escape anywhere, so that many are one parameter: ``keys``, and likewise
    ``near``, with ``~`` between them. Parameters besides are ``first`` and ``last``, bounds of the time in
    microseconds since 1970.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[tuple[str, str], ...]
    """What a row is known by: expressions, and the type of what each gives."""
    near: str = ""
    """A condition on ``near``, where the time narrows the search too little."""
    has_prefix: bool = False
    """Whether ``near`` has the rows' ``prefix``; else it has their ``id``."""
    time: str = "started_at"

    @property
    def present(self) -> str:
        """Which of the keys asked for are stored."""
        return f"SELECT {', '.join(self._texts)} {self._found}"

    @property
    def count(self) -> str:
        """How many of the keys asked for are stored."""
        return f"SELECT uniqExact({self._word}) {self._found}"

    def word(self, row: Row) -> str:
        """How a row is asked for."""
        return ".".join(
            _hex(value) if kind == "String" else str(value)
            for value, (_, kind) in zip(row.key, self.key, strict=True)
        )

    def near_word(self, row: Row) -> str:
        return _hex(row.prefix) if self.has_prefix else row.id

    @property
    def _texts(self) -> list[str]:
        """The key as rows have it."""
        return [f"toString({it})" if kind == "UUID" else it for it, kind in self.key]

    @property
    def _word(self) -> str:
        said = [f"{'hex' if kind == 'String' else 'toString'}({it})" for it, kind in self.key]
        return said[0] if len(said) == 1 else "concat(" + ", '.', ".join(said) + ")"

    @property
    def _found(self) -> str:
        near = f"{self.near} AND " if self.near else ""
        return (
            f"FROM {self.name} WHERE {near}{self.time} {_BETWEEN} "
            f"AND {self._word} IN (SELECT arrayJoin(splitByChar('~', {{keys:String}})))"
        )


def _hex(text: str) -> str:
    return text.encode().hex().upper()


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way to a table, and what finds it there again. A time is a number in its column's unit."""

    table: str
    key: Values
    """As the table's ``present`` gives it back."""
    values: Values
    at_us: int
    """The time it is sorted and cut into months by."""
    id: str
    """The exchange's id."""
    prefix: str = ""
    """What the sorting key begins with where that is not the time."""


def moment(microseconds: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def question(messages: Sequence[dict[str, Any]]) -> str:
    """The text of the last message a user sent."""
    asked = [message for message in messages if message.get("role") == "user"]
    return _content(asked[-1].get("content")) if asked else ""


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(p["text"]) for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


def certainty(tokens: Tokens | None) -> tuple[float | None, float | None]:
    """Geometric mean and least of the sampled tokens' probabilities; None without tokens."""
    if tokens is None or not tokens.logprobs:
        return None, None
    return math.exp(sum(tokens.logprobs) / len(tokens.logprobs)), math.exp(min(tokens.logprobs))


NO_ROW = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What ``rows`` raises when one of the records makes no row."""


def rows(records: Sequence[Record]) -> list[list[Row]]:
    """Each record's rows in all tables."""
    many = Ragged.of([tokens for one in records for tokens in _tokens(one)])
    made = iter(zip(packing.pack(many), undecided(many), strict=True))
    return [_rows(one, [(tokens, *next(made)) for tokens in _tokens(one)]) for one in records]


def _rows(one: Record, choices: list[tuple[Tokens, packing.Packed, Undecided]]) -> list[Row]:
    if isinstance(one, Event):
        return [_event(one)]
    if isinstance(one, SpanBatch):
        return [_span_row(values, "") for values in one.rows]
    found = [_token_row(one, tokens, packed) for tokens, packed, _ in choices]
    if isinstance(one, CapturedTokens):
        return found
    first = ((tokens, told) for tokens, _, told in choices if tokens.choice == 0)
    conversation = one.conversation
    fact = _fact(one, conversation, *next(first, (None, NOT_KNOWN)))
    return [*found, *_span(one), _exchange(one, conversation), fact]


def _tokens(one: Record) -> list[Tokens]:
    if isinstance(one, Exchange):
        return one.tokens
    return [one.tokens] if isinstance(one, CapturedTokens) else []


def _key(exchange: Exchange) -> Values:
    return (exchange.exchange_id, exchange.attempt)


_AS_IT_IS = (
    *("exchange_id", "attempt"),
    *("first_token_seconds", "surface", "streamed", "route", "model", "weights", "base_weights"),
    *("upstream", "key", "user", "session", "tags", "trace_id", "span_id", "parent_span_id", "status"),
    *("end_reason", "error", "prompt_tokens", "completion_tokens", "prompt_token_ids", "capture", "top_k"),
    *("tokens_match", "logprobs_mode", "tokenizer", "request", "masked"),
)
_EXCHANGE_COLUMNS = (
    *_AS_IT_IS,
    *("started_at", "finished_at", "conversation", "messages", "choices", "params"),
    *("response", "tokens_expected"),
)
_as_it_is = attrgetter(*_AS_IT_IS)


def _exchange(one: Exchange, conversation: str) -> Row:
    values = (
        *_as_it_is(one),
        *(one.started_us, moment(one.finished_us), conversation),
        *(_json(one.messages), _json(one.choices), _json(one.params)),
        kept.answer(one),
        # A call that was refused or failed before its first token has none to wait for.
        one.capture in ("wire", "engine") and _has_tokens(one),
    )
    return Row("exchanges", _key(one), values, one.started_us, one.exchange_id, conversation)


def _json(value: Any) -> str:
    """orjson reads deeper than it writes: what it refuses, the standard library may still write."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False, default=asdict)


_TOKEN_COLUMNS = (
    *("exchange_id", "attempt", "choice", "source", "started_at", "weights", "tokenizer", "logprobs_mode"),
    *packing.COLUMNS,
)


def _has_tokens(one: Exchange) -> bool:
    """Whether an engine generated any. A stream that was cut off, or has several choices, may not say so."""
    return one.completion_tokens > 0 or any(choice.text or choice.reasoning for choice in one.choices)


def _token_row(one: Exchange | CapturedTokens, tokens: Tokens, packed: packing.Packed) -> Row:
    return Row(
        "tokens",
        (one.exchange_id, one.attempt, tokens.choice, tokens.source),
        (
            *(one.exchange_id, one.attempt, tokens.choice, tokens.source, one.started_us),
            *(one.weights, one.tokenizer, one.logprobs_mode),
            *packed.row,
        ),
        one.started_us,
        one.exchange_id,
    )


_FACTS_AS_THEY_ARE = (
    *("exchange_id", "attempt"),
    *("surface", "streamed", "route", "model", "weights", "upstream", "key", "user", "session"),
    *("tags", "trace_id", "status", "end_reason", "first_token_seconds", "prompt_tokens"),
    *("completion_tokens", "capture"),
)
FACT_COLUMNS = (
    *_FACTS_AS_THEY_ARE,
    *("started_at", "conversation", "group", "seconds", "mean_p", "least_p", "entropy"),
    *("deciding_entropy", "deciding_margin", "question", "answer"),
)
_facts_as_they_are = attrgetter(*_FACTS_AS_THEY_ARE)


def _fact(one: Exchange, conversation: str, tokens: Tokens | None, told: Undecided) -> Row:
    """``tokens`` are the first choice's, ``told`` is how undecided the model was over them."""
    values = (
        *_facts_as_they_are(one),
        *(one.started_us, conversation),
        one.tags.get("group") or conversation,
        max(0, one.finished_us - one.started_us) / 1e6,
        *certainty(tokens),
        *told,
        question(one.messages)[:CUT],
        one.choices[0].text[:CUT] if one.choices else "",
    )
    return Row("facts", _key(one), values, one.started_us, one.exchange_id)


def span_of(one: Exchange) -> ReadableSpan | None:
    """The exchange's span, if it has ids for one."""
    return spans.span(one)


def _span(one: Exchange) -> list[Row]:
    made = span_of(one)
    if made is None:
        return []
    return [_span_row(spans.row(made), one.exchange_id)]


def _span_row(values: Values, exchange_id: str) -> Row:
    """``values`` as in SPAN_COLUMNS. Its key says through whom it came: nobody's span stands for ours."""
    nanoseconds, trace_id, span_id, resource = values[0], values[1], values[2], values[8]
    key = (trace_id, span_id, resource.get(KEY, ""))
    return Row("spans", key, values, nanoseconds // 1000, exchange_id, trace_id)


_EVENT_COLUMNS = (
    *("exchange_id", "attempt", "started_at", "at", "event_id", "kind", "source", "data", "trace_id"),
)


def _event(one: Event) -> Row:
    values = (
        *(one.exchange_id or _NOBODY, 0, one.started_us, one.at_us),
        *(one.event_id, one.kind, one.source, orjson.dumps(one.data).decode(), one.trace_id),
    )
    return Row("events", (one.event_id,), values, one.started_us, one.exchange_id or _NOBODY)


_OF_AN_EXCHANGE = (("exchange_id", "UUID"), ("attempt", "UInt8"))
# In the order of writing: who sees an exchange sees its tokens and span; what is listed can be opened.
TABLES = (
    Table("tokens", _TOKEN_COLUMNS, (*_OF_AN_EXCHANGE, ("choice", "UInt16"), ("source", "String"))),
    Table(
        "spans",
        spans.SPAN_COLUMNS,
        (("TraceId", "String"), ("SpanId", "String"), (f"ResourceAttributes['{KEY}']", "String")),
        "TraceId IN (SELECT unhex(arrayJoin(splitByChar('~', {near:String}))))",
        has_prefix=True,
        time="Timestamp",
    ),
    Table(
        "exchanges",
        _EXCHANGE_COLUMNS,
        _OF_AN_EXCHANGE,
        "conversation IN (SELECT unhex(arrayJoin(splitByChar('~', {near:String}))))",
        has_prefix=True,
    ),
    Table("facts", FACT_COLUMNS, _OF_AN_EXCHANGE),
    Table(
        "events",
        _EVENT_COLUMNS,
        (("event_id", "UUID"),),
        "exchange_id IN (SELECT toUUID(arrayJoin(splitByChar('~', {near:String}))))",
    ),
)
BY_NAME = {table.name: table for table in TABLES}
