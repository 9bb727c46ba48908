"""Many people at once, each in a thread with a connection of its own, on SQLite and on PostgreSQL."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CROWD = Path(__file__).with_name("crowd.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """A throw-away PostgreSQL server from the machine's packages; the address of its database."""
    initdb, server = shutil.which("initdb"), shutil.which("pg_ctl")
    if not initdb or not server:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl on the PATH")
    data, port = tmp_path / "data", free_port()
    # PostgreSQL refuses to run as root; the machine's own account for it is used then.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as sockets:
        for folder in (tmp_path, Path(sockets)):
            folder.chmod(0o777)
        for parent in list(tmp_path.parents)[:2]:
            parent.chmod(parent.stat().st_mode | 0o011)
        made = subprocess.run(
            [*as_user, initdb, "-A", "trust", "-U", "crowd", data], check=False, capture_output=True
        )
        if made.returncode:
            pytest.skip(f"initdb: {made.stderr.decode()[-300:]}")
        options = f"-p {port} -k {sockets} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = tmp_path / "log"
        start = [*as_user, server, "-D", str(data), "-w", "-l", str(log), "-o", options, "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://crowd@127.0.0.1:{port}/postgres"
        finally:
            stop = [*as_user, server, "-D", str(data), "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL)


def run_crowd(url: str, per_item: int) -> str:
    environment = os.environ | {"FLYWHEEL_DATABASE_URL": url, "FLYWHEEL_SECRET_KEY": "crowd"}
    command = [sys.executable, "-m", "tests.annotations.crowd", str(per_item)]
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, cwd=CROWD.parents[2]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("per_item", [1, 2])
def test_nobody_shares_a_place_on_sqlite(tmp_path: Path, per_item: int) -> None:
    told = run_crowd(f"sqlite:///{tmp_path / 'crowd.sqlite3'}", per_item)
    assert told == f"{24 * per_item} judgements, 24 items decided"


@pytest.mark.parametrize("per_item", [1, 2])
def test_nobody_shares_a_place_on_postgresql(postgresql: str, per_item: int) -> None:
    told = run_crowd(postgresql, per_item)
    assert told == f"{24 * per_item} judgements, 24 items decided"
