"""Read rows of fixed length from an open file into an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from daskgnn.kernels.jit import njit

_pread: Any = types.ExternalFunction(
    "pread", types.intp(types.int32, types.intp, types.uintp, types.int64)
)
_advise: Any = types.ExternalFunction(
    "posix_fadvise", types.int32(types.int32, types.int64, types.int64, types.int32)
)
_WILL_NEED = 3
_PAGE = 12


@njit(cache=True, nogil=True)
def _expect(file: int, offsets: Any, width: int) -> None:
    """Tell the system of all pages to come, so that a disk reads them side by side."""
    last = -1
    for offset in offsets:
        first, end = offset >> _PAGE, (offset + width - 1) >> _PAGE
        if first != last:
            size = (end - first + 1) << _PAGE
            _advise(file, first << _PAGE, size, _WILL_NEED)
        last = end


@njit(cache=True, nogil=True)
def _read(file: int, offsets: Any, width: int, address: int) -> int:
    at, count = 0, len(offsets)
    while at < count:
        run = 1
        while at + run < count and offsets[at + run] == offsets[at] + run * width:
            run += 1
        done = 0
        while done < run * width:
            place = address + at * width + done
            got = _pread(file, place, np.uintp(run * width - done), offsets[at] + done)
            if got <= 0:
                return at
            done += got
        at += run
    return -1


def read_rows(file: int, offsets: np.ndarray, out: np.ndarray) -> int:
    """Read the rows of an open file at int64 byte `offsets` [n] into `out` [n, F].

    Rows that follow each other in the file and in `out` are read at once. Nothing is
    mapped, so pages of the file are never counted as memory of the process.

    Returns
    -------
    int
        -1, or the first row that could not be read.
    """
    if not out.flags.c_contiguous:
        raise ValueError("rows are read to an array in one piece only")
    width = out.shape[1] * out.itemsize
    offsets = np.ascontiguousarray(offsets, np.int64)
    _expect(file, offsets, width)
    return int(_read(file, offsets, width, out.ctypes.data))
