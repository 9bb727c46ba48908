"""The embedded ClickHouse, spoken to by the client that a real server would get."""

import gzip
import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from flywheel.local import clickhouse_http as wire
from tests.clickhouse_fixture import ClickHouseProcess

ROWS = [(number, f"row {number} – é") for number in range(20_000)]


def connect(address: str, **options: Any) -> Client:
    parts = urlsplit(address)
    return clickhouse_connect.get_client(
        host=parts.hostname, port=parts.port, autogenerate_session_id=False, **options
    )


@pytest.fixture
def client(clickhouse_process: ClickHouseProcess, clickhouse: str) -> Iterator[Client]:
    database = clickhouse.rpartition("/")[2]
    clickhouse_process.run(f"CREATE DATABASE IF NOT EXISTS {database}")
    clickhouse_process.run(
        f"CREATE OR REPLACE TABLE {database}.t (a UInt32, b String) ENGINE MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    client = connect(clickhouse_process.address, database=database)
    yield client
    client.close()


def post(address: str, body: bytes, headers: dict[str, str] | None = None, **query: str) -> HTTPResponse:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("POST", "/?" + urlencode(query), body, headers or {})
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_every_row_of_a_large_insert_arrives_and_comes_back(
    client: Client, clickhouse_process: ClickHouseProcess, compress: bool | str
) -> None:
    with connect(clickhouse_process.address, database=client.database, compress=compress) as other:
        summary = other.insert("t", ROWS, column_names=["a", "b"])
        assert summary.written_rows == len(ROWS)
        assert other.query("SELECT a, b FROM t ORDER BY a").result_rows == ROWS


@pytest.mark.parametrize(
    ("encoding", "frame"),
    [
        ("lz4", lz4.frame.compress),
        ("zstd", zstandard.compress),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
    ],
)
def test_bodies_of_several_frames_are_read_to_their_end(
    client: Client, clickhouse_process: ClickHouseProcess, encoding: str, frame: Callable[[bytes], bytes]
) -> None:
    body = b"".join(frame(f"{n}\trow {n}\n".encode()) for n in range(50))
    answer = post(
        clickhouse_process.address,
        body,
        {"Content-Encoding": encoding},
        query="INSERT INTO t FORMAT TSV",
        database=client.database or "",
    )
    assert answer.status == 200
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "50"
    cut = post(
        clickhouse_process.address,
        body[:-3],
        {"Content-Encoding": encoding},
        query="INSERT INTO t FORMAT TSV",
        database=client.database or "",
    )
    assert (cut.status, cut.headers["X-ClickHouse-Exception-Code"]) == (400, "354")
    assert client.command("SELECT count() FROM t") == 50


@given(
    st.lists(st.binary(max_size=300_000), min_size=1, max_size=4), st.sampled_from(["lz4", "zstd", "gzip"])
)
def test_decompression_undoes_any_split_into_frames(parts: list[bytes], encoding: str) -> None:
    frame = {"lz4": lz4.frame.compress, "zstd": zstandard.compress, "gzip": gzip.compress}[encoding]
    assert wire.decompress(b"".join(map(frame, parts)), encoding, 1 << 24) == b"".join(parts)


def test_a_body_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(wire.RequestError) as refused:
        wire.decompress(lz4.frame.compress(bytes(1 << 22)), "lz4", 1 << 20)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (
            b"INSERT INTO t (a, b) FORMAT Native\n\x01\xff FORMAT x",
            ("INSERT INTO t (a, b) ", "Native", b"\x01\xff FORMAT x"),
        ),
        (
            b"insert into t settings x='format y' format TSV \n1",
            ("insert into t ", "TSV", b"1"),
        ),
        (
            b"/* FORMAT x */ INSERT INTO `a FORMAT b` FORMAT CSV\n",
            ("/* FORMAT x */ INSERT INTO `a FORMAT b` ", "CSV", b""),
        ),
        (
            b"INSERT INTO t VALUES ('FORMAT Native')",
            ("INSERT INTO t VALUES ('FORMAT Native')", "Default", None),
        ),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", ("INSERT INTO t SELECT 1 FORMAT CSV", "CSV", None)),
        (b"SELECT 1 FORMAT JSON", ("SELECT 1 FORMAT JSON", "JSON", None)),
        (b"SELECT 1", ("SELECT 1", "Default", None)),
    ],
)
def test_an_inserts_data_is_cut_off_its_sql(whole: bytes, expected: tuple[str, str, bytes | None]) -> None:
    found = wire.parse_statement(b"", whole, "Default")
    assert (found.sql, found.format, found.data) == expected
    assert found.tail == ("settings x='format y' " if b"settings" in whole else "")


def test_parameters_are_values_never_sql(client: Client) -> None:
    values = {"text": "it's \\ 'quoted'\n\t{x}", "list": ["a'b", "c\\d"], "number": -5}
    found = client.query("SELECT {text:String}, {list:Array(String)}, {number:Int8}", parameters=values)
    assert found.result_rows == [tuple(values.values())]
    long = "x" * 100_000  # too long for a URL: the client sends a form
    assert client.query("SELECT length({text:String})", parameters={"text": long}).result_rows == [(100_000,)]


def test_errors_carry_the_engines_code_and_words(
    client: Client, clickhouse_process: ClickHouseProcess
) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as unknown:
        client.query("SELECT * FROM nowhere")
    assert unknown.value.code == 60
    for sql, code, status in (
        (b"SELEC 1", "62", 400),
        (b"", "62", 400),
        (b"SELECT 1; DROP TABLE t", "62", 400),
        (b"SELECT \xff", "62", 400),
        (b"SELECT throwIf(1)", "395", 500),
        (b"INSERT INTO t FORMAT Native\ngarbage garbage", None, None),
    ):
        answer = post(clickhouse_process.address, sql, database=client.database or "")
        assert answer.status == (status or answer.status) >= 400
        assert code in (None, answer.headers["X-ClickHouse-Exception-Code"])
    assert post(clickhouse_process.address, b"SELECT 1", nosuchsetting="1").status == 404
    assert post(clickhouse_process.address, b"SELECT 1", database="nowhere").status == 404
    assert client.command("SELECT count() FROM t") == 0


def test_an_insert_that_the_table_refuses_is_an_error_and_nothing_is_stored(client: Client) -> None:
    client.command(
        "CREATE OR REPLACE TABLE few (a UInt32, CONSTRAINT low CHECK a < 10) ENGINE MergeTree ORDER BY a"
    )
    with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
        client.insert("few", [[1], [11]], column_names=["a"])
    client.command("CREATE OR REPLACE TABLE many (a UInt32) ENGINE MergeTree ORDER BY a PARTITION BY a")
    with pytest.raises(DatabaseError, match="TOO_MANY_PARTS"):
        client.insert("many", [[1], [2]], column_names=["a"], settings={"max_partitions_per_insert_block": 1})
    assert client.query("SELECT count() FROM few UNION ALL SELECT count() FROM many").result_rows == [
        (0,),
        (0,),
    ]


def test_an_insert_may_carry_its_settings(client: Client, clickhouse_process: ClickHouseProcess) -> None:
    sql = b"INSERT INTO t (a, b) SETTINGS insert_deduplication_token='once' FORMAT TSV\n1\tx\n2\ty\n"
    for _ in range(2):
        assert post(clickhouse_process.address, sql, database=client.database or "").status == 200
    assert client.query("SELECT a, b FROM t ORDER BY a").result_rows == [(1, "x"), (2, "y")]


def test_settings_last_for_one_request(client: Client) -> None:
    asked = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    assert client.query(asked, settings={"max_threads": 3}).result_rows == [("3",)]
    assert client.query(asked).result_rows != [("3",)]


def test_an_insert_with_the_same_token_counts_once(client: Client) -> None:
    settings = {"insert_deduplication_token": "batch-1", "async_insert": 0}
    for _ in range(2):
        client.insert("t", ROWS[:10], column_names=["a", "b"], settings=settings)
    assert client.command("SELECT count() FROM t") == 10


def test_the_summary_says_what_the_engine_read(client: Client) -> None:
    client.insert("t", ROWS, column_names=["a", "b"])
    summary = client.query("SELECT count() FROM t WHERE b LIKE '%7%'").summary
    assert int(summary["read_rows"]) == len(ROWS)
    assert int(summary["result_rows"]) == 1
    assert int(summary["elapsed_ns"]) > 0


@pytest.mark.slow
def test_a_slow_query_does_not_hold_up_others(client: Client, clickhouse_process: ClickHouseProcess) -> None:
    ended = threading.Event()

    def slow() -> None:
        with connect(clickhouse_process.address) as other:
            other.query("SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_block_size = 1")
        ended.set()

    thread = threading.Thread(target=slow)
    thread.start()
    for _ in range(20):
        assert client.query("SELECT 1").result_rows == [(1,)]
    assert not ended.is_set()
    thread.join()


def test_a_query_whose_client_left_is_stopped(client: Client, clickhouse_process: ClickHouseProcess) -> None:
    connection = HTTPConnection(urlsplit(clickhouse_process.address).netloc)
    endless = "SELECT count() FROM numbers(10000000000000) WHERE NOT ignore(sipHash64(number))"
    connection.request("POST", "/", endless)
    running = (
        "SELECT count() FROM system.processes "
        "WHERE query LIKE '%numbers(10000000000000)%' AND query NOT LIKE '%system%'"
    )
    wait_for(lambda: client.command(running) == 1)
    connection.close()
    wait_for(lambda: client.command(running) == 0)


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_reading_by_get_writes_nothing(clickhouse_process: ClickHouseProcess, client: Client) -> None:
    connection = HTTPConnection(urlsplit(clickhouse_process.address).netloc)
    asked = {"query": f"DROP TABLE {client.database}.t", "readonly": "0"}
    connection.request("GET", "/?" + urlencode(asked))
    assert connection.getresponse().status == 403
    connection.close()
    assert client.command("SELECT count() FROM t") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "header", [{"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_page_in_a_browser_gets_nothing(
    clickhouse_process: ClickHouseProcess, header: dict[str, str]
) -> None:
    assert post(clickhouse_process.address, b"SELECT 1", header).status == 403


def test_ping_and_unknown_addresses(clickhouse_process: ClickHouseProcess, client: Client) -> None:
    assert client.ping()
    connection = HTTPConnection(urlsplit(clickhouse_process.address).netloc)
    connection.request("GET", "/nowhere")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    engine = ClickHouseProcess(tmp_path / "engine")
    try:
        engine.run(
            "CREATE TABLE t (a UInt32, b String) ENGINE MergeTree ORDER BY a SETTINGS fsync_after_insert = 1"
        )
        with connect(engine.address) as client:
            client.insert("t", ROWS, column_names=["a", "b"], settings={"async_insert": 0})
        engine.kill()
        engine.start()
        with connect(engine.address) as client:
            assert client.command("SELECT count() FROM t") == len(ROWS)
    finally:
        assert engine.stop() == 0


@pytest.mark.slow
def test_a_folder_has_one_owner_and_the_second_is_told(clickhouse_process: ClickHouseProcess) -> None:
    command = [sys.executable, "-m", "flywheel.local.clickhouse", "--port", "0", "--path"]
    second = subprocess.run(
        [*command, str(clickhouse_process.path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    assert "does another process own it?" in second.stderr
    exposed = subprocess.run(
        [*command, "/nonexistent", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert exposed.returncode == 1
    assert "CLICKHOUSE_PASSWORD" in exposed.stderr


@pytest.mark.slow
def test_a_password_is_asked_for_when_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "s3cret")
    engine = ClickHouseProcess(tmp_path / "engine")
    try:
        with connect(engine.address, username="default", password="s3cret") as client:
            assert client.command("SELECT 1") == 1
        with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
            connect(engine.address, username="default", password="wrong")
        assert post(engine.address, b"SELECT 1").status == 403
        assert post(engine.address, b"SELECT 1", {"X-ClickHouse-Key": "s3cret"}).status == 200
    finally:
        engine.stop()


@pytest.mark.slow
def test_a_large_body_is_refused_before_it_is_run(tmp_path: Path) -> None:
    engine = ClickHouseProcess(tmp_path / "engine", "--max-body", "100000")
    try:
        assert post(engine.address, b"SELECT '" + b"x" * 200_000 + b"'").status == 413
        large = post(engine.address, b"SELECT toString(number) FROM numbers(200000)")
        assert (large.status, large.headers["X-ClickHouse-Exception-Code"]) == (500, "396")
        assert post(engine.address, b"SELECT 1").status == 200
    finally:
        engine.stop()
