"""One connection, one request at a time: what the way through the proxy adds to an answer's time.

Direct calls and calls through the proxy take turns, so that whatever else the machine does meets both. A turn
is many calls, as one busy client makes them; or one, so that each comes after one of another kind.
"""

import os
import socket
import time
from pathlib import Path

from bench.proxy.load import BadAnswersError, Request

TURN = 50
"""Calls."""


class Line:
    """A kept connection that is asked the same again and again."""

    def __init__(self, request: Request) -> None:
        self._sent = request.raw()
        self._socket = socket.create_connection(("127.0.0.1", request.port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.took: list[float] = []

    def ask(self) -> None:
        """One request and its whole answer."""
        began = time.perf_counter()
        self._socket.sendall(self._sent)
        read = b""
        while not _is_whole(read):
            part = self._socket.recv(1 << 18)
            if not part:
                raise BadAnswersError("the connection was closed")
            read += part
        self.took.append(time.perf_counter() - began)

    def close(self) -> None:
        self._socket.close()

    def percentile_ms(self, share: float) -> float:
        return percentile_ms(self.took, share)


def _is_whole(read: bytes) -> bool:
    head, found, body = read.partition(b"\r\n\r\n")
    if not found:
        return False
    _, sized, length = head.lower().partition(b"content-length:")
    if sized:
        return len(body) >= int(length.split(b"\r\n", 1)[0])
    return body.endswith(b"0\r\n\r\n")


def percentile_ms(took: list[float], share: float) -> float:
    """Of seconds, in milliseconds."""
    return sorted(took)[min(len(took) - 1, int(len(took) * share))] * 1000


def in_turns(requests: list[Request], seconds: float, turn: int = TURN) -> list[Line]:
    """Ask each in turn for a while, so many times in a row; the first tenth is thrown away."""
    lines = [Line(request) for request in requests]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for line in lines:
            for _ in range(turn):
                line.ask()
    for line in lines:
        line.close()
        del line.took[: len(line.took) // 10]
    return lines


def sync_ms(folder: Path, times: int = 200) -> float:
    """The median of what this disk takes to make 10 KB durable, written to a file's end."""
    path, took = folder / "sync", []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    for _ in range(times):
        os.write(descriptor, os.urandom(10_000))
        began = time.perf_counter()
        os.fdatasync(descriptor)
        took.append(time.perf_counter() - began)
    os.close(descriptor)
    path.unlink()
    return percentile_ms(took, 0.5)
