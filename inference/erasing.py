"""Erasing one user's data from the trace store: what is theirs, how much it is, and that it is gone.

The user is named by a salted hash alone, which ClickHouse makes of each row's user as inference.erased does.
What is found goes on the list of what was erased first, then rows are deleted by that list: a run that was
cut off begins again without knowing anything. Whether old parts have left the disk is asked as well. Knows no
SQL database and no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from inference import erased
from inference.clickhouse import Store
from inference.rows import TABLES
from inference.spans import USER_ATTRIBUTES
from inference.stored import microseconds

TABLE_NAMES = tuple(table.name for table in TABLES)
"""The tables that hold what people said, or point to it."""
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose data, and what of it: all that began before the moment it was asked for.

    Everything here stands as a literal in statements, since a mutation takes no parameters; so nothing else
    than ids and hexadecimal digits gets in. Raises ValueError.
    """

    erasure: UUID
    salt: str
    hash: str
    before: datetime

    def __post_init__(self) -> None:
        if not (_HEX.fullmatch(self.salt) and _HEX.fullmatch(self.hash)):
            raise ValueError("salt and hash are 64 hexadecimal digits each")

    def is_user(self, column: str) -> str:
        """Whether a column names the user."""
        return f"({column} != '' AND {self.hashed(column)} = '{self.hash}')"

    def hashed(self, column: str) -> str:
        """A column's value as it stands on the list."""
        return f"lower(hex(SHA256(concat('{self.salt}', {column}))))"

    def earlier(self, column: str) -> str:
        """Whether a time lies before the wish."""
        return f"{column} < fromUnixTimestamp64Micro({microseconds(self.before)}, 'UTC')"

    def listed(self, kind: str) -> str:
        """The ids of a kind that this wish has put on the list; exchanges' as UUIDs, as columns have them."""
        value = "toUUIDOrZero(id)" if kind == "exchange" else "id"
        return f"SELECT {value} FROM erased WHERE kind = '{kind}' AND erasure = '{self.erasure}'"  # noqa: S608


def announce(store: Store, wish: Wish) -> None:
    """Put the user on the list: from now on drains drop what still arrives."""
    erased.add(store, [_line(wish, "user", wish.hash, "asked")])


def add_exchanges(store: Store, wish: Wish, ids: Iterable[UUID]) -> None:
    """Put exchanges on the list that hold the user's text under nobody's name: an exam's, say."""
    erased.add(store, [_line(wish, "exchange", str(one), "copies") for one in ids])


def collect(store: Store, wish: Wish) -> None:
    """Put on the list what is the user's: sessions, exchanges, traces.

    An exchange that names nobody, in a session where others name the user, is the user's as well.
    """
    theirs = f"{wish.is_user('user')} AND {wish.earlier('started_at')}"
    silent = (
        f"user = '' AND session != '' AND {wish.earlier('started_at')} "
        f"AND {wish.hashed('session')} IN ({wish.listed('session')})"
    )
    by_span = " OR ".join(wish.is_user(f"SpanAttributes['{name}']") for name in USER_ATTRIBUTES)
    in_session = f"{theirs} AND session != ''"
    traced = f"trace_id != '' AND exchange_id IN ({wish.listed('exchange')})"
    for table in ("facts", "exchanges"):
        _collect(store, wish, "session", wish.hashed("session"), f"{table} WHERE ({in_session})")
        _collect(
            store, wish, "exchange", "toString(exchange_id)", f"{table} WHERE (({theirs}) OR ({silent}))"
        )
        _collect(store, wish, "trace", "trace_id", f"{table} WHERE ({traced})")
    _collect(store, wish, "trace", "TraceId", f"spans WHERE (({by_span}) AND {wish.earlier('Timestamp')})")


def _collect(store: Store, wish: Wish, kind: str, value: str, found: str) -> None:
    """Put on the list what is not on it; ``found``: a table and a condition in parentheses."""
    known = f"SELECT id FROM erased WHERE kind = '{kind}' AND erasure = '{wish.erasure}'"  # noqa: S608
    store.command(
        f"INSERT INTO erased ({', '.join(erased.COLUMNS)}) "  # noqa: S608 - the wish is checked
        f"SELECT DISTINCT '{kind}', {value} AS new, toUUID('{wish.erasure}'), '{wish.salt}', "
        f"fromUnixTimestamp64Micro({microseconds(wish.before)}, 'UTC'), 'store' "
        f"FROM {found} AND new NOT IN ({known})"
    )


def exchanges(store: Store, wish: Wish) -> list[UUID]:
    """The exchanges on the list."""
    return sorted({UUID(str(row[0])) for row in store.query(wish.listed("exchange")).result_rows})


def look(store: Store, wish: Wish) -> list[UUID]:
    """The exchanges that name the user, without writing anything."""
    asked = f"SELECT DISTINCT exchange_id FROM facts WHERE {wish.is_user('user')}"  # noqa: S608
    return sorted(UUID(str(row[0])) for row in store.query(asked).result_rows)


def people(store: Store, wish: Wish) -> list[str]:
    """The hashes of the user and of their sessions."""
    found = store.query(f"{wish.listed('session')}").result_rows
    return [wish.hash, *sorted({str(row[0]) for row in found})]


def _condition(wish: Wish, table: str) -> str:
    """Which rows of a table are the user's, once the list stands."""
    by_exchange, by_trace = f"exchange_id IN ({wish.listed('exchange')})", wish.listed("trace")
    if table == "spans":
        return f"TraceId IN ({by_trace})"
    if table == "events":
        said = f"{wish.is_user('user')} AND {wish.earlier('at')}"
        return f"{by_exchange} OR (trace_id != '' AND trace_id IN ({by_trace})) OR ({said})"
    return by_exchange


def count(store: Store, wish: Wish) -> dict[str, int]:
    """Rows of each table that are the user's and still there."""
    asked = {t: f"SELECT count() FROM {t} WHERE {_condition(wish, t)}" for t in TABLE_NAMES}  # noqa: S608
    return {table: int(store.query(sql).result_rows[0][0]) for table, sql in asked.items()}


def delete(store: Store, wish: Wish) -> None:
    """Begin to delete those rows; ``remaining`` says when it is done. Twice does no harm."""
    for table in TABLE_NAMES:
        store.command(
            f"ALTER TABLE {table} DELETE WHERE {_condition(wish, table)} "
            "SETTINGS mutations_sync = 0, allow_nondeterministic_mutations = 1"
        )


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a deletion still has to do."""

    mutations: int
    old_parts: int
    """Parts from before the deletion that are on disk."""
    failure: str


def remaining(store: Store, since: datetime) -> Remaining:
    """How far deletions are; ``since``: the store's time when they were asked for.

    A part that was replaced before a mutation's end holds what the mutation deleted, until it is removed.
    """
    names = ", ".join(f"'{name}'" for name in TABLE_NAMES)
    ((mutations, failure),) = store.query(
        "SELECT count(), max(latest_fail_reason) FROM system.mutations "  # noqa: S608 - constants
        f"WHERE database = currentDatabase() AND table IN ({names}) AND NOT is_done"
    ).result_rows
    ((old,),) = store.query(
        "SELECT count() FROM system.parts WHERE database = currentDatabase() "  # noqa: S608 - constants
        f"AND table IN ({names}) AND NOT active AND modification_time <= {{since:DateTime}}",
        {"since": since},
    ).result_rows
    return Remaining(mutations, old, failure)


def now(store: Store) -> datetime:
    """The store's clock."""
    found: datetime = store.query("SELECT now('UTC')").result_rows[0][0]
    return found


def later(store: Store, wish: Wish) -> int:
    """Records that came after the wish and were dropped on their way in, or deleted from quarantine."""
    found = store.query(
        "SELECT count() FROM erased FINAL WHERE place IN ('spool', 'quarantine') "
        "AND kind NOT IN ('trace', 'session') AND erasure = {erasure:UUID}",
        {"erasure": str(wish.erasure)},
    )
    return int(found.result_rows[0][0])


def _line(wish: Wish, kind: str, key_id: str, place: str) -> tuple[object, ...]:
    return (kind, key_id, wish.erasure, wish.salt, wish.before, place)
