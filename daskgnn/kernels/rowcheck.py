"""A checksum of rows of numbers that says whose each row is, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.counter import combine
from daskgnn.kernels.jit import njit

_PRIME = np.uint64(0x100000001B3)
_S32 = np.uint64(32)


def row_checks(ids: np.ndarray, bounds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a checksum of each row, int64 [m]: any changed number changes it.

    Parameters
    ----------
    ids : int64 [m]
        Whose rows they are.
    bounds : int64 [m + 1]
        Where each row begins in `values`, and the end.
    values : [k] or [k, F]
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    size = min(flat.itemsize, 4)
    words = flat.view(f"u{size}")
    each = flat.itemsize // size * int(np.prod(values.shape[1:], dtype=int))
    found: np.ndarray = _checks(
        frozen(np.asarray(ids, np.int64)), frozen(bounds * each), frozen(words)
    )
    return found


@njit(cache=True, nogil=True)
def _checks(ids: Any, bounds: Any, words: Any) -> Any:
    found = np.empty(len(ids), np.int64)
    for i in range(len(ids)):
        state = combine(np.uint64(ids[i]), np.uint64(bounds[i + 1] - bounds[i]))
        for j in range(bounds[i], bounds[i + 1]):
            state = (state ^ np.uint64(words[j])) * _PRIME
            state ^= state >> _S32
        found[i] = np.int64(state)
    return found
