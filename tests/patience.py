"""Writing while a live server reads: threads share a SQLite database in memory, which waits for nobody."""

import contextlib
import time
from collections.abc import Callable

from django.core.management.base import CommandError
from django.db import OperationalError

_TRIES = 500


def patiently(work: Callable[[], object]) -> None:
    """Do it again while tables are locked; what was written before is written again."""
    for _ in range(_TRIES):
        with contextlib.suppress(OperationalError, CommandError):  # the second is how a flush puts it
            work()
            return
        time.sleep(0.01)
    work()
