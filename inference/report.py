"""Is anything lost: what a drain tells web of its spool, and a proxy of what it served without keeping.

    from a drain   POST /internal/spool every few seconds, one JSON object
    from a proxy   with each question for the routing snapshot

Both name the spool. Moments travel as ages in seconds, so that two clocks need not agree. A drain never waits
for web: a thread of its own reports, with a short patience, and what does not arrive is said anew. What web
keeps of it is inference.models.Spool.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)
SECONDS = 5.0
"""Between two reports."""
RATE_SECONDS = 60.0
_PATIENCE_SECONDS = 3.0
_MOST_NAME = 200


def spool_name(directory: Path) -> str:
    """What a spool is called by its proxy and its drain alike: FLYWHEEL_SPOOL_NAME, or host:folder."""
    return (os.environ.get("FLYWHEEL_SPOOL_NAME") or f"{socket.gethostname()}:{directory.resolve()}")[
        :_MOST_NAME
    ]


@dataclass(frozen=True, slots=True)
class Report:
    """How a spool's drain stands. Ages are seconds before it was sent; None: never, or nothing."""

    name: str
    worked_age: float = 0.0
    """Since the drain last came round: large while it hangs, though its reports still come."""
    stored_age: float | None = None
    unstored_age: float | None = None
    newest: str = ""
    """Id of the newest exchange that was stored."""
    stored: int = 0
    rate: float = 0.0
    """Records a second over the last minute."""
    kept_aside: int = 0
    damaged: int = 0
    disk_bytes: int = 0
    problem: str = ""
    stopped: bool = False

    @classmethod
    def parse(cls, content: bytes) -> Report:
        """Read what was sent. Raises ValueError: not one of these."""
        said = orjson.loads(content)
        if not isinstance(said, dict) or "name" not in said:
            raise ValueError("a report is an object that names its spool")
        report = cls(**{field.name: said[field.name] for field in fields(cls) if field.name in said})
        report._check()
        return report

    def _check(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = _KINDS[field.name]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise ValueError(f"{field.name} is {type(value).__name__}")
            if isinstance(value, float | int) and not 0 <= value < 1e15:
                raise ValueError(f"{field.name} is out of range")
        if "\0" in self.name + self.problem:
            raise ValueError("a text has no NUL")  # PostgreSQL takes none
        if not 0 < len(self.name) <= _MOST_NAME:
            raise ValueError("a spool has a name")


_NUMBER: tuple[type, ...] = (float, int)
_AGE = (*_NUMBER, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "newest", "problem"), (str,)),
    **dict.fromkeys(("stored_age", "unstored_age"), _AGE),
    **dict.fromkeys(("worked_age", "rate"), _NUMBER),
    **dict.fromkeys(("stored", "kept_aside", "damaged", "disk_bytes"), (int,)),
    "stopped": (bool,),
}


class Rate:
    """How fast a count grows, from what it was up to a minute ago."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, count: int) -> float:
        """Note the count of now (seconds of a steady clock) and return its growth a second."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return max(count - before, 0) / (now - then) if now > then else 0.0


def segment_bytes(directory: Path) -> int:
    """Bytes of a spool's segments; 0 while it does not exist."""
    try:
        with os.scandir(directory) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.endswith(".segment"))
    except OSError:  # a segment was retired meanwhile, or there is no spool yet
        return 0


class Reporter(threading.Thread):
    """Sends what ``say`` gives, every few seconds and once more at the end."""

    def __init__(self, say: Callable[[bool], Report], web_url: str, token: str) -> None:
        super().__init__(name="reporter", daemon=True)
        self._say, self._token = say, token
        self._url = f"{web_url.rstrip('/')}/internal/spool"
        self._ended = threading.Event()
        self._heard = True

    def run(self) -> None:
        while not self._ended.wait(SECONDS):
            self.send(stopped=False)

    def stop(self) -> None:
        """Say that the drain ends by itself. Waits for web no longer than one report may take."""
        self._ended.set()
        self.join(_PATIENCE_SECONDS)
        self.send(stopped=True)

    def send(self, *, stopped: bool) -> None:
        """One report; web that is away is no trouble of the drain's."""
        try:
            self._post(asdict(self._say(stopped)))
        except (OSError, ValueError) as error:
            log.log(logging.WARNING if self._heard else logging.DEBUG, "web hears no reports: %s", error)
            self._heard = False
        except Exception:  # what is said wrongly must not end the thread that says it
            log.exception("no report could be made")
        else:
            self._heard = True

    def _post(self, body: dict[str, Any]) -> None:
        if not self._url.startswith(("http://", "https://")):
            raise ValueError(f"{self._url} is no address of HTTP")
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        asked = urllib.request.Request(self._url, orjson.dumps(body), headers)  # noqa: S310 - checked above
        with urllib.request.urlopen(asked, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310 - checked above
            answer.read(1000)


def age(moment: float | None, now: float | None = None) -> float | None:
    """Seconds since a moment of this machine's clock (unix seconds); a moment to come is now."""
    return None if moment is None else max((time.time() if now is None else now) - moment, 0.0)
