"""The drain: exchanges from the spool into the trace store, each once, however often it is killed.

    python -m inference.drain

Reads closed exchanges, has them prepared ahead (inference.ahead), records the batch (an id and where it ends)
beside the spool before sending anything, stores and verifies it (inference.storing), and only then moves the
checkpoint. Batches begin in the spool's order and end in it; as many are on their way at a time as there are
processes that prepare them, since a trace store makes one insert on one core. What was on its way when a
drain died is cut again at the recorded places and goes under the same ids. What can't be parsed, or does not
fit the tables, is kept in the spool's quarantine folder and counted. While the trace store is away the drain
waits; the spool grows, nothing is lost. When the spool's disk is full the drain must still write a few bytes
to free any, so it keeps some in reserve. Before what is encrypted under a key that was not given the drain
ends: nothing is passed over. `status.json` in the spool says how it stands, for the pages.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from clickhouse_connect.driver.exceptions import DatabaseError

from inference import clickhouse, late, report, storing
from inference.ahead import Made, Preparing, tune
from inference.aside import Aside
from inference.batches import RECORD, Batch, BatchRecord
from inference.clickhouse import RejectedError, Store, Unavailable
from inference.cuts import Types
from inference.erased import Erased
from inference.exchange import Exchange
from inference.otlp import SpanBatch
from inference.preparing import Prepared, Ready
from inference.quarantine import Quarantine
from inference.rows import TABLES, Record, rows, span_of
from inference.spans import Export
from inference.spool import Damage, KeyMissingError, Keys, Position, SpoolBusyError, SpoolReader
from inference.spool.reader import Ended, damaged, decode

log = logging.getLogger("inference.drain")
BATCH = 1000
STATUS = "status.json"
_RESERVE = "reserve"
_RESERVE_BYTES = 1 << 20
_BATCH_BYTES = 16 << 20
"""Of a batch, before compression. With processes twice that: who has cores for them has memory, too, and
what a batch costs beside its records is shared by more of them.
"""
_LONGEST_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """How the drain stands. Times are unix seconds; counts are since the spool was made."""

    updated_at: float = 0.0
    last_stored_at: float | None = None
    oldest_unstored_at: float | None = None
    stored: int = 0
    quarantined: int = 0
    damaged: int = 0
    spans_dropped: int = 0
    newest: str = ""
    """Id of the exchange that was stored last."""
    problem: str = ""
    """Why nothing can be stored now; empty when all is well."""


def read_status(spool: Path) -> Status | None:
    """What the drain of a spool last said; None when it never ran."""
    try:
        found = orjson.loads((spool / STATUS).read_bytes())
        return Status(**found)
    except (OSError, ValueError, TypeError):
        return None


class Drain:
    """One spool's drain. ``step`` does one batch; ``run`` goes on until ``stop``."""

    def __init__(
        self,
        spool: Path,
        connect: Callable[[], Store] = clickhouse.connect,
        *,
        batch: int = BATCH,
        export: Export | None = None,
        processes: int = 0,
        keys: Keys | None = None,
    ) -> None:
        """Take the spool. Raises SpoolBusyError when another drain has it."""
        self._spool = spool
        self._reader = SpoolReader(spool, keys)
        self._quarantine = Quarantine(spool, keys)
        self._aside = Aside(spool, connect, keys=keys)
        self._erased = Erased(connect)
        self._honoured: frozenset[str] = frozenset()
        self._preparing = Preparing(spool, processes, exports=export is not None)
        self._senders = ThreadPoolExecutor(max(1, processes), "sending")
        self._batches: deque[Batch] = deque()
        self._record = BatchRecord(spool)
        self._recorded: deque[tuple[str, Position]] | None = None
        """What an earlier drain recorded and this one has not read; None: not looked up."""
        self._more = False
        """Whether the batch that was stored last was full, so that the next one need not gather."""
        self._connect = connect
        self._batch, self._batch_bytes = batch, _BATCH_BYTES * (2 if processes else 1)
        self._export = export
        self._newest = ""
        self._rate = report.Rate()
        self._stopping = threading.Event()
        self.status = replace(read_status(spool) or Status(), problem="")

    def run(self, interval_seconds: float) -> None:
        """Drain until ``stop``. Waits between batches so that small ones gather; not after a full one. Raises
        KeyMissingError.
        """
        pause = 0.5
        while not self._stopping.is_set() or self._is_sending:
            try:
                self.step()
            except KeyMissingError as error:
                self._say(problem=str(error))
                raise
            except (Unavailable, DatabaseError, OSError) as error:
                if str(error) != self.status.problem:
                    log.warning("waiting for the trace store: %s", error)
                self._say(problem=str(error))
                if isinstance(error, OSError):
                    (self._spool / _RESERVE).unlink(missing_ok=True)
                self._stopping.wait(pause)
                pause = min(pause * 2, _LONGEST_WAIT)
                continue
            pause = 0.5
            if not self._more:
                self._stopping.wait(interval_seconds)

    def stop(self) -> None:
        """Make ``run`` return after the batches on their way."""
        self._stopping.set()

    def report(self, stopped: bool) -> report.Report:
        """How it stands, for web. Called from another thread."""
        status, now = self.status, time.time()
        return report.Report(
            name=report.spool_name(self._spool),
            worked_age=report.age(status.updated_at, now) or 0.0,
            stored_age=report.age(status.last_stored_at, now),
            unstored_age=report.age(status.oldest_unstored_at, now),
            newest=status.newest,
            stored=status.stored,
            rate=self._rate(time.monotonic(), status.stored),
            kept_aside=status.quarantined,
            damaged=status.damaged,
            disk_bytes=report.segment_bytes(self._spool),
            problem=status.problem[:300],
            stopped=stopped,
        )

    def close(self) -> None:
        if self._export is not None:
            self._export.close()
        self._senders.shutdown(wait=True, cancel_futures=True)
        self._preparing.close()
        self._reader.close()

    def step(self) -> int:
        """Store one batch, and return how many exchanges it had. Raises Unavailable, OSError when the spool's
        disk takes nothing, and KeyMissingError; what was read is then read again.
        """
        try:
            return self._step()
        except BaseException:
            wait([batch.sent for batch in self._batches if batch.sent is not None])
            self._batches.clear()
            self._recorded = None
            self._reader.rewind()
            raise

    def _step(self) -> int:
        self._read_ahead()
        self._quarantine.note(self._reader.damage)
        self._reader.damage.clear()
        self._erase()
        count = stored = 0
        self._more = False
        if self._batches:
            stored = self._store_first()
            batch = self._batches.popleft()
            count = len(batch.ahead.batch)
            self._reader.commit(batch.end)
            self._more = batch.full
        self._reader.retire()
        if self._recorded is not None and not self._recorded and not any(one.name for one in self._batches):
            self._record.clear()
        self._reserve()
        self._say(stored=stored)
        return count

    @property
    def _is_sending(self) -> bool:
        return bool(self._batches) and self._batches[0].sent is not None

    def _read_ahead(self) -> None:
        """Read as many batches as may be on their way; a small one gathers more before the next."""
        if self._stopping.is_set():
            return
        while not self._batches or (len(self._batches) < self._preparing.most and self._batches[-1].full):
            name, until, found, full = self._take()
            if not found:
                return
            again = bool(name) or any(one.doubtful for one in found)
            ahead = self._preparing.begin(found, self._types())
            self._batches.append(Batch(ahead, until or found[-1].at, full, name, again, by_rows=again))

    def _take(self) -> tuple[str, Position | None, Sequence[Ended], bool]:
        """The next batch's records: of one that was recorded the same ones, its name and where it ends."""
        if self._recorded is None:
            self._recorded = deque(self._load_record())
        while self._recorded:
            name, until = self._recorded.popleft()
            found, full = self._reader.take(self._batch, until, self._batch_bytes)
            if found:  # else it was committed just before its drain died
                return name, until, found, full
        return "", None, *self._reader.take(self._batch, None, self._batch_bytes)

    def _load_record(self) -> list[tuple[str, Position]]:
        try:
            return self._record.load()
        except ValueError as error:
            self._quarantine.note([Damage(RECORD, 0, str(error))])
            self._reader.distrust()
            return []

    def _types(self) -> Types | None:
        """The tables' columns' types; None while they can't be asked for."""
        try:
            store = self._connect()
            return {table.name: store.types(table.name, table.columns) for table in TABLES}
        except (Unavailable, DatabaseError) as error:
            log.debug("the tables' types are not known: %s", error)
            return None

    def _reserve(self) -> None:
        """Put some bytes aside, so that a full disk can be freed: for that, a checkpoint must be written."""
        path = self._spool / _RESERVE
        free = os.statvfs(self._spool)
        # On a disk that is nearly full the writer needs the first bytes more.
        if path.exists() or free.f_bavail * free.f_frsize < 16 * _RESERVE_BYTES:
            return
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
        except OSError:
            path.unlink(missing_ok=True)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _erase(self) -> None:
        """Honour erasures and retention in what is kept aside. A store that is away stops nothing."""
        try:
            asked = self._erased.erasures()
            if asked - self._honoured:
                self._quarantine.erase(self._erased)
                self._honoured = asked
            self._aside.expire()
        except (Unavailable, DatabaseError) as error:
            log.debug("erasures are not known: %s", error)

    def _store_first(self) -> int:
        """Store the first batch and return how many records that were. The usual one goes as it was made
        ready, while others after it are on their way, too; whatever is not usual goes by rows, alone.
        """
        first = self._batches[0]
        self._send_ready()
        while not (first.by_rows or (first.sent is not None and first.sent.done())):
            wait(self._awaited(), return_when=FIRST_COMPLETED)
            self._send_ready()
        made = self._made(first)
        if first.sent is not None:
            if first.sent.result():
                assert isinstance(made, Ready)
                late.join(self._connect(), made.records, first.name)
                self._stored(made.newest, made.records)
                return made.count
            first.again = True
        self._begin(first)
        prepared = self._preparing.by_rows(made, first.ahead)
        self._store_rows(first.ahead.batch, prepared, first.name, again=first.again)
        return sum(not one.damage for one in prepared)

    def _send_ready(self) -> None:
        """Begin to send, in order, what goes as it was made ready: up to the first that is not, or does not.
        Those before it may be on the list of what was erased, or put something on it, that tells of it.
        """
        for batch in self._batches:
            if batch.sent is not None:
                continue
            if batch.by_rows or not batch.ahead.future.done():
                return
            if self._stopping.is_set() and batch is not self._batches[0]:
                return
            made = self._made(batch)
            batch.by_rows = not isinstance(made, Ready) or self._touched(made)
            if not isinstance(made, Ready) or batch.by_rows:
                return
            self._begin(batch)
            batch.sent = self._senders.submit(self._send, made, batch.name)

    def _awaited(self) -> list[Future[Any]]:
        """What may let the first batch, or another one, go on."""
        awaited: list[Future[Any]] = [one.sent for one in self._batches if one.sent and not one.sent.done()]
        following = next((one for one in self._batches if one.sent is None), None)
        if following is not None and not following.ahead.future.done():
            awaited.append(following.ahead.future)
        return awaited

    def _made(self, batch: Batch) -> Made:
        if batch.made is None:
            batch.made = self._preparing.end(batch.ahead)
        return batch.made

    def _begin(self, batch: Batch) -> None:
        """Before anything of a batch is sent: make durable what was read, and what the batch is."""
        self._reader.settle(batch.ahead.batch)
        if not batch.name:
            batch.name = str(uuid.uuid4())
            self._record.write([one for one in self._batches if one.name])

    def _touched(self, made: Ready) -> bool:
        """Whether an erasure may forbid to store any of it."""
        return self._erased.touches(made.began, made.others, made.records)

    def _send(self, made: Ready, name: str) -> bool:
        """Whether all of a batch could be read back after it had been sent. Runs in a thread of its own."""
        try:
            if storing.store_blocks(self._connect(), made.blocks, name):
                return True
            log.warning("of batch %s less is there than was sent; it is made whole", name)
        except RejectedError as error:
            log.warning("the trace store refuses a batch's blocks, sending its rows: %s", error)
        return False

    def _stored(self, newest: str, asked: Sequence[Record]) -> None:
        self._newest = newest or self._newest
        if self._export is not None:
            spans = (span_of(record) for record in asked if isinstance(record, Exchange))
            self._export.offer([span for span in spans if span is not None])

    def _store_rows(
        self, batch: Sequence[Ended], prepared: list[Prepared], name: str, *, again: bool
    ) -> None:
        found = self._left(list(zip(batch, prepared, strict=True)))
        for ended, one in found:
            if one.damage:
                self._quarantine.note([damaged(ended, one.damage)])
            if one.problem:
                self._quarantine.keep(decode(ended), one.problem)
        whole = [(ended, one) for ended, one in found if one.rows or one.record]
        if not whole:
            return
        asked = [one.record for _, one in whole if one.record is not None]
        try:
            store = self._connect()
            storing.store_rows(store, [row for _, one in whole for row in one.rows], name, again=again)
            late.join(store, asked, name)
        except RejectedError as error:
            log.warning("the trace store refuses a batch, storing its records one by one: %s", error)
            self._store_singly(whole, name)
        ids = (row.id for _, one in reversed(whole) for row in one.rows if row.table == "exchanges")
        self._stored(next(ids, ""), asked)

    def _left(self, found: list[tuple[Ended, Prepared]]) -> list[tuple[Ended, Prepared]]:
        """What no erasure forbids to store."""
        if not self._erased.erasures():
            return found
        raws = {id(ended): decode(ended) for ended, one in found if not one.damage}
        stays = {id(raw) for raw in self._erased.without(list(raws.values()))}
        found = [(ended, one) for ended, one in found if one.damage or id(raws[id(ended)]) in stays]
        batches = [one for _, one in found if isinstance(one.record, SpanBatch)]
        left = iter(self._erased.spans([one.record for one in batches if one.record is not None]))
        return [
            (ended, _prepared(next(left)) if isinstance(one.record, SpanBatch) else one)
            for ended, one in found
        ]

    def _store_singly(self, found: Sequence[tuple[Ended, Prepared]], name: str) -> None:
        """Find what the store refuses: everything else is stored, that goes to quarantine."""
        for ended, one in found:
            raw = decode(ended)
            try:
                single = f"{name}:{raw.exchange_id}:{raw.attempt}"
                storing.store_rows(self._connect(), one.rows, single, again=True)
            except RejectedError as error:
                self._quarantine.keep(raw, str(error))

    def _say(self, *, stored: int = 0, problem: str = "") -> None:
        """Write the status file. It is news, not truth: a crash may cost its last line."""
        now = time.time()
        self.status = replace(
            self.status,
            updated_at=now,
            last_stored_at=now if stored else self.status.last_stored_at,
            oldest_unstored_at=self._reader.oldest_unread(),
            stored=self.status.stored + stored,
            quarantined=self._quarantine.exchanges,
            damaged=self._quarantine.damage,
            spans_dropped=self._export.dropped if self._export else 0,
            newest=self._newest or self.status.newest,
            problem=problem,
        )
        beside = self._spool / f"{STATUS}.new"
        with contextlib.suppress(OSError):
            beside.write_bytes(orjson.dumps(asdict(self.status)))
            beside.rename(self._spool / STATUS)


def _prepared(record: Record) -> Prepared:
    return Prepared(rows([record])[0], record)


def default_spool() -> Path:
    """FLYWHEEL_SPOOL, or spool/ under FLYWHEEL_HOME."""
    home = Path(os.environ.get("FLYWHEEL_HOME", "var"))
    return Path(os.environ.get("FLYWHEEL_SPOOL") or home / "spool").resolve()


def main(arguments: list[str] | None = None) -> int:
    """Drain until SIGTERM or SIGINT. Exit 1, with one line, when another drain has the spool; 2 for want of a
    key, or for a bad one.
    """
    parser = argparse.ArgumentParser(prog="python -m inference.drain", description="Spool → trace store.")
    parser.add_argument("--spool", type=Path, default=default_spool())
    parser.add_argument(
        "--interval", type=float, default=1.0, help="seconds between batches that are not full"
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="exchanges at most in a batch")
    parser.add_argument(
        "--processes",
        type=int,
        default=int(os.environ.get("FLYWHEEL_DRAIN_PROCESSES") or 0),
        help="processes that prepare batches; 0: a thread of this one",
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    endpoint = os.environ.get("FLYWHEEL_OTLP_ENDPOINT", "")
    try:
        keys = Keys.from_environment()
        export = Export.to(endpoint) if endpoint else None
        drain = Drain(given.spool, batch=given.batch, export=export, processes=given.processes, keys=keys)
    except SpoolBusyError as error:
        print(f"drain: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"drain: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: drain.stop())
    if keys is not None:
        log.info("the spool's keys: %s", ", ".join(keys.ids))
    log.info("draining %s into %s", given.spool, clickhouse.url().rpartition("@")[2])
    # What prepares must let go soon when an answer of the store has come.
    sys.setswitchinterval(0.0005)
    tune()
    reporter = _reporter(drain)
    try:
        drain.run(given.interval)
    except KeyMissingError as error:
        print(f"drain: {error}; nothing was passed over", file=sys.stderr)
        return 2
    finally:
        if reporter is not None:
            reporter.stop()
        drain.close()
    return 0


def _reporter(drain: Drain) -> report.Reporter | None:
    """Who tells web; nobody, where there is no token to do so with."""
    token = os.environ.get("FLYWHEEL_INTERNAL_TOKEN", "")
    if not token:
        return None
    reporter = report.Reporter(
        drain.report, os.environ.get("FLYWHEEL_WEB_URL", "http://127.0.0.1:8000"), token
    )
    reporter.start()
    return reporter


if __name__ == "__main__":
    sys.exit(main())
