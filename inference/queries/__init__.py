"""What the pages and the queues ask of the trace store, with typed answers.

Values go to ClickHouse as parameters, never into the text of a query. Lists are paged by (started_at,
exchange id, attempt), never by OFFSET. Everything raises inference.clickhouse.Unavailable when the store
can't be asked. Times are aware, in UTC.
"""

from inference.queries.conversations import conversation, turns
from inference.queries.counts import by_weights, daily, tokens_by_key
from inference.queries.draws import asked_the_same, matching, sample
from inference.queries.judged import Approval, approval
from inference.queries.lists import COUNTED, count, explore, histogram, neighbours, suggest
from inference.queries.one import events, exchange, find, raw, spans
from inference.queries.session_lists import sessions
from inference.stored import (
    ENDED_WELL,
    TOKENS_DEADLINE,
    Bucket,
    Candidate,
    Conversation,
    Cursor,
    Day,
    ExchangeSummary,
    Page,
    Served,
    SessionPage,
    SessionSummary,
    Span,
    StoredEvent,
    StoredExchange,
    StoredTurn,
    microseconds,
)

__all__ = [
    "COUNTED",
    "ENDED_WELL",
    "TOKENS_DEADLINE",
    "Approval",
    "Bucket",
    "Candidate",
    "Conversation",
    "Cursor",
    "Day",
    "ExchangeSummary",
    "Page",
    "Served",
    "SessionPage",
    "SessionSummary",
    "Span",
    "StoredEvent",
    "StoredExchange",
    "StoredTurn",
    "approval",
    "asked_the_same",
    "by_weights",
    "conversation",
    "count",
    "daily",
    "events",
    "exchange",
    "explore",
    "find",
    "histogram",
    "matching",
    "microseconds",
    "neighbours",
    "raw",
    "sample",
    "sessions",
    "spans",
    "suggest",
    "tokens_by_key",
    "turns",
]
