"""Starts a process in which one promise is broken on purpose: the suite must notice each.

    python -m tests.faults.broken no_fsync inference.proxy --port 8080

The product has no such switches: what is changed is changed here, in the process about to run.

no_fsync          nothing is ever synced; only a power cut shows it
ack_early         the client is told before the exchange is on disk
no_dedup          the drain sends what it reads, and looks at nothing that is there
early_checkpoint  the checkpoint moves before the batch is stored

The last two also dwell where a kill shows it, so that a few kills are enough: otherwise the window is a few
milliseconds wide.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

_WINDOW_SECONDS = 0.05
WAYS = ("no_fsync", "ack_early", "no_dedup", "early_checkpoint")


def _no_fsync() -> None:
    def nothing(fd: Any) -> None:
        return None

    os.fsync = os.fdatasync = nothing


def _ack_early() -> None:
    from inference.spool.recording import Recording  # noqa: PLC0415 - patched before the process uses it

    original = Recording.close

    async def close(self: Recording, header: dict[str, Any], **_: Any) -> None:
        await original(self, header, durable=False)

    Recording.close = close  # type: ignore[method-assign]


def _no_dedup() -> None:
    import uuid  # noqa: PLC0415

    from inference import rows, storing  # noqa: PLC0415

    def plain(trace_store: Any, cut: Any, token: str, again: bool) -> None:
        values = [row.values for row in cut.rows.values()]
        trace_store.insert(cut.table.name, cut.table.columns, values, str(uuid.uuid4()))
        time.sleep(_WINDOW_SECONDS)

    def plain_block(trace_store: Any, block: Any, token: str) -> bool:
        columns = rows.BY_NAME[block.table].columns
        trace_store.send(block.table, columns, block.data, str(uuid.uuid4()))
        time.sleep(_WINDOW_SECONDS)
        return True

    storing._store_cut = plain
    storing._store_block = plain_block


def _early_checkpoint() -> None:
    from inference.spool import SpoolReader  # noqa: PLC0415

    original = SpoolReader.take

    def take(self: SpoolReader, *arguments: Any, **options: Any) -> Any:
        found, full = original(self, *arguments, **options)
        if found:
            self.commit(found[-1].at)
            time.sleep(_WINDOW_SECONDS)
        return found, full

    SpoolReader.take = take  # type: ignore[method-assign]


_BREAKS: dict[str, Callable[[], None]] = {
    "no_fsync": _no_fsync,
    "ack_early": _ack_early,
    "no_dedup": _no_dedup,
    "early_checkpoint": _early_checkpoint,
}


def break_it(way: str) -> None:
    """Break one promise in this process. Raises KeyError for a way there is not."""
    _BREAKS[way]()


def run(module: str, arguments: list[str]) -> None:
    """Run a module as ``python -m`` would, in this process."""
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    break_it(sys.argv[1])
    run(sys.argv[2], sys.argv[3:])
