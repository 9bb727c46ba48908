"""Batches of a spool on their way into the trace store, and the record of them beside the spool.

The record names each batch before anything of it is sent, and says where it ends: a drain that follows cuts
the same batches again at these places, and goes on under the same names. Knows that file; what is done with
a batch is inference.drain's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import orjson

from inference.ahead import Ahead, Made
from inference.spool import Position
from inference.spool.files import replace

RECORD = "batch.json"


@dataclass(slots=True, eq=False)
class Batch:
    """What is stored together."""

    ahead: Ahead
    end: Position
    full: bool
    """Whether more may be waiting behind it."""
    name: str = ""
    """Empty until it is recorded."""
    again: bool = False
    """Whether an earlier drain recorded it, or may have stored some of it."""
    by_rows: bool = False
    """Whether it can't go as it was made ready; all after it waits."""
    made: Made | None = None
    sent: Future[bool] | None = None
    """Whether all of it could be read back."""


class BatchRecord:
    """The file. When it is written and when it is cleared is its caller's matter."""

    def __init__(self, spool: Path) -> None:
        self.path = spool / RECORD

    def load(self) -> list[tuple[str, Position]]:
        """Name and end of each batch, in the spool's order; of some all may be stored. Raises ValueError."""
        try:
            found = orjson.loads(self.path.read_bytes())
            return [(one["batch"], Position.parse(one["until"])) for one in found["batches"]]
        except FileNotFoundError:
            return []
        except (KeyError, TypeError) as error:
            raise ValueError(f"record of batches: {error!r}") from error

    def write(self, batches: Sequence[Batch]) -> None:
        """Durably. Raises OSError."""
        lines = [{"batch": one.name, "until": str(one.end)} for one in batches]
        replace(self.path, orjson.dumps({"batches": lines}))

    def clear(self) -> None:
        """Nothing is on its way."""
        self.path.unlink(missing_ok=True)
