"""What the trace store costs: pages read only the columns and ranges that they need, and rows stay small."""

import time
from collections.abc import Iterator

import pytest

from bench.store import fill, sample, space
from bench.store.pages import questions
from inference import clickhouse, storing
from inference.clickhouse import Store
from inference.exchange import parse
from tests.clickhouse_fixture import ClickHouseProcess

SIZE = 240_000
GRANULE = 8192
# The most rows, and bytes for each of those. A spot is a granule or two in each of a few parts.
NOTHING = (1, 100)
SPOT, WIDE_SPOT = (10 * GRANULE, 120), (10 * GRANULE, 1200)
TWO_WEEKS = (SIZE * 6 // 10, 20)
# What must look at all looks at narrow columns, and a histogram does so twice.
NARROW, TWICE = (SIZE + GRANULE, 70), (2 * SIZE + GRANULE, 40)
ALL, ALL_TWICE = (3 * SIZE, 300), (4 * SIZE, 300)
ANYTHING = (4 * SIZE, 1000)
MOST = {
    "explorer, newest: list": (10 * GRANULE, 500),
    "explorer, older": (12 * GRANULE, 500),
    "explorer, newest: count": (3 * GRANULE, 30),
    "explorer, newest: histogram": TWICE,
    "explorer, filtered: list": (10 * GRANULE, 500),
    "explorer, filtered: count": TWO_WEEKS,
    "explorer, filtered: histogram": (SIZE, 20),
    "explorer, tag: list": (12 * GRANULE, 500),
    "explorer, rare words: list": (14 * GRANULE, 500),
    "explorer, rare words: count": (6 * GRANULE, 400),
    "explorer, rare words: histogram": (12 * GRANULE, 400),
    "explorer, feedback: list": ALL,
    "explorer, feedback: count": NARROW,
    "explorer, words: list": (12 * GRANULE, 500),
    "explorer, words: count": (SIZE + GRANULE, 400),
    "explorer, words: histogram": (2 * SIZE + GRANULE, 400),
    "explorer, one user: list": ALL,
    "exchange": WIDE_SPOT,
    "exchange: bytes": WIDE_SPOT,
    "exchange: events": SPOT,
    "exchange: spans": SPOT,
    "exchange: neighbours": (14 * GRANULE, 500),
    "sessions": (10 * GRANULE, 120),
    "sessions, older": (10 * GRANULE, 120),
    "sessions, filtered": (10 * GRANULE, 120),
    "session": WIDE_SPOT,
    "session: in all": WIDE_SPOT,
    "overview: days": TWO_WEEKS,
    "overview: versions": TWO_WEEKS,
    "search: exchange": SPOT,
    "queue: newest": (3 * SIZE, 150),
    "queue: uncertain": ALL_TWICE,
    "queue: random": ALL_TWICE,
}


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        yield _fill()


def _fill() -> Store:
    clickhouse.migrate()
    store = clickhouse.connect()
    storing.store(store, [parse(raw) for raw in sample.exchanges(40)], "base", again=False)
    base = fill.keep_base(store)
    for table in ("tokens", "exchanges", "facts", "events"):
        store.command(f"TRUNCATE TABLE {table}")
    fill.multiply(store, base, range(SIZE), SIZE, time.time_ns() // 1000)
    store.command(
        "INSERT INTO events (exchange_id, started_at, at, event_id, kind, source, data) "
        "SELECT exchange_id, started_at, started_at, generateUUIDv4(), 'feedback', 'end user', "
        """'{"thumbs":"down"}' FROM facts ORDER BY exchange_id LIMIT 50"""
    )
    # How far parts are merged would else depend on how busy the machine is, and with it what is read.
    for table in ("tokens", "exchanges", "facts"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    return store


@pytest.mark.slow
def test_what_is_read(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[dict[str, str]] = []
    ask = Store.query

    def counting(self: Store, *args: object, **options: object) -> object:
        result = ask(self, *args, **options)  # type: ignore[arg-type]
        read.append(result.summary)
        return result

    monkeypatch.setattr(Store, "query", counting)
    over, asked = [], set()
    for question in questions():
        read.clear()
        question.ask()
        rows = sum(int(one.get("read_rows", 0)) for one in read)
        size = sum(int(one.get("read_bytes", 0)) for one in read)
        asked.add(question.name)
        most, each = MOST.get(question.name, ANYTHING)
        if rows > most or size > most * each:
            over.append(f"{question.name}: {rows} rows of {most}, {size} bytes of {most * each}")
    assert over == []
    assert set(MOST) <= asked


@pytest.mark.slow
def test_a_token_with_its_alternatives_takes_little(clickhouse_process: ClickHouseProcess) -> None:
    bytes_a_token, json_ratio = space.tokens(f"{clickhouse_process.address}/space_of_tokens")
    assert bytes_a_token <= 20
    assert json_ratio >= 30
    clickhouse_process.run("DROP DATABASE space_of_tokens SYNC")
