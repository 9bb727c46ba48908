"""Migrations, and inserts that count once, on the real engine."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from inference import clickhouse
from inference.clickhouse import RejectedError, Store, Unavailable
from inference.rows import TABLES, moment
from tests.clickhouse_fixture import ClickHouseProcess

COLUMNS = ("exchange_id", "attempt", "choice", "source", "started_at", "ids")

MIGRATIONS = sorted(path.stem for path in clickhouse.SQL.glob("*.sql"))


@pytest.fixture
def store(clickhouse_process: ClickHouseProcess, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    return _fresh(clickhouse_process, clickhouse.rpartition("/")[2])


def _fresh(process: ClickHouseProcess, database: str) -> Store:
    process.run(f"DROP DATABASE IF EXISTS {database} SYNC")
    assert clickhouse.migrate() == MIGRATIONS
    return clickhouse.connect()


def row(month: int = 0) -> tuple[object, ...]:
    return (uuid4(), 0, 0, "wire", moment(1_790_000_000_000_000 + month * 31 * 86_400_000_000), [1, 2, 3])


def count(store: Store) -> int:
    return int(store.query("SELECT count() FROM tokens").result_rows[0][0])


@pytest.mark.slow
def test_migrations_are_applied_once(store: Store) -> None:
    assert clickhouse.migrate() == []
    found = store.query("SELECT name FROM migrations FINAL ORDER BY name").result_rows
    assert [name for (name,) in found] == MIGRATIONS


@pytest.mark.slow
def test_two_processes_may_migrate_at_once(
    clickhouse_process: ClickHouseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{clickhouse_process.address}/at_once"
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", address)
    command = [sys.executable, "-m", "inference.clickhouse", "migrate"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(b"applied" in one or b"nothing to apply" in one for one in said)
    found = clickhouse.connect().query("SELECT count() FROM migrations FINAL").result_rows
    assert found == [(len(MIGRATIONS),)]
    clickhouse_process.run("DROP DATABASE at_once SYNC")


def test_a_changed_migration_is_refused_and_a_new_one_applied(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sql"
    shutil.copytree(clickhouse.SQL, folder)
    monkeypatch.setattr(clickhouse, "SQL", folder)
    (folder / "9999_more.sql").write_text(
        "CREATE TABLE IF NOT EXISTS more (a Int8) ENGINE = MergeTree ORDER BY a;\n"
    )
    assert clickhouse.migrate() == ["9999_more"]
    assert store.query("SELECT count() FROM more").result_rows == [(0,)]
    (folder / "9999_more.sql").write_text("SELECT 1;\n")
    with pytest.raises(RejectedError, match="9999_more"):
        clickhouse.migrate()


def test_every_table_syncs_and_remembers_tokens(store: Store) -> None:
    found: dict[str, str] = dict(
        store.query(
            "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
        ).result_rows  # type: ignore[arg-type]
    )
    of_people = {"exchanges", "tokens", "spans", "facts", "events"}
    assert set(found) == {*of_people, "held", "kept_from", "erased", "vitals", "migrations"}
    for table in of_people:
        for setting in (
            "fsync_after_insert = 1",
            "fsync_part_directory = 1",
            "min_rows_to_fsync_after_merge = 1",
        ):
            assert setting in found[table]
        assert "non_replicated_deduplication_window = 10000" in found[table]
        assert "replicated_deduplication_window_seconds = 604800" in found[table]


def test_an_insert_is_one_part_and_counts_once(store: Store) -> None:
    rows = [row() for _ in range(30_000)]
    for _ in range(2):
        store.insert("tokens", COLUMNS, rows, "token-1")
    assert count(store) == len(rows)
    parts = store.query(
        "SELECT sum(rows) FROM system.parts "
        "WHERE database = currentDatabase() AND table = 'tokens' AND level = 0"
    ).result_rows
    names = store.query(
        "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'tokens' AND active"
    ).result_rows
    assert (parts[0][0], names[0][0]) == (len(rows), 1)
    store.insert("tokens", COLUMNS, rows[:5], "token-2")
    assert count(store) == len(rows) + 5


def test_rows_of_two_months_are_refused_whole(store: Store) -> None:
    with pytest.raises(Unavailable, match="TOO_MANY_PARTS"):
        store.insert("tokens", COLUMNS, [row(0), row(2)], "token")
    assert count(store) == 0


@pytest.mark.parametrize(
    "bad", [("no uuid", 0, 0, "wire", moment(0), []), (uuid4(), 300, 0, "wire", moment(0), [])]
)
def test_rows_that_fit_no_column_are_rejected(store: Store, bad: tuple[object, ...]) -> None:
    with pytest.raises(RejectedError):
        store.insert("tokens", COLUMNS, [row(), bad], "token")
    assert count(store) == 0


def test_the_columns_that_are_written_exist(store: Store) -> None:
    for table in TABLES:
        found = {name for name, *_ in store.query(f"DESCRIBE TABLE {table.name}").result_rows}
        assert set(table.columns) <= found


def test_one_connection_serves_many_threads(store: Store) -> None:
    def ask(number: int) -> int:
        answer = store.query("SELECT sum(number) + {n:UInt32} FROM numbers(100000)", {"n": number})
        return int(answer.result_rows[0][0])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == [4_999_950_000 + number for number in range(40)]
    assert clickhouse.connect() is store


def test_a_store_that_is_away_or_empty_is_unavailable_a_mistake_is_not(
    store: Store, clickhouse_process: ClickHouseProcess
) -> None:
    with pytest.raises(Unavailable):
        clickhouse.connect("http://127.0.0.1:9/flywheel")
    clickhouse_process.run("CREATE DATABASE IF NOT EXISTS empty")
    with pytest.raises(Unavailable):
        clickhouse.connect(f"{clickhouse_process.address}/empty").query("SELECT * FROM facts")
    with pytest.raises(DatabaseError):
        store.query("SELEC")
    with pytest.raises(ValueError, match="no name of a database"):
        clickhouse.connect("http://127.0.0.1:9/a;b")


@pytest.mark.slow
def test_a_store_that_does_not_let_us_in_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "s3cret")
    engine = ClickHouseProcess(tmp_path / "locked")
    try:
        with pytest.raises(Unavailable, match="Authentication failed"):
            clickhouse.connect(f"{engine.address.replace('//', '//default:wrong@')}/default")
    finally:
        engine.stop()


def test_a_proxy_in_the_environment_is_not_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    address = clickhouse.url().replace("127.0.0.1", "localhost")
    assert clickhouse.connect(address).query("SELECT 1").result_rows == [(1,)]


def test_the_command_says_what_it_wants(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    assert clickhouse.main([]) == 2
    assert clickhouse.main(["migrate"]) == 0
    assert "nothing to apply" in capsys.readouterr().out


def test_an_inserts_types_are_asked_once_and_anew_after_a_failure(store: Store) -> None:
    store.command("CREATE TABLE IF NOT EXISTS narrow (a Int8) ENGINE = MergeTree ORDER BY tuple()")
    asked = store._client.create_insert_context
    calls: list[str] = []
    store._client.create_insert_context = lambda table, *rest: calls.append(table) or asked(table, *rest)  # type: ignore[method-assign,func-returns-value]
    try:
        for number in (1, 2):
            store.insert("narrow", ("a",), [(number,)], token=str(number))
        store.command("ALTER TABLE narrow MODIFY COLUMN a Int32")
        with pytest.raises(RejectedError):
            store.insert("narrow", ("a",), [(70_000,)], token="3")
        store.insert("narrow", ("a",), [(70_000,)], token="4")
    finally:
        store._client.create_insert_context = asked  # type: ignore[method-assign]
    assert calls == ["narrow", "narrow"]
    assert store.query("SELECT sum(a) FROM narrow").result_rows == [(70_003,)]
