"""The list of conversations: the explorer's filter, asked of conversations instead of exchanges.

A page of it is all that is asked; how many there are in all would mean reading everything.
"""

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from inference import explorer, filters, lookups, queries
from inference.clickhouse import RejectedError
from inference.explorer import Link
from inference.filters import Equals, Filter, FilterError
from inference.heatmap import heat
from inference.stored import SessionSummary, Spent


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation in the list."""

    x: SessionSummary
    url: str
    user_url: str
    lasted: str
    dollars: float | None
    heat: str


def url(chosen: Filter, **more: object) -> str:
    """The list's address for a filter."""
    pairs = {"q": str(chosen), **{name: str(value) for name, value in more.items()}}
    query = urlencode({name: value for name, value in pairs.items() if value})
    return reverse("sessions") + (f"?{query}" if query else "")


def context(asked: QueryDict) -> dict[str, Any]:
    """Everything the page shows. Raises Unavailable when the trace store can't be asked."""
    line = asked.get("q", "").strip()
    before = explorer.cursor(asked.get("before", ""))
    try:
        chosen = filters.parse(line)
        page = queries.sessions(chosen, before, explorer.LIMIT)
    except (FilterError, RejectedError) as error:
        return {"line": line, "error": explorer.fault(error, line)}
    shown = {
        "line": str(chosen) or line,
        "filter": chosen,
        "chips": [Link(str(term), url(chosen.without(term))) for term in chosen.terms],
        "exchanges_url": explorer.url(chosen),
        "newest_url": url(chosen) if before else "",
        "older_url": url(chosen, before=page.older) if page.older else "",
    }
    if not (page.rows or chosen.terms or before):
        # What Flywheel asked by itself is an exchange, and no conversation.
        ever = queries.count(chosen) > 0
        return shown | {"none_ever": not ever, "only_ours": ever, "first_request": explorer.first_request()}
    return shown | {"rows": [row(one) for one in page.rows]}


def row(x: SessionSummary) -> Row:
    spent = x.spent
    return Row(
        x=x,
        url=reverse("session", args=[x.name]) if x.name else "",
        user_url=url(Filter((Equals("user", (spent.user,)),))) if spent.user else "",
        lasted=explorer.span(max(1.0, (spent.last_at - spent.first_at).total_seconds())),
        dollars=dollars(spent),
        heat="h0" if spent.least_p is None else heat(spent.least_p),
    )


def dollars(spent: Spent) -> float | None:
    """At today's prices; None when none of the versions has one."""
    prices = lookups.prices()
    costs = [prices[model].dollars(*tokens) for model, tokens in spent.by_model.items() if model in prices]
    return sum(costs) if costs else None
