"""The Redis-protocol server from a wheel."""

import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from flywheel.local import broker


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_it_serves_who_knows_the_password_and_writes_nothing(tmp_path: Path) -> None:
    port = free_port()
    assert not broker.answers(port)
    command = broker.command(tmp_path, port, "secret")
    assert "secret" not in " ".join(command)
    assert (tmp_path / "valkey.conf").stat().st_mode & 0o777 == 0o600
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not broker.answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with redis.Redis(port=port, password="secret") as client:
            assert client.set("key", "value")
            assert client.get("key") == b"value"
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("key")
    finally:
        server.terminate()
        server.wait(timeout=20)
    assert [path.name for path in tmp_path.iterdir()] == ["valkey.conf"]
