"""What of a spool could not be stored, kept beside it: exchanges, one file each, and damage, a line each.

    python -m inference.quarantine FILE …

prints such exchanges. Where the spool has a key, all but an exchange's id and attempt is encrypted under it,
the reason too, since it may quote a value. Damage names places and ids, and is written as it is.
"""

from __future__ import annotations

import argparse
import base64
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from inference.erased import Erased
from inference.raw import RawExchange
from inference.spool import Damage, KeyMissingError, Keys
from inference.spool.files import replace as replace_file
from inference.spool.files import sync_directory
from inference.spool.keys import unseal

log = logging.getLogger("inference.drain")


class Quarantine:
    """Exchanges that could not be stored, one file each, and the spool's damage, a line each."""

    def __init__(self, spool: Path, keys: Keys | None = None) -> None:
        self._keys = keys
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
        found: dict[str, Any] = {
            "reason": reason,
            "exchange_id": raw.exchange_id,
            "attempt": raw.attempt,
            "opened": raw.opened,
            "closed": raw.closed,
            "request": base64.b64encode(raw.request).decode(),
            "response": base64.b64encode(raw.response).decode(),
        }
        if self._keys is not None:
            found = _sealed(found, self._keys)
        replace_file(self._folder / f"{raw.exchange_id}-{raw.attempt}.json", orjson.dumps(found))
        log.error("quarantined exchange %s: %s", raw.exchange_id, reason)

    def erase(self, erased: Erased) -> int:
        """Delete what was erased at somebody's wish; returns how many exchanges that were. Raises
        KeyMissingError: what can't be read may be theirs.
        """
        kept_in = {path: _kept(path, self._keys) for path in self._folder.glob("*.json")}
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


def _sealed(found: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """What stands in a file in place of an exchange, where there is a key."""
    known = {name: found[name] for name in ("exchange_id", "attempt")}
    return {**known, "sealed": base64.b64encode(keys.seal(orjson.dumps(found), _about(known))).decode()}


def _about(known: dict[str, Any]) -> bytes:
    return f"quarantine {known['exchange_id']} {known['attempt']}".encode()


def content(path: Path, keys: Keys | None) -> Any:
    """What a file of the quarantine says. Raises KeyMissingError, OSError, and ValueError, KeyError or
    TypeError for what the quarantine did not write.
    """
    found = orjson.loads(path.read_bytes())
    if "sealed" not in found:
        return found
    try:
        return orjson.loads(unseal(keys, base64.b64decode(found["sealed"]), _about(found)))
    except KeyMissingError as error:
        raise KeyMissingError(error.key_id, str(path)) from error


def _kept(path: Path, keys: Keys | None) -> RawExchange | None:
    """What ``Quarantine.keep`` wrote; None for another's file."""
    try:
        found = content(path, keys)
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


def main(arguments: list[str] | None = None) -> int:
    """Command line. Exit 1, with one line, for what can't be read; 2 for want of a key, or for a bad one."""
    parser = argparse.ArgumentParser(
        prog="python -m inference.quarantine",
        description="Prints what a drain kept aside, a line of JSON each.",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    try:
        keys = Keys.from_environment()
    except ValueError as error:
        print(f"quarantine: {error}", file=sys.stderr)
        return 2
    for path in parser.parse_args(arguments).files:
        try:
            print(orjson.dumps(content(path, keys)).decode())
        except KeyMissingError as error:
            print(f"quarantine: {error}", file=sys.stderr)
            return 2
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"quarantine: {path}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
