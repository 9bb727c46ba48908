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
def postgresql() -> Iterator[str]:
    """A throw-away PostgreSQL server from the machine's packages; the address of its database."""
    initdb, server = shutil.which("initdb"), shutil.which("pg_ctl")
    if not initdb or not server:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl on the PATH")
    # PostgreSQL refuses to run as root; the machine's own account for it is used then.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        data, port = f"{folder}/data", free_port()
        made = subprocess.run(
            [*as_user, initdb, "-A", "trust", "-U", "crowd", data], check=False, capture_output=True
        )
        if made.returncode:
            pytest.skip(f"initdb: {made.stderr.decode()[-300:]}")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        start = [*as_user, server, "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://crowd@127.0.0.1:{port}/postgres"
        finally:
            stop = [*as_user, server, "-D", data, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL)


def run_crowd(url: str, per_item: int) -> str:
    environment = os.environ | {"FLYWHEEL_DATABASE_URL": url, "FLYWHEEL_SECRET_KEY": "crowd"}
    command = [sys.executable, "-m", "tests.annotations.crowd", str(per_item)]
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, cwd=CROWD.parents[2]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("per_item", [1, 2])
def test_nobody_shares_a_place_on_sqlite(tmp_path: Path, per_item: int) -> None:
    told = run_crowd(f"sqlite:///{tmp_path / 'crowd.sqlite3'}", per_item)
    assert told == f"{24 * per_item} judgements, 24 items decided"


@pytest.mark.slow
@pytest.mark.parametrize("per_item", [1, 2])
def test_nobody_shares_a_place_on_postgresql(postgresql: str, per_item: int) -> None:
    told = run_crowd(postgresql, per_item)
    assert told == f"{24 * per_item} judgements, 24 items decided"
