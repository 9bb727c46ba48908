"""The spans of a trace as a tree, laid out in time: retrieval, our exchange, the engine's own steps.

Leaves fetching to inference.queries and drawing to the exchange's page.
"""

from dataclasses import dataclass

from inference import queries
from inference.queries import Span, StoredExchange


@dataclass(frozen=True, slots=True)
class Step:
    """A span of the trace, ``depth`` levels below its root; ``mine`` is the exchange itself. ``left`` and
    ``width`` say when it ran, in thousandths of the trace.
    """

    span: Span
    depth: int
    mine: bool
    left: int
    width: int


def steps(x: StoredExchange) -> list[Step]:
    """The tree around the exchange, parents before children; nothing when it stands alone."""
    found = queries.spans(x.trace_id) if x.trace_id else []
    if len(found) < 2:
        return []
    known = {span.span_id for span in found}
    children: dict[str, list[Span]] = {}
    for span in found:
        parent = span.parent_span_id if span.parent_span_id in known else ""
        children.setdefault(parent, []).append(span)
    begin = min(span.started_at for span in found)
    whole = max((span.started_at - begin).total_seconds() + span.seconds for span in found) or 1.0
    laid: list[Step] = []
    waiting = [(span, 0) for span in reversed(children.pop("", []))]
    while waiting or children:
        if not waiting:  # of spans that name each other as parents some come first all the same
            waiting = [(span, 0) for span in reversed(children.pop(next(iter(children))))]
        span, depth = waiting.pop()
        left = round(1000 * (span.started_at - begin).total_seconds() / whole)
        width = max(4, round(1000 * span.seconds / whole))
        laid.append(Step(span, min(depth, 6), span.span_id == x.span_id, min(left, 996), width))
        waiting += [(child, depth + 1) for child in reversed(children.pop(span.span_id, []))]
    return laid
