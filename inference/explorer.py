"""What the explorer shows: a filter, what matches it, and links to every narrower and wider question.

The state of the page is its address. Leaves asking to inference.queries and words to inference.account.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from inference import columns, filters, lookups, queries, readers
from inference.clickhouse import RejectedError
from inference.columns import Beside, Cell, Column
from inference.filters import Equals, Filter, FilterError, Term, Time
from inference.lookups import Price, Settled
from inference.models import Route
from inference.queries import Bucket, Cursor, ExchangeSummary, Page

LIMIT = 50
QUICK = (
    ("in the last hour", "since:1h"),
    ("unsure somewhere", "least_p:<0.5"),
    ("cut off", "end:length"),
    ("thumbs down", "feedback:down"),
    ("failed", "end:engine_died,engine_error,engine_timeout,proxy_died,refused,bad_request"),
)
_AN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,32}")
LIST = "list"
"""Names, in an exchange's address, the filter of the list it was opened from."""
WIDTH, HEIGHT = 8, 64
SPANS = ((60, 1, "second"), (3600, 60, "minute"), (86400, 3600, "hour"), (math.inf, 86400, "day"))


@dataclass(frozen=True, slots=True)
class Link:
    """Somewhere to go: a part of the filter to drop, or one to add. ``count`` is what that would give."""

    text: str
    url: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An exchange in the list: ``url`` is its own page, ``peek_url`` this list with it beside."""

    exchange: ExchangeSummary
    url: str
    peek_url: str
    shown: bool
    cells: list[tuple[Cell, str]]
    """The chosen columns, each with the address that narrows to its value, or ""."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the histogram, in units of the drawing; its link narrows the list to its time."""

    x: int
    y: float
    height: float
    failed: float
    title: str
    url: str
    start: datetime
    end: datetime
    count: int

    @property
    def failed_y(self) -> float:
        return HEIGHT - self.failed


def url(chosen: Filter, **more: object) -> str:
    """The explorer's address for a filter."""
    pairs = {"q": str(chosen), **{name: str(value) for name, value in more.items()}}
    query = urlencode({name: value for name, value in pairs.items() if value})
    return reverse("exchanges") + (f"?{query}" if query else "")


def exchange_url(exchange_id: str, attempt: int, listed: Filter | None = None, view: str = "") -> str:
    """An exchange's page. With a list it leads on along that (inference.neighbours)."""
    pairs = {"attempt": attempt or "", "view": view}
    query = {name: value for name, value in pairs.items() if value}
    if listed is not None:
        query[LIST] = str(listed)
    return reverse("exchange", args=[UUID(exchange_id)]) + (f"?{urlencode(query)}" if query else "")


def pasted(line: str) -> str:
    """Where a pasted id leads: the exchange that it names, or those of the trace; "" for anything else.

    Raises Unavailable. A whole exchange id needs no asking.
    """
    text = line.strip().lower()
    if not _AN_ID.fullmatch(text) or not any(character.isdigit() for character in text):
        return ""
    if len(text) == 36:
        return reverse("exchange", args=[UUID(text)])
    found = queries.find(text, limit=2)
    if len(found) > 1:
        return url(Filter((Equals("trace", (text,)),))) if len(text) == 32 else ""
    return reverse("exchange", args=[found[0]]) if found else ""


def cursor(text: str) -> Cursor | None:
    """A place in the list; what is none begins at the newest."""
    try:
        return Cursor.parse(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list a page is: what its links take along beside the filter."""

    before: Cursor | None
    after: Cursor | None
    peek: str = ""
    """The id of the exchange shown beside it, or ""."""
    attempt: int = 0
    shown: tuple[Column, ...] = columns.chosen(())
    """The chosen columns."""

    @classmethod
    def of(cls, asked: QueryDict) -> Self:
        """What the address says; what is none of it counts as absent."""
        attempt = asked.get("attempt", "")
        try:
            peek = str(UUID(asked.get("peek", "")))
        except ValueError:
            peek = ""
        return cls(
            cursor(asked.get("before", "")),
            cursor(asked.get("after", "")),
            peek,
            int(attempt) if re.fullmatch("[0-9]{1,3}", attempt) else 0,
            columns.chosen(asked.getlist("columns")),
        )

    def link(self, chosen: Filter, **more: object) -> str:
        """A list from its beginning, or from where ``more`` says, with the same columns."""
        return url(chosen, columns=columns.text(self.shown), **more)

    def url(self, chosen: Filter, exchange_id: str = "", attempt: int = 0) -> str:
        """The same page with another exchange beside it, or none."""
        return self.link(
            chosen,
            before=self.before or "",
            after=self.after or "",
            peek=exchange_id,
            attempt=attempt if exchange_id and attempt else "",
        )


def context(asked: QueryDict) -> dict[str, Any]:
    """Everything the page shows. Raises Unavailable when the trace store can't be asked."""
    line = asked.get("q", "").strip()
    sessions = f"{reverse('sessions')}?{urlencode({'q': line})}" if line else reverse("sessions")
    return {"sessions_url": sessions} | _context(asked, line)


def _context(asked: QueryDict, line: str) -> dict[str, Any]:
    place = Place.of(asked)
    shown: dict[str, Any] = {
        "columns": place.shown,
        "columns_text": columns.text(place.shown),
        "all_columns": [(one, one in place.shown) for one in columns.ALL],
    }
    try:
        chosen = filters.parse(line)
        page = queries.explore(chosen, place.before, LIMIT, after=place.after)
    except (FilterError, RejectedError) as error:
        return shown | {"line": line, "error": fault(error, line), "quick": quick(Filter(), place)}
    shown |= {"line": str(chosen) or line, "text": str(chosen), "filter": chosen}
    shown |= {"chips": chips(chosen, place)}
    if not page.rows and not chosen.terms and not (place.before or place.after):
        return shown | {"none_ever": True, "first_request": first_request()}
    return shown | _list(chosen, page, place)


def newer(asked: QueryDict) -> dict[str, Any]:
    """How many came since the place ``newest``: what the list says on top, without moving a row.

    Raises Unavailable; a place or a filter that is none counts nothing.
    """
    since, place = cursor(asked.get("newest", "")), Place.of(asked)
    try:
        chosen = filters.parse(asked.get("q", ""))
        new = queries.count(chosen, newer_than=since) if since else 0
    except FilterError:
        return {"new": 0}
    return {
        "new": new,
        "new_url": place.link(chosen),
        "poll_url": place.link(chosen, newest=since or ""),
    }


def fault(error: Exception, line: str) -> FilterError:
    """What could be read but not asked is a fault of the filter too."""
    return error if isinstance(error, FilterError) else FilterError(line[:60], "this can't be asked")


def _list(chosen: Filter, page: Page, place: Place) -> dict[str, Any]:
    known = beside(page.rows, place.shown)
    found: dict[str, Any] = {
        "rows": [row(each, chosen, place, one) for each, one in zip(page.rows, known, strict=True)],
        "count": queries.count(chosen),
        "quick": quick(chosen, place),
        "older_url": place.link(chosen, before=page.older) if page.older else "",
        "newer_url": place.link(chosen, after=page.newer) if page.newer else "",
        "usual_url": url(chosen),
        "brush_url": place.link(Filter()),
    }
    if page.rows and not page.newer:
        found["poll_url"] = place.link(chosen, newest=page.rows[0].cursor)
    return found | (histogram(chosen, place) if page.rows else {"drops": drops(chosen, place)})


def beside(rows: list[ExchangeSummary], shown: Iterable[Column]) -> list[Beside]:
    """For each row what the trace store does not hold of it; asked for only where a column shows it."""
    names = {column.name for column in shown}
    prices = lookups.prices() if "cost" in names else {}
    ids = [(UUID(each.exchange_id), each.attempt) for each in rows] if names & columns.JUDGED else []
    settled = lookups.verdicts(ids)
    return [
        Beside(_dollars(each, prices), _readable(each, settled.get((UUID(each.exchange_id), each.attempt))))
        for each in rows
    ]


def _dollars(each: ExchangeSummary, prices: dict[str, Price]) -> float | None:
    price = prices.get(each.model)
    return price.dollars(each.prompt_tokens, each.completion_tokens) if price else None


def _readable(each: ExchangeSummary, settled: Settled | None) -> Settled | None:
    """Without the correction for who may see numbers only; who sees one has seen a text of the exchange."""
    if settled is None or not settled.corrected:
        return settled
    if each.hidden:
        return settled._replace(corrected="")
    readers.saw(each.exchange_id, each.route)
    return settled


def row(each: ExchangeSummary, chosen: Filter, place: Place, known: Beside) -> Row:
    cells = [columns.cell(column, each, known) for column in place.shown]
    return Row(
        exchange=each,
        url=exchange_url(each.exchange_id, each.attempt, chosen),
        peek_url=place.url(chosen, each.exchange_id, each.attempt),
        shown=(each.exchange_id, each.attempt) == (place.peek, place.attempt),
        cells=[(one, place.link(chosen.with_term(one.term)) if one.term else "") for one in cells],
    )


def between(asked: QueryDict) -> str:
    """The address of the same filter within other times: the fields ``from`` and ``to``, in UTC.

    "" when neither is asked for, or the filter can't be read. A field that is no time bounds nothing.
    """
    if not ("from" in asked or "to" in asked):
        return ""
    try:
        chosen = filters.parse(asked.get("q", ""))
    except FilterError:
        return ""
    rest = tuple(term for term in chosen.terms if not isinstance(term, Time))
    ends = (("since", asked.get("from", "")), ("until", asked.get("to", "")))
    times = tuple(Time(name, at) for name, text in ends if (at := _moment(text)))
    return Place.of(asked).link(Filter((*rest, *times)))


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def chips(chosen: Filter, place: Place) -> list[Link]:
    """Each part of the filter, with the address without it."""
    return [Link(str(term), place.link(chosen.without(term))) for term in chosen.terms]


def quick(chosen: Filter, place: Place) -> list[Link]:
    """Often wanted parts that the filter has not."""
    offered = ((text, filters.parse(part).terms[0]) for text, part in QUICK)
    return [
        Link(text, place.link(chosen.with_term(term))) for text, term in offered if term not in chosen.terms
    ]


def drops(chosen: Filter, place: Place) -> list[Link]:
    """Which part to drop when nothing matches, and what that would give; what gives nothing is left out."""
    if len(chosen.terms) < 2:
        return []
    tried = [(term, chosen.without(term)) for term in chosen.terms[:8]]
    found = [Link(str(term), place.link(rest), queries.count(rest)) for term, rest in tried]
    return sorted((link for link in found if link.count), key=lambda link: -(link.count or 0))


def histogram(chosen: Filter, place: Place) -> dict[str, Any]:
    """Columns over time, each a link to its span; nothing for a single moment."""
    buckets = queries.histogram(chosen)
    if len(buckets) < 2:
        return {}
    highest = max(bucket.count for bucket in buckets)
    return {
        "bars": list(bars(buckets, chosen.terms, highest, place)),
        "bars_width": WIDTH * len(buckets),
        "bars_from": buckets[0].start,
        # The last column may reach beyond what has happened yet.
        "bars_until": buckets[-1].end if buckets[-1].end < timezone.now() else None,
        # A field of whole minutes must not cut the last one off.
        "until_field": buckets[-1].end + timedelta(seconds=59),
        "rest": str(Filter(tuple(term for term in chosen.terms if not isinstance(term, Time)))),
        "highest": highest,
        "step": span((buckets[0].end - buckets[0].start).total_seconds()),
    }


def bars(buckets: list[Bucket], terms: tuple[Term, ...], highest: int, place: Place) -> Iterable[Bar]:
    rest = tuple(term for term in terms if not isinstance(term, Time))
    for number, bucket in enumerate(buckets):
        # What is not zero is seen: at least two units high.
        height = max(2.0, round(HEIGHT * bucket.count / highest, 1)) if bucket.count else 0.0
        narrowed = Filter((*rest, Time("since", bucket.start), Time("until", bucket.end)))
        failed = height * bucket.failed / bucket.count if bucket.count else 0.0
        length = span((bucket.end - bucket.start).total_seconds())
        title = f"{bucket.count:,} in {length} from {_clock(bucket.start)}"
        title += f", {bucket.failed:,} failed" if bucket.failed else ""
        yield Bar(
            x=number * WIDTH,
            y=HEIGHT - height,
            height=height,
            failed=round(failed, 1),
            title=title,
            url=place.link(narrowed),
            start=bucket.start,
            end=bucket.end,
            count=bucket.count,
        )


def _clock(at: datetime) -> str:
    return f"{at:%d %b %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """A step of time in words: ``40 seconds``, ``an hour`` is ``1 hour``."""
    unit, name = next((unit, name) for limit, unit, name in SPANS if seconds < limit)
    number = round(seconds / unit, 1) if seconds < 10 * unit else round(seconds / unit)
    return f"{number:g} {name}{'' if number == 1 else 's'}"


def first_request() -> str:
    """How to send the first request, with this server's proxy and a route that exists."""
    route = Route.objects.order_by("pk").values_list("name", flat=True).first() or "YOUR-ROUTE"
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{settings.PROXY_URL}/v1", api_key="fw-…")\n'
        "answer = client.chat.completions.create(\n"
        f'    model="{route}", messages=[{{"role": "user", "content": "Hello"}}]\n'
        ")\n"
        "print(answer.choices[0].message.content)"
    )
