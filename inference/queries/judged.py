"""What people said, by what had answered: the share approved of each model version, over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from inference.conditions import AT
from inference.queries.asking import ask
from inference.stored import microseconds

KIND = "gen_ai.evaluation.result"
"""The event's name in OpenTelemetry's GenAI semantic conventions."""
LABEL = "gen_ai.evaluation.score.label"
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


def approval(since: datetime, route: str = "") -> list[Approval]:
    """Approval by day and version, oldest first; of one route, or of all. Without what was withdrawn."""
    rows = ask(
        f"""
        SELECT toDate(f.started_at) AS day, f.weights AS weights, any(f.model) AS model,
               uniqExact(e.event_id) AS judged, uniqExactIf(e.event_id, e.label = 'approve') AS approved
        FROM (
            SELECT event_id, exchange_id, JSONExtractString(data, '{LABEL}') AS label,
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
