"""What the trace store gives back, as values: exchanges, lists of them, spans, candidates, counts.

Pure. Asking is in inference.queries. Times are aware, in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from inference.answer import Choice, Tokens
from inference.rows import moment

ENDED_WELL = ("stop", "length", "tool_calls", "content_filter")
"""End reasons of an exchange that the engine finished; every other one counts as failed."""
TOKENS_DEADLINE = timedelta(minutes=10)
"""After this, expected tokens that have not come count as missing."""


def microseconds(at: datetime) -> int:
    """An aware time as microseconds since 1970, exactly."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between exchanges: this one's. ``str()`` goes into a link and ``parse`` reads it."""

    started_at: datetime
    exchange_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{microseconds(self.started_at)}_{self.exchange_id}_{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises ValueError on what ``str()`` did not make."""
        found = re.fullmatch(r"(\d{1,17})_([0-9a-f-]{36})_(\d{1,3})", text)
        if found is None:
            raise ValueError(f"{text!r} is no place in a list of exchanges")
        return cls(moment(int(found[1])), str(UUID(found[2])), int(found[3]))


@dataclass(frozen=True, slots=True)
class ExchangeSummary:
    """A row of the explorer. ``question`` and ``answer`` are cut at 2,000 characters."""

    exchange_id: str
    attempt: int
    started_at: datetime
    surface: str
    streamed: bool
    route: str
    model: str
    weights: str
    upstream: str
    key: str
    user: str
    session: str
    conversation: str
    group: str
    tags: dict[str, str]
    trace_id: str
    status: int
    end_reason: str
    seconds: float
    first_token_seconds: float | None
    prompt_tokens: int
    completion_tokens: int
    capture: str
    mean_p: float | None
    """Geometric mean of the first choice's token probabilities."""
    least_p: float | None
    question: str
    answer: str
    hidden: bool = False
    """Whether the reader may see numbers only: then there is neither question nor answer."""

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.started_at, self.exchange_id, self.attempt)

    @property
    def failed(self) -> bool:
        return self.end_reason not in ENDED_WELL


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first. ``older`` and ``newer`` are where to go on; None where there is nothing."""

    rows: list[ExchangeSummary]
    older: Cursor | None
    newer: Cursor | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What exchanges came to. ``least_p``: of the least sure token of all; None without tokens."""

    exchanges: int
    failed: int
    first_at: datetime
    last_at: datetime
    user: str
    """One of its users: a conversation has seldom more."""
    least_p: float | None
    by_model: dict[str, tuple[int, int]]
    """Prompt and completion tokens by version."""

    @classmethod
    def of(cls, model: str, prompt_tokens: int, completion_tokens: int, **rest: Any) -> Spent:
        """What one version answered."""
        return cls(by_model={model: (prompt_tokens, completion_tokens)}, **rest)

    def __add__(self, other: Spent) -> Spent:
        known = [one for one in (self.least_p, other.least_p) if one is not None]
        return Spent(
            self.exchanges + other.exchanges,
            self.failed + other.failed,
            min(self.first_at, other.first_at),
            max(self.last_at, other.last_at),
            self.user or other.user,
            min(known, default=None),
            self.by_model | other.by_model,
        )

    @property
    def prompt_tokens(self) -> int:
        return sum(prompt for prompt, _ in self.by_model.values())

    @property
    def completion_tokens(self) -> int:
        return sum(completion for _, completion in self.by_model.values())


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A conversation in a list, with the newest question that matched, cut."""

    name: str
    session: str
    """Empty for one that is told by how it begins."""
    route: str
    question: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Conversations, the one last spoken in first. ``older``: where to go on; None at the end."""

    rows: list[SessionSummary]
    older: Cursor | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bar of the histogram: [start, end)."""

    start: datetime
    end: datetime
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """An exchange with everything that is known of it but its raw bytes (see ``raw``)."""

    exchange_id: str
    attempt: int
    started_at: datetime
    finished_at: datetime
    first_token_seconds: float | None
    surface: str
    streamed: bool
    route: str
    model: str
    weights: str
    base_weights: str
    upstream: str
    key: str
    user: str
    session: str
    conversation: str
    tags: dict[str, str]
    trace_id: str
    span_id: str
    parent_span_id: str
    status: int
    end_reason: str
    error: str
    messages: list[dict[str, Any]]
    choices: list[Choice]
    params: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    prompt_token_ids: list[int]
    capture: str
    top_k: int
    tokens_expected: bool
    tokens_match: bool | None
    logprobs_mode: str
    tokenizer: str
    stored_at: datetime
    tokens: list[Tokens]
    """By choice, then source; empty in lists of turns."""
    cleared: str = ""
    """Why its bodies are gone: ``expired``; empty: they are here."""
    masked: int = 0
    """How many values were masked before it was stored."""
    hidden: bool = False
    """Whether the reader may see numbers only: then there is no text and no token."""
    mean_p: float | None = None
    """Geometric mean of the first choice's token probabilities, as in lists."""
    least_p: float | None = None

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def failed(self) -> bool:
        return self.end_reason not in ENDED_WELL

    @property
    def answer(self) -> str:
        """The first choice's text."""
        return self.choices[0].text if self.choices else ""

    def tokens_differ(self, now: datetime) -> bool:
        """Whether the engine counted other tokens than came, or will come: late ones are waited for."""
        if self.tokens_match is not None:
            return not self.tokens_match
        own = [tokens for tokens in self.tokens if tokens.source == "engine"]
        if not own or not self.completion_tokens:
            return False
        late = now - self.stored_at > TOKENS_DEADLINE
        came = sum(len(tokens.ids) for tokens in own)
        return came != self.completion_tokens and (late or len(own) >= len(self.choices))

    def tokens_missing(self, now: datetime) -> bool:
        """Whether tokens were expected and have not come in time; a late arrival ends it."""
        return self.tokens_expected and not self.tokens and now - self.stored_at > TOKENS_DEADLINE


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn of a conversation: what came last of what was asked, and what was answered."""

    exchange_id: str
    attempt: int
    started_at: datetime
    finished_at: datetime
    route: str
    model: str
    weights: str
    end_reason: str
    prompt_tokens: int
    completion_tokens: int
    messages: int
    """How many the model read; the turns before are among them."""
    asked: list[dict[str, Any]]
    """The messages since the last answer, oldest first, at most ten."""
    choices: list[Choice]
    least_p: float | None
    cleared: str = ""
    """Why its bodies are gone; empty: they are here."""
    hidden: bool = False
    """Whether the reader may see numbers only: then there is no text."""

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.started_at, self.exchange_id, self.attempt)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is known of a whole conversation without reading it."""

    exchanges: int
    first_at: datetime
    last_at: datetime
    prompt_tokens: int
    completion_tokens: int
    failed: int
    versions: list[str]
    """Names of what answered, at most 20."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What came to be known of an exchange after it ended, as it was said; ``data`` as in its module."""

    event_id: str
    kind: str
    at: datetime
    source: str
    exchange_id: str
    """Empty when only the trace was named."""
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a trace. ``seconds`` long; attributes are text."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    service: str
    started_at: datetime
    seconds: float
    status: str
    message: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Draw:
    """What exchanges were drawn from: how many matched, their mean doubt (1 − the least likely token's
    probability), and the first key that was not taken; None when all were, or they were not drawn by chance.
    """

    population: int
    mean_doubt: float
    threshold: float | None

    even: bool = False
    """Whether all weighed the same."""

    def chance(self, weight: float, size: int) -> float:
        """With which an exchange of this weight was among the ``size`` drawn."""
        if self.threshold is None:
            return 1.0
        return size / self.population if self.even else min(1.0, weight * self.threshold)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An exchange drawn for a queue, with the probability that it was drawn with."""

    exchange_id: str
    attempt: int
    started_at: datetime
    probability: float
    messages: list[dict[str, Any]]
    answer: str
    group: str
    mean_p: float | None
    least_p: float | None
    cut: bool = False
    """Whether the answer reached its allowed length and ends there."""
    second: str = ""
    """The second choice's text, where the engine gave several."""
    second_cut: bool = False
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    """What the first choice calls, in the engine's form."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """The tools that the request named; only drawn with ``calls``."""
    key: float = 0.0
    """Smaller is drawn sooner."""
    weight: float = 1.0
    draw: Draw | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """A day's traffic, in UTC."""

    day: date
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class Served:
    """What one model version answered on one route."""

    route: str
    model: str
    weights: str
    count: int
    failed: int
    first_at: datetime
    last_at: datetime
