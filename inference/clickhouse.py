"""The trace store: a connection, its tables, and inserts that count once.

Knows clickhouse-connect, inference/sql/ and how an insert is made safe to repeat. What rows mean is in
inference.rows, what is asked of them in inference.queries. The address is FLYWHEEL_CLICKHOUSE_URL, for
example http://user:password@host:8123/database; embedded or a cluster, it is the same to this module.

    python -m inference.clickhouse migrate
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    DataError,
    Error,
    OperationalError,
    StreamFailureError,
)
from clickhouse_connect.driver.httputil import get_pool_manager
from clickhouse_connect.driver.query import QueryResult
from urllib3.exceptions import HTTPError

from inference import native

DEFAULT_URL = "http://127.0.0.1:8123/flywheel"
# What it logs it also raises; here raising is enough.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
SQL = Path(__file__).parent / "sql"
_MIGRATION = re.compile(r"(\d{4}_\w+)\.sql\Z")
# Codes of a server that is starting, overloaded, cut off, does not let us in, or has no tables yet.
_NOT_NOW = {
    60,
    81,
    159,
    160,
    202,
    203,
    209,
    210,
    225,
    236,
    241,
    242,
    243,
    252,
    279,
    285,
    319,
    394,
    425,
    439,
    497,
    516,
    999,
}
# Codes that say a row does not fit: it can't be parsed, is out of range, or is too large.
_BAD_ROWS = {6, 26, 27, 33, 38, 53, 69, 70, 72, 117, 128, 131, 135, 349, 457}
_READING = {
    "max_execution_time": 30,
    # An exchange never moves to another month, so its duplicates lie in one partition.
    "do_not_merge_across_partitions_select_final": 1,
}
_INSERTING = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    # One block, one partition: then an insert is one part, wholly there or not at all.
    "max_partitions_per_insert_block": 1,
    "min_insert_block_size_rows": 10_000_000,
    "min_insert_block_size_bytes": 4_000_000_000,
    "max_insert_block_size": 10_000_000,
    "max_insert_threads": 1,
}


class Unavailable(Exception):  # noqa: N818 - reads as what it is: the store can't be asked right now
    """The trace store does not answer, or not yet. What it holds is safe; try again later."""


class RejectedError(Exception):
    """The trace store will not take this, ever. Nothing of it was stored."""


@dataclass(frozen=True, slots=True)
class _Plain:
    """A parameter's text as it is. Of a str the client looks at each letter for what must be escaped, which
    takes longer than all else of asking for a batch's keys.
    """

    text: str

    def __str__(self) -> str:
        return self.text


class Store:
    """A database of the trace store. May be used from several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tables: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> QueryResult:
        """Run a SELECT; values go in as ``{name:Type}``, never into the text. Raises Unavailable."""
        with _asking():
            return self._client.query(sql, parameters=dict(parameters or {}), settings=_READING, **options)

    def ask(self, sql: str, parameters: Mapping[str, Any], words: Mapping[str, str]) -> QueryResult:
        """As ``query``. ``words`` are parameters as well, long ones that need no escape."""
        return self.query(sql, {**parameters, **{name: _Plain(text) for name, text in words.items()}})

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement without a result. Raises Unavailable."""
        with _asking():
            self._client.command(sql, parameters=dict(parameters or {}))

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], token: str) -> None:
        """Insert rows of one partition as one block, on disk when this returns.

        Sent again with the same token it counts once, as long as the table remembers the token. Raises
        Unavailable (then it may be stored or not), RejectedError (then it is not).
        """
        with _inserting(), self._forgetting(table):
            block = native.compressed(native.block(columns, self._types(table, columns), rows))
        self.send(table, columns, block, token)

    def send(self, table: str, columns: Sequence[str], block: bytes, token: str) -> None:
        """As ``insert``, of rows that are a compressed block of inference.native already."""
        with _inserting(), self._forgetting(table):
            self._client.raw_insert(
                table,
                list(columns),
                block,
                settings={**_INSERTING, "insert_deduplication_token": token},
                fmt="Native",
                compression=native.COMPRESSION,
            )

    def types(self, table: str, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns' types, asked once and again after a failure. Raises Unavailable."""
        with _asking():
            return self._types(table, columns)

    def _types(self, table: str, columns: Sequence[str]) -> tuple[str, ...]:
        key = (table, tuple(columns))
        found = self._tables.get(key)
        if found is None:
            context = self._client.create_insert_context(table, list(columns))
            found = self._tables.setdefault(key, tuple(kind.name for kind in context.column_types))
        return found

    @contextmanager
    def _forgetting(self, table: str) -> Iterator[None]:
        """After a failure the types are asked anew: a migration may have changed them."""
        try:
            yield
        except BaseException:
            for key in [key for key in self._tables if key[0] == table]:
                self._tables.pop(key, None)
            raise

    def close(self) -> None:
        self._client.close()


@contextmanager
def _asking() -> Iterator[None]:
    """A server that is away, starting or overloaded is Unavailable; a mistake in SQL stays one."""
    try:
        with _letting_go():
            yield
    except (OperationalError, StreamFailureError, HTTPError, OSError) as error:
        raise Unavailable(str(error)) from error
    except DatabaseError as error:
        if error.code in _NOT_NOW or error.code is None:
            raise Unavailable(str(error)) from error
        raise


@contextmanager
def _inserting() -> Iterator[None]:
    """Only what is wrong with the rows themselves is RejectedError: everything else may pass."""
    try:
        with _letting_go():
            yield
    except DataError as error:
        raise RejectedError(str(error)) from error
    except (OperationalError, StreamFailureError, HTTPError, OSError) as error:
        raise Unavailable(str(error)) from error
    except DatabaseError as error:
        if error.code in _BAD_ROWS:
            raise RejectedError(str(error)) from error
        raise Unavailable(str(error)) from error
    except (Error, ValueError, TypeError, OverflowError, AttributeError) as error:
        # The client refuses values that do not fit their columns before anything is sent.
        raise RejectedError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _letting_go() -> Iterator[None]:
    """The client's frames name the error that names them: all that was on its way would stay until a full
    collection, which a process that holds little but bytes seldom makes.
    """
    try:
        yield
    except Exception as error:
        found: BaseException | None = error
        while found is not None:
            traceback.clear_frames(found.__traceback__)
            found = found.__cause__ or found.__context__
        raise


_stores: dict[tuple[str, int], Store] = {}


def url() -> str:
    """The trace store's address, from the environment."""
    return os.environ.get("FLYWHEEL_CLICKHOUSE_URL") or DEFAULT_URL


def connect(address: str | None = None) -> Store:
    """The process's connection to an address (by default the environment's). Raises Unavailable."""
    key = (address or url(), os.getpid())
    found = _stores.get(key)
    # Without a lock, so that nobody waits for another's attempt at a server that is away.
    return found or _stores.setdefault(key, Store(_open(key[0], _database(key[0]))))


def _database(address: str) -> str:
    name = unquote(urlsplit(address).path.strip("/")) or "default"
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"{name!r} in FLYWHEEL_CLICKHOUSE_URL is no name of a database")
    return name


def _open(address: str, database: str | None) -> Client:
    parts = urlsplit(address)
    secure = parts.scheme == "https"
    with _asking():
        return clickhouse_connect.get_client(
            interface="https" if secure else "http",
            host=parts.hostname or "127.0.0.1",
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=database,
            connect_timeout=3,
            send_receive_timeout=60,
            # Without a session, queries of several threads run side by side.
            autogenerate_session_id=False,
            tz_mode="aware",
            # A pool of its own: never through a proxy that the environment names, room for many threads.
            pool_mgr=get_pool_manager(maxsize=32),
            client_name="flywheel",
        )


def migrate(address: str | None = None) -> list[str]:
    """Make the database and apply what inference/sql/ has beyond what was applied. Returns those names.

    Safe to run again, and by two processes at once: every statement in a migration may run twice. Raises
    Unavailable, and RejectedError when a migration was changed after it was applied.
    """
    address = address or url()
    database = _database(address)
    maker = Store(_open(address, None))
    maker.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    maker.close()
    store = connect(address)
    store.command(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(name String, sha256 String, applied_at DateTime('UTC') DEFAULT now()) "
        "ENGINE = ReplacingMergeTree ORDER BY name SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
    )
    found = store.query("SELECT name, sha256 FROM migrations FINAL").result_rows
    applied: dict[str, str] = {name: digest for name, digest in found}  # noqa: C416 - rows are sequences
    new = []
    for path in sorted(SQL.iterdir()):
        named = _MIGRATION.fullmatch(path.name)
        if named is None:
            continue
        text = path.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if applied.get(named[1], digest) != digest:
            raise RejectedError(f"{path.name} was changed after it was applied; add a new migration instead")
        if named[1] not in applied:
            for statement in _statements(text):
                store.command(statement)
            store.insert("migrations", ("name", "sha256"), [(named[1], digest)], token=named[1])
            new.append(named[1])
    return new


def _statements(text: str) -> list[str]:
    """A migration's statements: each ends with a semicolon at the end of a line."""
    return [part.strip() for part in re.split(r";[ \t]*$", text, flags=re.MULTILINE) if part.strip()]


def main(arguments: list[str]) -> int:
    """``migrate`` and nothing else."""
    if arguments != ["migrate"]:
        print("usage: python -m inference.clickhouse migrate", file=sys.stderr)
        return 2
    try:
        new = migrate()
    except (Unavailable, RejectedError, DatabaseError) as error:
        print(f"clickhouse: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"applied {name}" for name in new) or "nothing to apply")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
