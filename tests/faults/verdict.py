"""The verdict: what the clients saw against what the trace store holds, table by table.

Asks ClickHouse over its HTTP interface, without the product's own queries.
"""

from __future__ import annotations

import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from tests.faults.clients import Ledger

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_KEYS = {
    "exchanges": "toString(exchange_id)",
    "facts": "toString(exchange_id)",
    "tokens": "concat(toString(exchange_id), ':', toString(choice), ':', source)",
    "spans": "concat(TraceId, ':', SpanId)",
}


@dataclass
class Verdict:
    """How the promise was kept. Each list holds ids."""

    acknowledged: int = 0
    stored: int = 0
    lost: list[str] = field(default_factory=list)
    """Acknowledged, and missing from one of the tables."""
    doubled: list[str] = field(default_factory=list)
    """More than one row where there must be one; acknowledged or not."""
    torn: list[str] = field(default_factory=list)
    """Acknowledged, and not stored as the client saw it: text, tokens, or how it ended."""
    wrong: list[str] = field(default_factory=list)
    """Not what the engine had said, at the client already."""

    @property
    def kept(self) -> bool:
        return not (self.lost or self.doubled or self.torn or self.wrong)

    def counts(self) -> dict[str, int]:
        """The same as numbers."""
        return {name: value if isinstance(value, int) else len(value) for name, value in asdict(self).items()}


def ask(url: str, sql: str) -> list[dict[str, Any]]:
    """Rows of a query to a ClickHouse whose address names the database."""
    address, _, database = url.rpartition("/")
    request = urllib.request.Request(f"{address}/?database={database}", f"{sql} FORMAT JSONEachRow".encode())
    with _OPENER.open(request, timeout=120) as answer:
        return [orjson.loads(line) for line in answer.read().splitlines()]


def judge(url: str, ledger: Ledger) -> Verdict:
    """Compare all tables with what the clients saw."""
    found = Verdict(acknowledged=len(ledger.acknowledged), wrong=list(ledger.wrong))
    for table, key in _KEYS.items():
        twice = ask(url, f"SELECT {key} AS id FROM {table} GROUP BY id HAVING count() > 1")
        found.doubled += [f"{table} {row['id']}" for row in twice]
    count = "if(unit = 0, length(ids), length(token.anchor))"
    tokens = ask(url, f"SELECT toString(exchange_id) AS id, sum({count}) AS n FROM tokens GROUP BY id")
    spans = {row["id"] for row in ask(url, "SELECT concat(TraceId, ':', SpanId) AS id FROM spans")}
    facts = {row["id"] for row in ask(url, "SELECT toString(exchange_id) AS id FROM facts")}
    counted = {row["id"]: int(row["n"]) for row in tokens}
    rows = ask(
        url,
        "SELECT toString(exchange_id) AS id, end_reason, choices, completion_tokens AS n, "
        "concat(trace_id, ':', span_id) AS span FROM exchanges",
    )
    found.stored = len(rows)
    stored = {row["id"]: row for row in rows}
    for exchange_id, seen in ledger.acknowledged.items():
        row = stored.get(exchange_id)
        if row is None or exchange_id not in facts or row["span"] not in spans or exchange_id not in counted:
            found.lost.append(exchange_id)
            continue
        whole = "".join(choice["text"] for choice in orjson.loads(row["choices"])) == seen.text
        if not whole or counted[exchange_id] != row["n"] or row["end_reason"] != "stop":
            found.torn.append(exchange_id)
    return found
