"""The engine's side of its spool: records of tokens, taken without ever waiting.

A record that finds the queue full, the disk full or the spool taken is dropped and counted: a token is never
late for the sake of capture. Long answers go in parts, so that neither the queue nor a request's memory grows
with them. Knows the spool and the record's form, and nothing of vLLM.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.engine import VERSION
from inference.engine.collector import Collector
from inference.engine.form import DROPPED, ID, KIND, Holds, block
from inference.engine.tag import Tag
from inference.spool import Keys, Recording, Spool, SpoolBusyError, SpoolFailedError
from inference.uuid7 import uuid7

log = logging.getLogger("vllm.flywheel")
_MOST_SPOOLS = 64


@dataclass(slots=True)
class _Record:
    """A record in the making; opened in the spool when its first bytes go there."""

    header: dict[str, Any]
    prompt_ids: bytes
    recording: Recording | None = None
    dropped: str = ""


class Recorder:
    """A process's records. ``start`` in the event loop; the rest from there too.

    ``folder`` is the spool's; a process that finds it taken (several front ends of one engine) takes the next
    of ``folder-2``, ``folder-3`` …, each of which wants a drain of its own. ``queue_bytes`` may wait in
    memory: enough for the ends of some thousand answers in one step. With ``keys`` the spool is encrypted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vllm: str,
        queue_bytes: int = 256 << 20,
        limit_bytes: int = 20 << 30,
        keys: Keys | None = None,
    ) -> None:
        self.folder = folder
        self.logprobs_mode = ""
        """The engine's, once it is known."""
        self.why_not = "it has not started"
        """Why no record can be taken now; empty when all is well."""
        self.records = self.tokens = 0
        self.refused = 0
        """Requests whose tag could not be followed; they went on without capture."""
        self.dropped: Counter[str] = Counter()
        """Records that were lost here, by why."""
        self._about = {"vllm": vllm, "plugin": VERSION}
        self._queue_bytes, self._limit_bytes, self._keys = queue_bytes, limit_bytes, keys
        self._spool: Spool | None = None

    def start(self) -> None:
        """Take a spool. What keeps it from that is said in ``why_not`` and the log; nothing is raised."""
        for number in range(1, _MOST_SPOOLS + 1):
            folder = self.folder if number == 1 else self.folder.with_name(f"{self.folder.name}-{number}")
            spool = Spool(
                folder, limit_bytes=self._limit_bytes, queue_bytes=self._queue_bytes, keys=self._keys
            )
            try:
                spool.start()
            except SpoolBusyError:
                continue
            except (OSError, RuntimeError) as error:
                self.why_not = f"the spool {folder} can't be opened: {error}"
                break
            self.folder, self._spool, self.why_not = folder, spool, ""
            log.info("flywheel capture: tokens of tagged requests go to %s", folder)
            return
        log.error("flywheel capture is off: %s", self.why_not)

    def stop(self) -> None:
        """Write what was taken. May be called when the event loop is gone."""
        if self._spool is not None:
            self._spool.halt()

    @property
    def problem(self) -> str:
        """Why records are dropped now; empty when all is well."""
        if self._spool is None:
            return self.why_not
        if self._spool.error:
            return f"the spool takes nothing: {self._spool.error}"
        return "the disk is slower than the tokens" if self._spool.is_full else ""

    @property
    def queued_bytes(self) -> int:
        return self._spool.queued_bytes if self._spool else 0

    @property
    def disk_bytes(self) -> int:
        return self._spool.disk_bytes() if self._spool else 0

    def collector(self, tag: Tag, choice: int, prompt_ids: list[int]) -> Collector:
        """For one choice of a tagged request. ``prompt_ids`` only with a prompt's first choice."""
        if self._spool is None and self.why_not == "it has not started":
            self.start()
        header = {
            "kind": KIND,
            "exchange_id": tag.exchange_id,
            "attempt": tag.attempt,
            "choice": choice,
            "started_us": tag.started_us,
            "source": tag.source,
            "weights": tag.weights,
            "tokenizer": tag.tokenizer,
            "logprobs_mode": self.logprobs_mode,
            "prompt_from": tag.prompt_from,
            "engine": self._about,
        }
        record = _Record(header, _prompt(prompt_ids))

        def write(body: bytes) -> None:
            if self._ready(record):
                assert record.recording is not None
                record.recording.write(body)

        def finish(body: bytes, reason: str, kept: int) -> None:
            self._close(record, body, reason, kept)

        return Collector(tag.top_k, tag.prompt_from, write, finish)

    def _ready(self, record: _Record) -> bool:
        """Whether bytes may be added to a record, which is opened for it; a dropped one stays dropped."""
        if record.dropped:
            return False
        if self._spool is None:
            record.dropped = "no_spool"
        elif self._spool.is_full:
            record.dropped = "slow_disk"
        elif self._spool.error:
            record.dropped = "disk"
        elif record.recording is None:
            record.recording = self._spool.record(uuid7())
            try:
                record.recording.open(record.header, record.prompt_ids)
            except SpoolFailedError:
                record.dropped = "disk"
        elif record.recording.lost:
            record.dropped = "disk"
        return not record.dropped

    def _close(self, record: _Record, body: bytes, reason: str, kept: int) -> None:
        if self._ready(record):
            assert record.recording is not None
            record.recording.write(body)
            closed = {"end_reason": "complete", "finish": reason, "kept": kept}
            record.recording.end(closed, self._count_loss)
            self.records += 1
            self.tokens += kept
            return
        self.dropped[record.dropped] += 1
        if record.recording is not None:
            # Ends it for the reader too, which would keep waiting for the rest.
            record.recording.end({"end_reason": DROPPED})

    def _count_loss(self) -> None:
        """In the spool's thread: a record was lost after it had been taken."""
        self.dropped["disk"] += 1


def _prompt(ids: list[int]) -> bytes:
    if not ids:
        return b""
    return block(Holds.PROMPT_IDS, len(ids), 1, np.asarray(ids, ID).tobytes(), b"")
