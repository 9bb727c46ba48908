"""What the page of a conversation shows: what it came to, and its turns as a person reads them."""

from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from inference import account, queries, reading
from inference.explorer import span, url
from inference.filters import Equals, Filter
from inference.heatmap import heat
from inference.stored import Cursor, StoredTurn


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange of the conversation. ``diff_url`` holds it against the one before."""

    x: StoredTurn
    asked: list[reading.Turn]
    html: SafeString
    reasoning: str
    calls: list[reading.Call]
    ending: account.Ending
    heat: str
    url: str
    diff_url: str


def context(name: str, after: Cursor | None) -> dict[str, Any] | None:
    """Everything that the page shows; None when there is no such conversation. Raises Unavailable."""
    whole = queries.conversation(name)
    if whole is None:
        return None
    found, further = queries.turns(name, after)
    before = [None, *found[:-1]]
    here = reverse("session", args=[name])
    return {
        "session": name,
        "whole": whole,
        "lasted": span(max(1.0, (whole.last_at - whole.first_at).total_seconds())),
        "turns": [turn(one, last) for one, last in zip(found, before, strict=True)],
        "listed_url": url(Filter((Equals("conversation", (name,)),))),
        "further_url": f"{here}?{urlencode({'after': str(further)})}" if further else "",
        "first_url": here if after else "",
    }


def turn(x: StoredTurn, before: StoredTurn | None) -> Turn:
    """A turn for people."""
    choice = x.choices[0] if x.choices else None
    attempt = f"?attempt={x.attempt}" if x.attempt else ""
    return Turn(
        x=x,
        asked=reading.turns(x.asked),
        # Cleaned by reading.markdown.
        html=mark_safe(reading.markdown(choice.text)) if choice else SafeString(""),  # noqa: S308
        reasoning=choice.reasoning if choice else "",
        calls=reading.calls(choice.tool_calls) if choice else [],
        ending=account.ending(x.end_reason),
        heat="h0" if x.least_p is None else heat(x.least_p),
        url=reverse("exchange", args=[x.exchange_id]) + attempt,
        diff_url=_diff(before, x) if before else "",
    )


def _diff(first: StoredTurn, second: StoredTurn) -> str:
    ids = {"a": f"{first.exchange_id}.{first.attempt}", "b": f"{second.exchange_id}.{second.attempt}"}
    return f"{reverse('exchange-diff')}?{urlencode(ids)}"
