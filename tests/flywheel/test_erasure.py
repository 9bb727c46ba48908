"""One user's erasure: everything, whatever holds it, though killed again and again; who may; what it says."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from django.test import Client

from flywheel import erasure, jobs
from flywheel.models import Erasure, Job
from flywheel.pages import keys
from inference import clickhouse, erasing
from tests import people
from tests.clickhouse_fixture import ClickHouseProcess
from tests.flywheel.erasable import MARK


def test_killed_again_and_again_no_byte_of_it_is_left(
    clickhouse_process: ClickHouseProcess, clickhouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"FLYWHEEL_HOME": str(home), "FLYWHEEL_CLICKHOUSE_URL": clickhouse}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            env=environment,
            timeout=120,
            check=False,
            text=True,
            capture_output=True,
        )

    made = run("-m", "tests.flywheel.erasable", "make")
    assert made.returncode == 0, made.stderr
    clean_soon(clickhouse, monkeypatch)
    before = found_in(home)
    names = {path.name for path in before}
    assert names >= {"answers.jsonl", "flywheel.sqlite3"}
    assert names & {"train.jsonl", "watch.jsonl"}
    assert (
        len([path for path in before if "sha256" in path.parts]) == 3
    )  # rows to learn from, rows of the exam, a manifest whose recipe names them
    done = run("-m", "tests.flywheel.erasable", "erase")
    assert "Erased everywhere" in done.stdout, (done.stdout, done.stderr)
    assert found_in(home) == []
    assert found_in(clickhouse_process.path) == []
    # The receipt says what there was at first, and names what was made with it.
    for line in (
        "6  items in queues",
        "6  dataset rows",
        "1  exam cases",
        "8  exchanges rows",
        "4  filters that named them",
    ):
        assert line in done.stdout
    for line in ("dataset versions: chapters", "adapters: chapters-0a1b2c3d", "evaluations: Evaluation 1"):
        assert line in done.stdout
    # What is not theirs still stands.
    assert clickhouse_count(clickhouse, "exchanges") == 4
    with sqlite3.connect(home / "flywheel.sqlite3") as database:
        ((rows, exam),) = database.execute(
            "SELECT train_rows, exam_rows FROM flywheel_datasetversion ORDER BY id DESC LIMIT 1"
        )
        ((kept,),) = database.execute("SELECT count(*) FROM annotations_item WHERE answer != ''")
    assert (rows + exam, kept) == (20, 24)


def clean_soon(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table's cleaner goes by the settings that it was begun with, and takes its time."""
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", address)
    store = clickhouse_store()
    soon = "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1"
    for table in erasing.TABLE_NAMES:
        store.command(f"ALTER TABLE {table} MODIFY SETTING {soon}")
        store.command(f"DETACH TABLE {table} SYNC")
        store.command(f"ATTACH TABLE {table}")


def clickhouse_store() -> clickhouse.Store:
    return clickhouse.connect()


def clickhouse_count(address: str, table: str) -> int:
    return int(clickhouse.connect(address).query(f"SELECT count() FROM {table}").result_rows[0][0])


def found_in(folder: Path) -> list[Path]:
    """Files with the marker, as it is or inside zstd frames; the spool's are the drain's to retire."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".segment" and MARK.encode() in readable(path)
    )


def readable(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return content + zstandard.ZstdDecompressor().decompressobj().decompress(content)
    except FileNotFoundError:
        return b""
    except zstandard.ZstdError:
        return content


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/erasures/", "/erasures/1/"])
def test_only_operators_get_in(address: str) -> None:
    erasure.start("bob", keys.fresh(), None)
    for user, status in (
        (None, 302),
        (people.reviewer(), 403),
        (people.engineer(), 403),
        (people.operator(), 200),
    ):
        client = Client()
        if user is not None:
            client.force_login(user)
        assert client.get(address.replace("1", str(Erasure.objects.get().pk))).status_code == status
        if status != 200:
            asked = client.post("/erasures/", {"user": "eve", "do": "erase", "key": keys.fresh()})
            assert asked.status_code == status
    assert Erasure.objects.count() == 1


@pytest.mark.django_db
def test_pressed_twice_it_is_begun_once_and_nothing_holds_the_id() -> None:
    client = Client()
    client.force_login(people.operator())
    key = keys.fresh()
    for _ in range(2):
        answer = client.post("/erasures/", {"user": MARK, "do": "erase", "key": key})
        assert answer.headers["Location"] == Erasure.objects.get().get_absolute_url()
    other = client.post("/erasures/", {"user": "somebody else", "do": "erase", "key": key})
    assert other.status_code == 409
    one, job = Erasure.objects.get(), Job.objects.get()
    assert MARK not in str(vars(one)) + str(vars(job))
    assert erasure.of_user(MARK) == [one]
    assert erasure.of_user("somebody else") == []
    # The receipt's page can be shown to the user: it says nothing of what there was.
    assert MARK not in client.get(one.get_absolute_url()).content.decode()


@pytest.mark.django_db
def test_without_the_store_nothing_is_called_done() -> None:
    one = erasure.start(MARK, keys.fresh(), None)
    from flywheel.tasks import WORK  # noqa: PLC0415

    jobs.run(one.job_id, WORK)
    job = Job.objects.get()
    assert job.state == Job.State.FAILED
    assert "Resume when it is back" in job.error


@pytest.mark.django_db
def test_an_engineer_may_not_cancel_one() -> None:
    one = erasure.start(MARK, keys.fresh(), None)
    client = Client()
    client.force_login(people.engineer())
    assert client.post(f"/jobs/{one.job_id}/", {"do": "cancel"}).status_code == 403
