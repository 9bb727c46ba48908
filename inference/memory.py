"""Memory that is free goes back to the system: for a process whose large pieces live for a moment only."""

import ctypes

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE, _KEPT = 256 << 10, 4 << 20


def give_back() -> None:
    """From now on pieces of 256 KiB and more are mapped one by one and unmapped when they are free, and at
    most 4 MiB stay at the heap's end. glibc would let both bounds grow with the first large piece that is
    freed, and keep the rest for good. Other C libraries have no such bounds: there nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
