"""What is stored takes how much: a token with its top 5, and a conversation that resends its history."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from bench.store import sample
from inference import clickhouse, storing
from inference.clickhouse import Store
from inference.exchange import parse
from inference.raw import RawExchange

_BODIES = ("request", "response", "messages", "choices", "prompt_token_ids")
_ANSWERS = ("response", "choices")
_TURNS, _OTHERS = 50, 5


def fresh(address: str) -> Store:
    """A new database; columns lie in files of their own, so that the store knows the size of each."""
    clickhouse.migrate(address)
    store = clickhouse.connect(address)
    for table in ("tokens", "exchanges"):
        store.command(f"ALTER TABLE {table} MODIFY SETTING min_bytes_for_wide_part = 0")
    return store


def size(store: Store, table: str, columns: Iterable[str] = ()) -> int:
    """Compressed bytes of a table, or of some of its columns."""
    found = store.query(
        "SELECT column, sum(column_data_compressed_bytes) FROM system.parts_columns "
        "WHERE active AND database = currentDatabase() AND table = {t:String} GROUP BY column",
        {"t": table},
    ).result_rows
    wanted = set(columns)
    return sum(int(count) for name, count in found if not wanted or name in wanted)


def tokens(address: str) -> tuple[float, float]:
    """Bytes a token for everything about it, and how many times smaller than the engine's JSON an answer is
    with its tokens.
    """
    store, found = fresh(address), sample.recorded()
    storing.store(store, [parse(raw) for raw in sample.exchanges(len(found))], "all", again=False)
    count = sum(sample.token_count(body) for _, body in found)
    kept = size(store, "tokens")
    answers = kept + size(store, "exchanges", _ANSWERS)
    return kept / count, sum(len(body) for _, body in found) / answers


def conversation(address: str) -> float:
    """Bytes of the bodies of a conversation of 50 turns, over those of its last turn alone.

    Each turn comes in a batch of its own among other traffic, which goes on afterwards; what the table takes
    without the conversation is taken off both.
    """
    turns = list(_turns())
    others = _bodies_of(f"{address}_others", {})
    alone = _bodies_of(f"{address}_last", {_TURNS - 1: turns[-1]})
    whole = _bodies_of(f"{address}_all", dict(enumerate(turns)))
    return (whole - others) / (alone - others)


def _turns() -> Iterator[RawExchange]:
    """A conversation with the real answers of the sample, each turn with all before it."""
    messages: list[dict[str, str]] = [{"role": "system", "content": "You are a helpful assistant."}]
    begin = time.time_ns() // 1000
    for number, (request, body) in zip(range(_TURNS), sample.recorded(), strict=False):
        messages.append(request["messages"][-1])
        asked = {**request, "messages": list(messages)}
        at_us = begin + number * 2_000_000
        raw = sample.exchange(number, asked, body, at_us=at_us, session="the conversation")
        messages.append({"role": "assistant", "content": parse(raw).choices[0].text})
        yield raw


def _bodies_of(address: str, turns: dict[int, RawExchange]) -> int:
    """What the bodies take in batches of other traffic with these turns among them, once merged."""
    store = fresh(address)
    for batch in range(2 * _TURNS):
        raws = list(sample.exchanges(_OTHERS, first=1000 + batch * _OTHERS))
        raws += [turns[batch]] if batch in turns else []
        storing.store(store, [parse(raw) for raw in raws], f"batch {batch}", again=False)
    _settle(store)
    return size(store, "exchanges", _BODIES)


def _settle(store: Store, patience_seconds: float = 60.0) -> None:
    """Wait until the store has merged what it merges by itself."""
    deadline, before, quiet = time.monotonic() + patience_seconds, -1, 0
    while time.monotonic() < deadline and quiet < 10:
        time.sleep(0.5)
        now = int(
            store.query(
                "SELECT count() FROM system.parts WHERE active AND database = currentDatabase()"
            ).result_rows[0][0]
        )
        quiet = quiet + 1 if now == before else 0
        before = now
