"""What each page asks of the trace store: for the bench, and for a test of what is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from inference import filters, queries
from inference.queries import ExchangeSummary

_WORD, _RARE = "heart", '"case 4242"'
_ASKED = {
    "newest": "",
    "filtered": "least_p:<0.05 since:7d",
    "one user": "user:u77",
    "tag": "tag:group=g3",
    "feedback": "feedback:down",
    "words": _WORD,
    "rare words": _RARE,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one part of a page; a page as a whole asks all that begin with its name."""

    name: str
    ask: Callable[[], object]


def questions() -> list[Question]:
    """All of them, about an exchange in the middle of what is stored now."""
    newest = queries.explore(filters.parse(""))
    assert newest.older is not None
    one = newest.rows[len(newest.rows) // 2]
    return [*_explorer(newest.older), *_exchange(one), *_elsewhere(one)]


def _explorer(older: queries.Cursor) -> list[Question]:
    found = [Question("explorer, older", lambda: queries.explore(filters.parse(""), older))]
    for name, line in _ASKED.items():
        asked = filters.parse(line)
        found += [
            Question(f"explorer, {name}: list", lambda asked=asked: queries.explore(asked)),  # type: ignore[misc]
            Question(f"explorer, {name}: count", lambda asked=asked: queries.count(asked)),  # type: ignore[misc]
            Question(f"explorer, {name}: histogram", lambda asked=asked: queries.histogram(asked)),  # type: ignore[misc]
        ]
    return found


def _exchange(one: ExchangeSummary) -> list[Question]:
    return [
        Question("exchange", lambda: queries.exchange(one.exchange_id)),
        Question("exchange: bytes", lambda: queries.raw(one.exchange_id)),
        Question("exchange: events", lambda: queries.events(one.exchange_id, one.trace_id)),
        Question("exchange: spans", lambda: queries.spans(one.trace_id)),
        Question("exchange: neighbours", lambda: queries.neighbours(filters.parse(""), one.cursor)),
        Question("sessions", lambda: queries.sessions(filters.parse(""))),
        Question("sessions, older", lambda: queries.sessions(filters.parse(""), one.cursor)),
        Question("sessions, filtered", lambda: queries.sessions(filters.parse(_ASKED["filtered"]))),
        Question("session", lambda: queries.turns(one.conversation)),
        Question("session: in all", lambda: queries.conversation(one.conversation)),
    ]


def _elsewhere(one: ExchangeSummary) -> list[Question]:
    recent = datetime.now(UTC) - timedelta(days=14)
    everything = filters.parse("")
    return [
        Question("overview: days", queries.daily),
        Question("overview: versions", lambda: queries.by_weights(recent)),
        Question("search: exchange", lambda: queries.find(one.exchange_id)),
        Question("search: last eight", lambda: queries.find(one.exchange_id[-8:])),
        Question("search: trace", lambda: queries.find(one.trace_id)),
        Question("names: users", lambda: queries.suggest("user", "u1")),
        Question("queue: newest", lambda: queries.sample(everything, 5, order="newest")),
        Question("queue: uncertain", lambda: queries.sample(everything, 50, order="uncertain")),
        Question("queue: random", lambda: queries.sample(everything, 50)),
    ]
