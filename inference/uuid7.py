"""UUIDv7 (RFC 9562, section 5.7) that never steps back within a process; Python 3.11 has none of its own.

Sorting by the id's bytes is sorting by time of making, also when the clock is set back: the generator then
stays at the latest millisecond it used and counts on.
"""

import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

_COUNTER_BITS = 42
"""Of the 74 free bits the upper 42 count within a millisecond; the lower 32 stay random."""


class Generator:
    """Makes ids; safe to call from several threads. ``clock`` gives milliseconds since 1970."""

    def __init__(self, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0

    def __call__(self) -> UUID:
        """The next id, greater than every one before."""
        noise = int.from_bytes(os.urandom(9))
        with self._lock:
            now = self._clock()
            if now > self._millisecond:
                # Half the counter's range stays free for what else this millisecond brings.
                self._millisecond, self._counter = now, noise >> (72 - _COUNTER_BITS + 1)
            else:
                self._counter += 1
                if self._counter >> _COUNTER_BITS:
                    self._millisecond, self._counter = self._millisecond + 1, 0
            millisecond, counter = self._millisecond, self._counter
        free = counter << 32 | noise & 0xFFFF_FFFF
        return UUID(int=millisecond << 80 | 0x7 << 76 | free >> 62 << 64 | 0b10 << 62 | free & (1 << 62) - 1)


uuid7 = Generator()


def milliseconds(made: UUID) -> int:
    """When an id was made, in milliseconds since 1970."""
    return made.int >> 80
