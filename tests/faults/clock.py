"""Starts a process whose wall clock somebody else sets, forward and back, while it runs.

    python -m tests.faults.clock FILE inference.proxy --port 8080

FILE holds the seconds to add to ``time.time`` and ``time.time_ns``; it is read twenty times a second, and is
as absent when it can't be read. The monotonic clocks stay as they are, as on a real machine.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

from tests.faults import broken

_TIME, _TIME_NS = time.time, time.time_ns
_shift = [0.0]


def _follow(path: Path) -> None:
    while True:
        with contextlib.suppress(OSError, ValueError):
            _shift[0] = float(path.read_text())
        time.sleep(0.05)


if __name__ == "__main__":
    time.time = lambda: _TIME() + _shift[0]
    time.time_ns = lambda: _TIME_NS() + int(_shift[0] * 1e9)
    threading.Thread(target=_follow, args=(Path(sys.argv[1]),), daemon=True).start()
    broken.run(sys.argv[2], sys.argv[3:])
