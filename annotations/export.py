"""Raw annotations of a queue as JSONL or CSV, row by row: every judgement and every withdrawal, in order.

Both have the same fields. A flagged item's texts are left out, here as everywhere; who reads a queue masked
gets them so. In CSV a text that a spreadsheet would take for a formula begins with an apostrophe; JSONL has
it as it was typed.
"""

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from annotations.adjudications import RULE
from annotations.masks import Mask
from annotations.models import Adjudication, Annotation, Item, Queue
from annotations.reading import read

FIELDS = (
    *("annotation", "item", "exchange_id", "attempt", "queue", "reviewer", "source", "decision", "answer"),
    *("reason", "note", "values", "seconds", "heat_map_seen", "masked", "sides_swapped"),
    *("guidelines_version", "created_at", "undoes", "withdrawn", "asked", "model_answer", "state"),
    *("verdict", "verdict_rule", "verdict_answer", "verdict_values", "decided_why", "probability", "weight"),
)
_CHUNK = 1000
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows(queue: Queue, *, masked: bool = False) -> Iterator[dict[str, Any]]:
    """Every annotation of a queue, the oldest first, read in chunks."""
    found = Annotation.objects.filter(item__queue=queue).select_related("item", "reviewer", "undone_by")
    decided = Adjudication.objects.filter(item=OuterRef("item")).order_by("-id")
    noted: QuerySet[Any] = found.annotate(decided_why=Subquery(decided.values("why")[:1]))
    for one in noted.order_by("id").iterator(chunk_size=_CHUNK):
        one.item.queue = queue
        # A decision that no longer counts (the item was flagged since, and waited again) is not the why.
        why = (one.decided_why or "") if one.item.verdict_rule.startswith(RULE) else ""
        mask = Mask(one.item) if masked else None
        yield _row(queue, mask.annotation(one), mask.text(why)) if mask else _row(queue, one, why)


def _row(queue: Queue, one: Annotation, why: str) -> dict[str, Any]:
    item = one.item
    hidden = item.state == Item.State.FLAGGED
    texts = {
        "answer": one.answer,
        "note": one.note,
        "values": one.values,
        "asked": read(item.messages).asked,
        "model_answer": item.answer,
        "verdict_answer": item.verdict_answer,
        "verdict_values": item.verdict_values,
        "decided_why": why,
    }
    return {
        "annotation": one.pk,
        "item": item.pk,
        "exchange_id": str(item.exchange_id),
        "attempt": item.attempt,
        "queue": queue.slug,
        "reviewer": one.reviewer.username,
        "source": one.source,
        "decision": one.decision,
        "reason": one.reason,
        "seconds": one.seconds,
        "heat_map_seen": one.heat_map_seen,
        "masked": one.masked,
        "sides_swapped": one.sides_swapped,
        "guidelines_version": one.guidelines_version,
        "created_at": one.created_at.isoformat(),
        "undoes": one.undoes_id,
        "withdrawn": hasattr(one, "undone_by"),
        "state": item.state,
        "verdict": item.verdict,
        "verdict_rule": item.verdict_rule,
        "probability": item.probability,
        "weight": item.weight,
    } | (dict.fromkeys(texts) if hidden else texts)


def jsonl(queue: Queue, *, masked: bool = False) -> Iterator[bytes]:
    """One JSON object a line."""
    for row in rows(queue, masked=masked):
        ordered = {field: row[field] for field in FIELDS}
        yield json.dumps(ordered, ensure_ascii=False).encode() + b"\n"


class _Line:
    """What csv writes to: gives the line back."""

    def write(self, line: str) -> str:
        return line


def as_csv(queue: Queue, *, masked: bool = False) -> Iterator[bytes]:
    """RFC 4180, a head of names first, UTF-8."""
    write = csv.writer(_Line()).writerow
    yield write(FIELDS).encode()
    for row in rows(queue, masked=masked):
        yield write([_cell(row[field]) for field in FIELDS]).encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return json.dumps(value, ensure_ascii=False)


FORMS: dict[str, tuple[str, Callable[..., Iterator[bytes]]]] = {
    "jsonl": ("application/jsonl; charset=utf-8", jsonl),
    "csv": ("text/csv; charset=utf-8", as_csv),
}
"""Ending → content type and how it is written."""
