"""Fills a trace store to a size: real rows, multiplied inside it with ids, times and names of their own."""

from __future__ import annotations

from inference.clickhouse import Store

_TABLES = ("tokens", "exchanges", "facts")
_CHUNK = 50_000
DAYS = 28
# A UUIDv7 of the row's own millisecond, the same in every table.
_ID = """toUUID(concat(
    substring(milliseconds, 1, 8), '-', substring(milliseconds, 9, 4), '-7', substring(noise, 1, 3),
    '-8', substring(noise, 4, 3), '-', substring(noise, 7, 12)))"""
_MADE = {
    "exchange_id": _ID,
    "started_at": "at",
    "finished_at": "at + toIntervalMillisecond(1400)",
    "conversation": "concat('conversation ', toString(intDiv(n, 5)))",
    "session": "if(n % 25 < 5, concat('conversation ', toString(intDiv(n, 5))), '')",
    "user": "concat('u', toString(n % 5000))",
    "group": "concat('g', toString(n % 50))",
    "trace_id": "lower(hex(MD5(toString(n))))",
    "span_id": "lower(hex(sipHash64(n)))",
    "question": "concat(base.question, ' case ', toString(n))",
    "least_p": "base.least_p * (1 - (n % 97) / 400)",
    "stored_at": "now64(3)",
}


def keep_base(store: Store) -> int:
    """Put the real rows aside that are multiplied; gives how many exchanges they are."""
    for table in _TABLES:
        store.command(f"DROP TABLE IF EXISTS base_{table}")
        store.command(
            f"CREATE TABLE base_{table} ENGINE = MergeTree ORDER BY k AS SELECT *, "
            f"dense_rank() OVER (ORDER BY exchange_id) - 1 AS k FROM {table}"
        )
    return int(store.query("SELECT count() FROM base_facts").result_rows[0][0])


def multiply(store: Store, base: int, numbers: range, size: int, until_us: int) -> None:
    """Add these rows of ``size`` that lie evenly over DAYS before ``until_us`` (microseconds since 1970)."""
    step = DAYS * 86_400_000_000 // size
    begin = until_us - DAYS * 86_400_000_000
    for table in _TABLES:
        columns = [
            row[0]
            for row in store.query(
                "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {t:String} "
                "AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position",
                {"t": table},
            ).result_rows
        ]
        names = ", ".join(f"`{name}`" for name in columns)
        chosen = ", ".join(_MADE.get(name, f"base.`{name}`") for name in columns)
        for start in range(numbers.start, numbers.stop, _CHUNK):
            rows = min(_CHUNK, numbers.stop - start)
            store.command(
                f"INSERT INTO {table} ({names}) SELECT {chosen} FROM (SELECT number AS n, n % {base} AS k, "
                f"fromUnixTimestamp64Micro({begin} + n * {step}, 'UTC') AS at, "
                f"lower(leftPad(hex(toUInt64(intDiv({begin} + n * {step}, 1000))), 16, '0')) AS wide, "
                "substring(wide, 5, 12) AS milliseconds, lower(hex(sipHash128(n))) AS noise "
                f"FROM numbers({start}, {rows})) AS made INNER JOIN base_{table} AS base USING (k)"
            )
