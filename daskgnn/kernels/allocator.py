"""What the C library does with memory that a process has freed (glibc)."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENAS = -1, -4, -8


def keep_freed_memory() -> bool:
    """Have glibc keep what this process frees, for its next allocations.

    Dask's nanny asks for the opposite. Handing memory back and taking it again costs
    a page fault every 4 KiB: more than the arithmetic of a short step. Returns whether
    the C library could be told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # -1 is never: a window of a large graph ends above any other limit.
    options = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENAS, 1)
    told = [mallopt(*option) for option in options]
    return all(told)


def return_freed_memory() -> None:
    """Hand what is free now back to the system, as far as glibc can.

    Loading a part decodes and copies what no later step is as large as: kept, it would
    count as the worker's memory for ever.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
