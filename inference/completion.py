"""What a half-written filter line may go on with: names, and after a name its values.

``place`` knows the line's form only; values come from the trace store, and without it names are still told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET

from inference import filters, queries
from inference.access import reader_required
from inference.clickhouse import Unavailable

MOST = 12
HINTS = {
    "route": "the model name that apps call",
    "version": "what answered",
    "adapter": "beginning of its hash",
    "weights": "beginning of their hash",
    "end": "why it ended",
    "key": "whose API key",
    "user": "for whom",
    "session": "which conversation",
    "tag": "name=value",
    "trace": "a trace’s id",
    "id": "an exchange’s id",
    "least_p": "of the least sure piece, as in <0.3",
    "mean_p": "how sure on the whole, 0 to 1",
    "entropy": "bits a token, as in >1",
    "cost": "dollars, as in >0.01",
    "seconds": "how long it took, as in >5",
    "first_token": "seconds to the first piece",
    "tokens": "written",
    "feedback": "what users said",
    "label": "what judges said",
    "score": "what users gave, 0 to 1",
    "since": "30m, 24h, 7d or a day",
    "until": "a day or a moment",
}
"""Offered first, in this order, with what stands beside each."""
TIMES = ("1h", "24h", "7d", "30d")
_NAMES = tuple(dict.fromkeys((*HINTS, *filters.NAMES, *filters.WORDS, *filters.NUMBERS, *filters.TIMES)))


@dataclass(frozen=True, slots=True)
class Place:
    """The part of a line at its cursor, [start, end): after ``name:`` if there is one, what is typed."""

    start: int
    end: int
    name: str
    beginning: str


@dataclass(frozen=True, slots=True)
class Option:
    """What may stand in the place, and a few words about it."""

    text: str
    hint: str = ""


def place(line: str, at: int) -> Place | None:
    """Where a completion would go; None inside a text between quotation marks."""
    at = max(0, min(at, len(line)))
    before = line[:at]
    if len(re.findall(r'(?<!\\)"', before)) % 2:
        return None
    start = max((found.end() for found in re.finditer(r"\s", before)), default=0)
    start += before.startswith("-", start)
    rest = re.match(r"[^\s,]*", line[at:])
    end = at + (rest.end() if rest else 0)
    name, colon, value = before[start:].partition(":")
    if not colon:
        return Place(start, end, "", before[start:])
    value = value.rpartition(",")[2]
    return Place(at - len(value), end, name, value)


def options(where: Place) -> list[Option]:
    """What may stand there, the likeliest first. Raises Unavailable where the trace store must be asked."""
    if not where.name:
        return [
            Option(f"{name}:", HINTS.get(name, "")) for name in _NAMES if name.startswith(where.beginning)
        ]
    name = filters.ALIASES.get(where.name, where.name)
    if name == "since":
        return [Option(text) for text in TIMES if text.startswith(where.beginning)]
    return [Option(filters.quoted(text)) for text in queries.suggest(name, where.beginning, MOST)]


@require_GET
@reader_required
def complete(request: HttpRequest) -> HttpResponse:
    """Options for ``?line=`` with the cursor ``at``: where they go and what they are, as JSON."""
    line, at = request.GET.get("line", "")[:4000], request.GET.get("at", "")
    where = place(line, int(at) if re.fullmatch("[0-9]{1,5}", at) else len(line))
    if where is None:
        return JsonResponse({"start": 0, "end": 0, "options": []})
    try:
        found = options(where)[:MOST]
    except Unavailable:
        found = []
    shown = [{"text": one.text, "hint": one.hint} for one in found]
    return JsonResponse({"start": where.start, "end": where.end, "options": shown})
