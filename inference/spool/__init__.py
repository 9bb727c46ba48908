"""The spool: exchanges on local disk, durable before their answers end, until the drain has stored them.

A log of checksummed frames (frames.py) in segments. Each start of a proxy is a new epoch with segments of
its own; one proxy writes to a spool (writer.py, with recording.py in its event loop and tail.py on its disk)
and one drain reads it (reader.py). Where an operator gives keys it is encrypted (keys.py). Files only: knows
nothing of what the bytes mean.
"""

from inference.spool.files import SpoolBusyError, SpoolFailedError
from inference.spool.frames import Damage, Position
from inference.spool.keys import KeyMissingError, Keys
from inference.spool.reader import SpoolReader
from inference.spool.recording import Recording
from inference.spool.writer import Spool

__all__ = [
    "Damage",
    "KeyMissingError",
    "Keys",
    "Position",
    "Recording",
    "Spool",
    "SpoolBusyError",
    "SpoolFailedError",
    "SpoolReader",
]
