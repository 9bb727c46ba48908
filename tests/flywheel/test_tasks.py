"""Real workers on a real broker: one is killed in the middle, another finishes what it began."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from flywheel.celery import app
from flywheel.local import broker
from flywheel.models import Job
from flywheel.tasks import WORK
from tests.flywheel.tiny_engine import TinyEngine, serve

ROOT = Path(__file__).parents[2]
SETUP = """
import django
django.setup()
from flywheel import evaluation
from tests.flywheel.desk import open_desk
desk = open_desk()
desk.fill(30)
version = desk.build(exam_rows=10)
sat = evaluation.start(version, desk.base, desk.adapter(), desk.route, key="exam", user=desk.engineer)
print(sat.job_id)
"""


def test_every_kind_of_job_has_its_work() -> None:
    assert set(WORK) == set(Job.Kind.values)


def test_beat_sends_only_tasks_that_exist() -> None:
    sent = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert sent
    assert sent <= set(app.tasks)


def eventually(what: Callable[[], Any], seconds: float = 90) -> Any:
    """The first true value of ``what``; a machine under load gets its time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} never came true")


@contextmanager
def process(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """With its children, until the block ends."""
    with log.open("ab") as file:
        running = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield running
    finally:
        kill(running)


def kill(running: subprocess.Popen[bytes]) -> None:
    """As a power cut would: the worker and its children, without a word."""
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.slow
def test_a_killed_workers_job_is_finished_by_another(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log.txt"
    go_on = threading.Event()

    def answer(model: str, question: str) -> str:
        # The base answers at once, the adapter only when the first worker is dead.
        if model != "version:tiny":
            go_on.wait()
        return "Injury"

    with serve(TinyEngine(answer)) as proxy:
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "flywheel.settings",
            "FLYWHEEL_HOME": str(tmp_path),
            "FLYWHEEL_DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
            "FLYWHEEL_REDIS_URL": f"redis://:secret@127.0.0.1:{port}/0",
            "FLYWHEEL_PROXY_URL": proxy.url,
            "FLYWHEEL_EVALUATION_KEY": "fw-exam",
        }
        worker = [sys.executable, "-m", "celery", "-A", "flywheel", "worker", "-c", "2", "-P", "prefork"]
        with process(broker.command(tmp_path / "broker", port, "secret"), env, log):
            eventually(lambda: broker.answers(port))
            migrate = [sys.executable, "manage.py", "migrate", "-v", "0", "--skip-checks"]
            subprocess.run(migrate, cwd=ROOT, env=env, check=True)
            made = subprocess.run(
                [sys.executable, "-c", SETUP], cwd=ROOT, env=env, check=True, capture_output=True
            )
            job = int(made.stdout.split()[-1])
            try:
                with process(worker, env, log) as first:
                    eventually(lambda: kept(tmp_path, "baseline_right") > 0)
                    kill(first)
                began_with = kept(tmp_path, "baseline_right")
                assert row(tmp_path, job)[:2] == ("running", 1)
                lapse(tmp_path, job)
                asked = len(proxy.asked)
                go_on.set()
                with process(worker, env, log):
                    hint(env["FLYWHEEL_REDIS_URL"])
                    eventually(lambda: row(tmp_path, job)[0] == "done")
            except AssertionError:
                print(log.read_text())
                raise
    assert row(tmp_path, job) == ("done", 2, 20, "")
    assert kept(tmp_path, "candidate_right") == 10
    # What the first one kept was not asked again.
    assert len(proxy.asked) - asked == 20 - began_with


def hint(url: str) -> None:
    """What beat does by the clock."""
    with Celery(broker=url, set_as_current=False) as sender:
        sender.send_task("flywheel.resend_due")


def row(home: Path, job: int) -> tuple[Any, ...]:
    with closing(sqlite3.connect(home / "db.sqlite3")) as db:
        found: tuple[Any, ...] = db.execute(
            "select state, attempts, done, error from flywheel_job where id = ?", [job]
        ).fetchone()
        return found


def kept(home: Path, column: str) -> int:
    with closing(sqlite3.connect(home / "db.sqlite3")) as db:
        count: int = db.execute(
            f"select count(*) from flywheel_evaluationcase where {column} is not null"
        ).fetchone()[0]
        return count


def lapse(home: Path, job: int) -> None:
    """A minute passes."""
    with closing(sqlite3.connect(home / "db.sqlite3")) as db, db:
        db.execute("update flywheel_job set lease_until = '2000-01-01 00:00:00' where id = ?", [job])
