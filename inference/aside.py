"""What of a spool was kept aside expires, too: by its route, as retention last announced it.

A record that can't be stored is in no table that retention reaches, so its drain deletes it once its route
keeps no texts from that time any more (``inference.retention.kept_from``). A record of no route that is
known there (feedback, spans, a refused call) goes when the one that keeps texts longest lets go; where one
keeps them for ever, it stays. Without an announcement nothing goes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from inference import retention
from inference.clickhouse import Store
from inference.quarantine import content
from inference.routing import VERSION_PREFIX
from inference.spool import Keys
from inference.spool.files import sync_directory
from inference.stored import microseconds

log = logging.getLogger("inference.drain")
LOOK_SECONDS = 600.0
"""Between two looks: days are what counts."""


class Aside:
    """The quarantine of a spool, as far as it expires. Times are by ``clock``, in seconds."""

    def __init__(
        self,
        spool: Path,
        connect: Callable[[], Store],
        clock: Callable[[], float] = time.monotonic,
        keys: Keys | None = None,
    ) -> None:
        self._folder = spool / "quarantine"
        self._connect = connect
        self._clock = clock
        self._keys = keys
        self._looked_at: float | None = None

    def expire(self) -> int:
        """Delete what is due, at most every LOOK_SECONDS; returns how many. Raises Unavailable, and
        KeyMissingError: what can't be read may be due.
        """
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return 0
        files = list(self._folder.glob("*.json"))
        kept = retention.kept_from(self._connect()) if files else {}
        gone = [path for path in files if kept and _due(path, kept, self._keys)]
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            sync_directory(self._folder)
            log.info("%d records kept aside were not to be kept any longer", len(gone))
        self._looked_at = now
        return len(gone)


def _due(path: Path, kept: Mapping[str, datetime], keys: Keys | None) -> bool:
    """Whether a file of the quarantine is due. What is no record stays for somebody to look at."""
    try:
        opened = content(path, keys)["opened"]
        route, began = str(opened.get("route", "")), opened.get("started_us", opened.get("at_us"))
        # A header that does not say when is of no later than when it was put here.
        at_us = began if isinstance(began, int) else path.stat().st_mtime_ns // 1000
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    name = VERSION_PREFIX if route.startswith(VERSION_PREFIX) else route
    return at_us < microseconds(kept.get(name, min(kept.values())))
