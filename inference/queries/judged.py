"""What people, or a list of known answers, said by model version: the share approved, over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from inference.conditions import AT
from inference.queries.asking import ask
from inference.stored import microseconds

KIND = "gen_ai.evaluation.result"
"""The event's name in OpenTelemetry's GenAI semantic conventions."""
LABEL = "gen_ai.evaluation.score.label"
BY = "flywheel.by"
"""Who gave it: a person, or the reference list."""
UNDOES = "flywheel.undoes"
"""In an event that withdraws another: that one's id."""
_DECIDED = "('approve', 'reject', 'correct')"


@dataclass(frozen=True, slots=True)
class Approval:
    """On one day (UTC, of the exchange) of one version: judgements that stand, and approvals among them."""

    day: date
    weights: str
    model: str
    judged: int
    approved: int
    by_reference: int
    """Of the judged: those that a list of known answers gave, not a person."""


def approval(since: datetime, route: str = "") -> list[Approval]:
    """Approval by day and version, oldest first; of one route, or of all. Without what was withdrawn."""
    rows = ask(
        f"""
        SELECT toDate(f.started_at) AS day, f.weights AS weights, any(f.model) AS model,
               uniqExact(e.event_id) AS judged, uniqExactIf(e.event_id, e.label = 'approve') AS approved,
               uniqExactIf(e.event_id, e.by = 'reference') AS by_reference
        FROM (
            SELECT event_id, exchange_id, JSONExtractString(data, '{LABEL}') AS label,
                   JSONExtractString(data, '{BY}') AS by,
                   JSONExtractUInt(data, 'flywheel.attempt') AS attempt
            FROM events
            WHERE kind = '{KIND}' AND started_at >= {AT.format("since")} AND label IN {_DECIDED}
              AND toString(event_id) NOT IN (
                SELECT JSONExtractString(data, '{UNDOES}') FROM events
                WHERE kind = '{KIND}' AND started_at >= {AT.format("since")} AND JSONHas(data, '{UNDOES}')
              )
        ) AS e
        INNER JOIN (
            SELECT exchange_id, attempt, started_at, weights, model FROM facts FINAL
            WHERE started_at >= {AT.format("since")} AND ({{route:String}} = '' OR route = {{route:String}})
        ) AS f ON e.exchange_id = f.exchange_id AND e.attempt = f.attempt
        GROUP BY day, weights ORDER BY day, weights
        """,  # noqa: S608 - constants
        {"since": microseconds(since), "route": route},
    )
    return [Approval(**row) for row in rows]
