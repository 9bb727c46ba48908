"""The drain: exchanges from the spool into the trace store, each once, however often it is killed.

    python -m inference.drain

Reads closed exchanges, records the batch (an id and where it ends) beside the spool before sending anything,
stores and verifies it (inference.storing), and only then moves the checkpoint. A batch that was under way
when a drain died is cut again at the recorded place and goes under the same id. What can't be parsed, or does
not fit the tables, is kept in the spool's quarantine folder and counted. While the trace store is away the
drain waits; the spool grows, nothing is lost. When the spool's disk is full the drain must still write a few
bytes to free any, so it keeps some in reserve. `status.json` in the spool says how it stands, for the pages.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson
from clickhouse_connect.driver.exceptions import DatabaseError

from inference import clickhouse, late, masking, records, report, storing
from inference.clickhouse import RejectedError, Store, Unavailable
from inference.erased import Erased
from inference.exchange import Exchange
from inference.raw import RawExchange
from inference.rows import Record, span_of
from inference.spans import Export
from inference.spool import Damage, Position, SpoolBusyError, SpoolReader
from inference.spool.files import replace as replace_file
from inference.spool.files import sync_directory

log = logging.getLogger("inference.drain")
BATCH = 500
STATUS = "status.json"
_RECORD = "batch.json"
_RESERVE = "reserve"
_RESERVE_BYTES = 1 << 20
_BATCH_BYTES = 16 << 20
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


class Quarantine:
    """Exchanges that could not be stored, one file each, and the spool's damage, a line each."""

    def __init__(self, spool: Path) -> None:
        self._folder = spool / "quarantine"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._damage = self._folder / "damage.jsonl"
        known = self._damage.read_bytes() if self._damage.exists() else b""
        whole = known[: known.rfind(b"\n") + 1]
        if whole != known:  # its drain died while it wrote the last line
            replace_file(self._damage, whole)
        self._seen = set(whole.splitlines())

    def keep(self, raw: RawExchange, reason: str) -> None:
        """Keep an exchange as it was spooled, durably. Keeping it twice keeps it once."""
        content = {
            "reason": reason,
            "exchange_id": raw.exchange_id,
            "attempt": raw.attempt,
            "opened": raw.opened,
            "closed": raw.closed,
            "request": base64.b64encode(raw.request).decode(),
            "response": base64.b64encode(raw.response).decode(),
        }
        replace_file(self._folder / f"{raw.exchange_id}-{raw.attempt}.json", orjson.dumps(content))
        log.error("quarantined exchange %s: %s", raw.exchange_id, reason)

    def erase(self, erased: Erased) -> int:
        """Delete what was erased at somebody's wish; returns how many exchanges that were."""
        kept_in = {path: _kept(path) for path in self._folder.glob("*.json")}
        raws = [raw for raw in kept_in.values() if raw is not None]
        left = {(raw.exchange_id, raw.attempt) for raw in erased.without(raws, "quarantine")}
        gone = [path for path, raw in kept_in.items() if raw and (raw.exchange_id, raw.attempt) not in left]
        for path in gone:
            path.unlink()
        if gone:
            sync_directory(self._folder)
        return len(gone)

    def note(self, damage: Sequence[Damage]) -> None:
        """Write down what of the spool could not be read; what is known already is not written twice."""
        new = not self._damage.exists()
        for one in damage:
            known = one.exchange_id.hex() if one.exchange_id else None
            line = orjson.dumps({**asdict(one), "exchange_id": known}, option=orjson.OPT_SORT_KEYS)
            if line in self._seen:
                continue
            self._seen.add(line)
            log.error("damage in the spool: %s", line.decode())
            with os.fdopen(
                os.open(self._damage, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb"
            ) as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                new = False
                sync_directory(self._folder)

    @property
    def exchanges(self) -> int:
        return sum(1 for path in self._folder.iterdir() if path.suffix == ".json")

    @property
    def damage(self) -> int:
        return len(self._seen)


def _kept(path: Path) -> RawExchange | None:
    """What ``Quarantine.keep`` wrote; None for another's file."""
    try:
        found = orjson.loads(path.read_bytes())
        return RawExchange(
            found["exchange_id"],
            found["attempt"],
            found["opened"],
            base64.b64decode(found["request"]),
            base64.b64decode(found["response"]),
            found["closed"],
        )
    except (OSError, ValueError, KeyError, TypeError):
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
    ) -> None:
        """Take the spool. Raises SpoolBusyError when another drain has it."""
        self._spool = spool
        self._reader = SpoolReader(spool)
        self._quarantine = Quarantine(spool)
        self._erased = Erased(connect)
        self._honoured: frozenset[str] = frozenset()
        self._masking = masking.load(spool)
        self._connect = connect
        self._batch = batch
        self._export = export
        self._newest = ""
        self._rate = report.Rate()
        self._stopping = threading.Event()
        self.status = replace(read_status(spool) or Status(), problem="")

    def run(self, interval_seconds: float) -> None:
        """Drain until ``stop``. Waits between batches so that small ones gather; not after a full one."""
        wait = 0.5
        while not self._stopping.is_set():
            try:
                full = self.step() >= self._batch
            except (Unavailable, DatabaseError, OSError) as error:
                self._say(problem=str(error))
                if isinstance(error, OSError):
                    (self._spool / _RESERVE).unlink(missing_ok=True)
                self._reader.rewind()
                self._stopping.wait(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            wait = 0.5
            if not full:
                self._stopping.wait(interval_seconds)

    def stop(self) -> None:
        """Make ``run`` return after the batch under way."""
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
        self._reader.close()

    def step(self) -> int:
        """Store one batch, and return how many exchanges it had. Raises Unavailable, and OSError when the
        spool's disk takes nothing; then ``rewind``.
        """
        recorded = self._recorded()
        found = self._reader.read(self._batch, recorded[1] if recorded else None, _BATCH_BYTES)
        if recorded and not found:  # it was committed just before its drain died
            recorded, found = None, self._reader.read(self._batch, None, _BATCH_BYTES)
        self._quarantine.note(self._reader.damage)
        self._reader.damage.clear()
        self._erase()
        if found:
            self._reader.settle()
            doubtful = recorded is not None or self._reader.doubtful
            name, end = recorded or self._record(found[-1][0])
            self._store([raw for _, raw in found], name, again=doubtful)
            self._reader.commit(end)
        self._reader.retire()
        (self._spool / _RECORD).unlink(missing_ok=True)
        self._reserve()
        self._say(stored=len(found))
        return len(found)

    def _recorded(self) -> tuple[str, Position] | None:
        """The batch that was under way when a drain ended, if one was."""
        try:
            found = orjson.loads((self._spool / _RECORD).read_bytes())
            return found["batch"], Position.parse(found["until"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            self._quarantine.note([Damage(_RECORD, 0, f"record of a batch: {error}")])
            self._reader.distrust()
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

    def _record(self, until: Position) -> tuple[str, Position]:
        name = str(uuid.uuid4())
        replace_file(self._spool / _RECORD, orjson.dumps({"batch": name, "until": str(until)}))
        return name, until

    def _erase(self) -> None:
        """Honour erasures in what is kept aside. A store that is away stops nothing that needs none."""
        try:
            asked = self._erased.erasures()
            if asked - self._honoured:
                self._quarantine.erase(self._erased)
                self._honoured = asked
        except (Unavailable, DatabaseError) as error:
            log.debug("erasures are not known: %s", error)

    def _store(self, raws: list[RawExchange], name: str, *, again: bool) -> None:
        parsed: list[tuple[RawExchange, Record]] = []
        for raw in self._erased.without(raws):
            try:
                if (record := records.parse(raw)) is not None:
                    parsed.append((raw, self._masking.record(raw, record)))
            except ValueError as error:
                self._quarantine.keep(raw, str(error))
            except Exception as error:  # a parser's mistake costs one exchange its row, not all of them
                log.exception("exchange %s can't be parsed", raw.exchange_id)
                self._quarantine.keep(raw, f"{type(error).__name__}: {error}")
        if not parsed:
            return
        found = self._erased.spans([record for _, record in parsed])
        try:
            storing.store(self._connect(), found, name, again=again)
            late.join(self._connect(), found, name)
        except RejectedError as error:
            log.warning("the trace store refuses a batch, storing its records one by one: %s", error)
            self._store_singly([(raw, record) for (raw, _), record in zip(parsed, found, strict=True)], name)
        exchanges = (raw.exchange_id for raw, record in reversed(parsed) if isinstance(record, Exchange))
        self._newest = next(exchanges, self._newest)
        if self._export is not None:
            spans = (span_of(record) for record in found if isinstance(record, Exchange))
            self._export.offer([span for span in spans if span is not None])

    def _store_singly(self, parsed: list[tuple[RawExchange, Record]], name: str) -> None:
        """Find what the store refuses: everything else is stored, that goes to quarantine."""
        for raw, record in parsed:
            try:
                single = f"{name}:{raw.exchange_id}:{raw.attempt}"
                storing.store(self._connect(), [record], single, again=True)
            except RejectedError as error:
                self._quarantine.keep(raw, str(error))

    def _say(self, *, stored: int = 0, problem: str = "") -> None:
        """Write the status file. It is news, not truth: a crash may cost its last line."""
        now = time.time()
        if problem and problem != self.status.problem:
            log.warning("waiting for the trace store: %s", problem)
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


def default_spool() -> Path:
    """FLYWHEEL_SPOOL, or spool/ under FLYWHEEL_HOME."""
    home = Path(os.environ.get("FLYWHEEL_HOME", "var"))
    return Path(os.environ.get("FLYWHEEL_SPOOL") or home / "spool").resolve()


def main(arguments: list[str] | None = None) -> int:
    """Drain until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m inference.drain", description="Spool → trace store.")
    parser.add_argument("--spool", type=Path, default=default_spool())
    parser.add_argument(
        "--interval", type=float, default=1.0, help="seconds between batches that are not full"
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="exchanges at most in a batch")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    endpoint = os.environ.get("FLYWHEEL_OTLP_ENDPOINT", "")
    try:
        drain = Drain(given.spool, batch=given.batch, export=Export.to(endpoint) if endpoint else None)
    except SpoolBusyError as error:
        print(f"drain: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: drain.stop())
    log.info("draining %s into %s", given.spool, clickhouse.url().rpartition("@")[2])
    # A batch is many objects and no cycles: looking for those would take a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    reporter = _reporter(drain)
    try:
        drain.run(given.interval)
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
