"""Prepares a drain's batches ahead of their being stored: in a thread, or in processes, one batch each.

What is prepared is pure work on bytes (inference.preparing), so a process that dies takes nothing with it:
its batch is prepared anew. A record that ends whoever reads it, alone and three times, is a problem of
that record's own. Order, recording and storing are the drain's.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inference import masking
from inference.cuts import Types
from inference.masking import Masking
from inference.preparing import Prepared, Ready, ready
from inference.spool.reader import Ended

log = logging.getLogger("inference.drain")
_masking: Masking | None = None
"""A process's own."""
Made = Ready | list[Prepared]


@dataclass(frozen=True, slots=True)
class Ahead:
    """A batch that is being prepared."""

    batch: Sequence[Ended]
    pool: Executor
    future: Future[Made]


class Preparing:
    """Whoever prepares: one thread where ``processes`` is 0."""

    def __init__(self, spool: Path, processes: int, *, exports: bool) -> None:
        self._spool, self._processes, self._exports = spool, processes, exports
        # A drain's key is made before its processes ask for it.
        self._masking = masking.load(spool)
        self._pool = self._open()

    @property
    def most(self) -> int:
        """How many batches there may be at a time: with processes, for each one that is prepared and one that
        is sent, and one more; without, one of either.
        """
        return 1 + 2 * self._processes if self._processes else 2

    def begin(self, batch: Sequence[Ended], types: Types | None) -> Ahead:
        """Start with a batch. With the tables' types it is made ready to be sent, where it can be."""
        try:
            return Ahead(batch, self._pool, self._submit(batch, types))
        except BrokenExecutor:
            self._renew(self._pool)
            return Ahead(batch, self._pool, self._submit(batch, types))

    def end(self, ahead: Ahead) -> Made:
        """Wait for it. Raises OSError where no process lives."""
        try:
            return ahead.future.result()
        except BrokenExecutor:
            self._renew(ahead.pool)
            made = self._again(ahead.batch, tries=1)
            return made if made is not None else [self._alone(one) for one in ahead.batch]

    def by_rows(self, made: Made, ahead: Ahead) -> list[Prepared]:
        """What each record of a batch came to. Of one that was made ready it is made again."""
        if not isinstance(made, Ready):
            return made
        again = self.end(self.begin(ahead.batch, None))
        assert not isinstance(again, Ready)
        return again

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _again(self, batch: Sequence[Ended], tries: int) -> list[Prepared] | None:
        """Prepare what may have killed its process; None when it does so each time."""
        for _ in range(tries):
            with contextlib.suppress(BrokenExecutor):
                made = self._submit(batch, None).result()
                assert not isinstance(made, Ready)
                return made
            self._renew(self._pool)
        return None

    def _alone(self, one: Ended) -> Prepared:
        made = self._again([one], tries=3)
        if made is not None:
            return made[0]
        if self._again([], tries=2) is None:
            raise ChildProcessError("processes that prepare records do not live")
        return Prepared(problem="whoever reads it dies")

    def _renew(self, broken: Executor) -> None:
        if broken is not self._pool:
            return
        log.error("a process that prepared records is gone; its batch is prepared anew")
        broken.shutdown(wait=False, cancel_futures=True)
        self._pool = self._open()

    def _open(self) -> Executor:
        if not self._processes:
            return ThreadPoolExecutor(1, "preparing")
        # Not forked: a fork copies whatever locks the drain's threads hold.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, context, _start, (self._spool,))

    def _submit(self, batch: Sequence[Ended], types: Types | None) -> Future[Made]:
        work = _prepare if self._processes else partial(ready, masking=self._masking)
        return self._pool.submit(work, batch, types=types, exports=self._exports)


def _start(spool: Path) -> None:
    """A process begins. It ends with the drain, and not before: a signal to all of them is the drain's."""
    global _masking  # noqa: PLW0603 - a process of the pool has no other place
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _masking = masking.load(spool)
    tune()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare(batch: Sequence[Ended], *, types: Types | None, exports: bool) -> Made:
    assert _masking is not None
    return ready(batch, _masking, types, exports=exports)


def tune() -> None:
    """A batch is many objects and hardly a cycle: looking for those would take a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
