"""What of a spool could not be stored, kept beside it: exchanges, one file each, and damage, a line each."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from inference.erased import Erased
from inference.raw import RawExchange
from inference.spool import Damage
from inference.spool.files import replace as replace_file
from inference.spool.files import sync_directory

log = logging.getLogger("inference.drain")


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
