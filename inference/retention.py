"""What expires in the trace store, and letting it: bodies, tokens and metadata each have days of their own.

Knows which columns are bodies (whatever spells the text: the prompt's token ids, too), and how a run's cost
stays bounded: one statement a table and month, only for months in which something is due, at most ``MOST`` a
run, and none while an earlier one is at work. What a route's days are is in inference.models, what is held in
flywheel.retention; erasure asks neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from inference.clickhouse import Store
from inference.otlp import KEY
from inference.routing import VERSION_PREFIX
from inference.stored import microseconds

MOST = 24
"""Statements a run."""
NO_ROUTE = ""
EXPIRED = "expired"
"""What ``cleared`` says of rows whose bodies expired."""


class Part(StrEnum):
    """What expires apart."""

    TOKENS = "tokens"
    BODIES = "bodies"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Policy:
    """A route's days; None: for ever. ``route`` may be VERSION_PREFIX: all calls to a version by its name, or
    NO_ROUTE: those that were refused before they had one, whatever they asked for."""

    route: str
    days: Mapping[Part, int | None]
    known: tuple[str, ...] = ()
    """Of NO_ROUTE: all routes."""

    @property
    def condition(self) -> str:
        """Which rows are its route's. Raises ValueError for what can be no route's name."""
        if self.route == VERSION_PREFIX:
            return f"startsWith(route, '{VERSION_PREFIX}')"
        for name in self.known or (self.route,):
            if name != NO_ROUTE and not _ROUTE.fullmatch(name):
                raise ValueError(f"{name!r} is no route's name")
        if self.route == NO_ROUTE:
            # What was asked for stands in their rows where a route's name would.
            names = ", ".join(f"'{name}'" for name in ("", *self.known))
            return (
                f"(route = '' OR (model = '' AND NOT startsWith(route, '{VERSION_PREFIX}') "
                f"AND route NOT IN ({names})))"
            )
        return f"route = '{self.route}'"

    def cutoff(self, part: Part, now: datetime) -> datetime | None:
        """What began before is due: whole days in UTC, so that a run a day does a day's work."""
        days = self.days.get(part)
        return None if days is None else earliest(days, now)


@dataclass(frozen=True, slots=True)
class Due:
    """What a route's next run removes: exchanges whose part is due, and how many of them are held."""

    route: str
    part: Part
    exchanges: int
    held: int


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, and what it is about."""

    table: str
    month: str
    part: Part
    rows: int
    sql: str


_BODIES = {
    "exchanges": "messages = '[]', choices = '[]', request = '', response = '', prompt_token_ids = [], "
    f"error = '', cleared = '{EXPIRED}'",
    "facts": f"question = '', answer = '', cleared = '{EXPIRED}'",
    # What was said in words goes; thumbs and score are read from what is left.
    "events": "data = toJSONString(CAST((thumbs, score, user), "
    f"'Tuple(thumbs String, score Nullable(Float64), user String)')), cleared = '{EXPIRED}'",
}
_NOT_YET = {
    Part.TOKENS: " AND exchange_id IN (SELECT exchange_id FROM tokens)",
    Part.BODIES: " AND cleared = ''",
    Part.METADATA: "",
}
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_ROUTE = re.compile(r"[-\w]{1,50}", re.ASCII)


def earliest(days: int, now: datetime) -> datetime:
    """From when on something is kept that has so many days."""
    return datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=days)


def strictest(policies: Sequence[Policy], route: str) -> Policy:
    """The fewest days of any route, for what may hold the texts of each.

    Calls to a version by its name repeat what some route was asked (an exam's row, an exchange that is tried
    again), and a copy must not outlive what it was copied from; a call that was refused before it had a route
    may have been meant for any.
    """
    days = {}
    for part in Part:
        known = [found for one in policies if (found := one.days.get(part)) is not None]
        days[part] = min(known, default=None)
    return Policy(route, days, tuple(one.route for one in policies))


def announce(store: Store, policies: Sequence[Policy], now: datetime) -> None:
    """Tell drains from when on each route's texts are kept.

    Not of NO_ROUTE: what they keep aside may be of none for want of being read, and is not lost so soon.
    """
    rows = {one.route: one.cutoff(Part.BODIES, now) or _BEGINNING for one in policies if one.route}
    if rows != kept_from(store):
        lines = [(route, before, now) for route, before in rows.items()]
        store.insert("kept_from", ("route", "before", "at"), lines, token=f"{uuid4()}")


def kept_from(store: Store) -> dict[str, datetime]:
    """What was announced last, by route."""
    rows = store.query(
        "SELECT route, before FROM kept_from FINAL WHERE at = (SELECT max(at) FROM kept_from)"
    ).result_rows
    return {str(route): before for route, before in rows}


def hold(store: Store, run: UUID, exchanges: Iterable[tuple[UUID, bool]]) -> None:
    """Write down what is held, for one run: exchange, and whether its bodies and tokens are, too."""
    rows = [(run, exchange, bodies) for exchange, bodies in exchanges]
    for start in range(0, len(rows), 50_000):
        part = rows[start : start + 50_000]
        store.insert("held", ("run", "exchange_id", "bodies"), part, token=f"{run}:{start}:{len(part)}")


def let_go(store: Store, run: UUID) -> None:
    """Forget what earlier runs held."""
    for (other,) in store.query("SELECT DISTINCT toString(run) FROM held").result_rows:
        if other != str(run):
            store.command(f"ALTER TABLE held DROP PARTITION '{UUID(other)}'")


def busy(store: Store) -> bool:
    """Whether earlier statements are at work."""
    ((count,),) = store.query(
        "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND NOT is_done"
    ).result_rows
    return bool(count)


def due(store: Store, policies: Sequence[Policy], run: UUID, now: datetime) -> list[Due]:
    """What a run at ``now`` would remove, by route and part. ``run`` names what is held."""
    found = []
    for policy in policies:
        for part in Part:
            if not (condition := _due(policy, part, now)):
                continue
            ((count, held),) = store.query(
                f"SELECT count(), countIf(exchange_id IN ({_held(run, part)})) "  # noqa: S608 - checked
                f"FROM facts FINAL WHERE {condition}{_NOT_YET[part]}"
            ).result_rows
            found.append(Due(policy.route, part, count - held, held))
    return found


def gone(store: Store, routes: Sequence[str]) -> list[tuple[str, int]]:
    """Routes that are no more and still have exchanges, and how many: nobody's days apply to them."""
    rows = store.query(
        "SELECT route, uniqExact(exchange_id) FROM facts "
        "WHERE route != '' AND model != '' AND NOT startsWith(route, {version:String}) "
        "AND NOT has({routes:Array(String)}, route) GROUP BY route ORDER BY route",
        {"version": VERSION_PREFIX, "routes": list(routes)},
    ).result_rows
    return [(str(route), int(count)) for route, count in rows]


def steps(store: Store, policies: Sequence[Policy], run: UUID, now: datetime) -> list[Step]:
    """The statements of a run at ``now``, oldest months first, at most ``MOST``.

    Facts say what is due elsewhere, so their own metadata goes last: in a later run, with nothing else left.
    """
    found: list[Step] = []
    for part in Part:
        if due_here := _all_due(policies, part, run, now):
            found += [step for change in _changes(part, due_here) for step in _steps(store, part, *change)]
    others = [step for step in found if not (step.table == "facts" and step.part is Part.METADATA)]
    return sorted(others or found, key=lambda step: step.month)[:MOST]


def start(store: Store, found: Iterable[Step]) -> None:
    """Begin the statements; ``busy`` says until when they are at work. Twice does no harm."""
    for step in found:
        store.command(step.sql)


def _steps(store: Store, part: Part, table: str, change: str, which: str) -> list[Step]:
    month = "toString(toYYYYMM(Timestamp))" if table == "spans" else "toString(toYYYYMM(started_at))"
    found = store.query(
        f"SELECT {month}, count() FROM {table} WHERE {which} GROUP BY 1 ORDER BY 1"  # noqa: S608 - checked
    ).result_rows
    settings = "SETTINGS mutations_sync = 0, allow_nondeterministic_mutations = 1"
    return [
        Step(
            table,
            at,
            part,
            rows,
            f"ALTER TABLE {table} {change} IN PARTITION '{at}' WHERE {which} {settings}",
        )
        for at, rows in found
    ]


def _changes(part: Part, due_here: str) -> list[tuple[str, str, str]]:
    """Of each table that has something of a part: its name, what to do, and to which rows."""
    exchanges = f"SELECT exchange_id FROM facts WHERE {due_here}"  # noqa: S608 - checked
    traces = f"SELECT trace_id FROM facts WHERE trace_id != '' AND {due_here}"  # noqa: S608 - checked
    theirs = f"exchange_id IN ({exchanges})"
    if part is Part.TOKENS:
        return [("tokens", "DELETE", theirs)]
    if part is Part.BODIES:
        # Our own spans say nothing of what was said; applications' may.
        said = f"TraceId IN ({traces}) AND ResourceAttributes['{KEY}'] != ''"
        return [
            ("exchanges", f"UPDATE {_BODIES['exchanges']}", f"cleared = '' AND {due_here}"),
            ("events", f"UPDATE {_BODIES['events']}", f"cleared = '' AND {theirs}"),
            ("spans", "DELETE", said),
            ("facts", f"UPDATE {_BODIES['facts']}", f"cleared = '' AND {due_here}"),
        ]
    return [
        ("tokens", "DELETE", theirs),
        ("events", "DELETE", theirs),
        ("spans", "DELETE", f"TraceId IN ({traces})"),
        ("exchanges", "DELETE", due_here),
        ("facts", "DELETE", due_here),
    ]


def _all_due(policies: Sequence[Policy], part: Part, run: UUID, now: datetime) -> str:
    conditions = [condition for one in policies if (condition := _due(one, part, now))]
    if not conditions:
        return ""
    return f"({' OR '.join(conditions)}) AND exchange_id NOT IN ({_held(run, part)})"


def _due(policy: Policy, part: Part, now: datetime) -> str:
    cutoff = policy.cutoff(part, now)
    if cutoff is None:
        return ""
    return f"({policy.condition} AND started_at < fromUnixTimestamp64Micro({microseconds(cutoff)}, 'UTC'))"


def _held(run: UUID, part: Part) -> str:
    wholly = "" if part is Part.METADATA else " AND bodies"
    return f"SELECT exchange_id FROM held WHERE run = '{run}'{wholly}"  # noqa: S608 - checked


def expired(store: Store, policies: Sequence[Policy], exchanges: Sequence[UUID], now: datetime) -> set[UUID]:
    """Of these exchanges, those whose bodies are due: so that copies of them go, too."""
    conditions = [condition for one in policies if (condition := _due(one, Part.BODIES, now))]
    if not conditions or not exchanges:
        return set()
    rows = store.query(
        f"SELECT DISTINCT exchange_id FROM facts WHERE ({' OR '.join(conditions)}) "  # noqa: S608 - checked
        "AND exchange_id IN {ids:Array(UUID)}",
        {"ids": [str(one) for one in exchanges]},
    ).result_rows
    return {UUID(str(row[0])) for row in rows}
