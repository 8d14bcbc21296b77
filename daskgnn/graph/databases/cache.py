"""Rows of a database that were read lately, up to a number of bytes."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


class RowCache:
    """Keeps rows of equal length, each in the one place that its id has.

    A row that is read takes the place of the one that was there. Any thread may ask.
    Memory is taken when it is first used.
    """

    def __init__(self, nbytes: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        width = dtype.itemsize * int(np.prod(shape, dtype=int)) + 8
        self._places = max(nbytes // width, 1)
        self._ids = np.zeros(self._places, np.int64)
        """Of the row that each place has, the id + 1."""
        self._rows = np.empty((self._places, *shape), dtype)
        self._lock = Lock()

    def take(
        self, ids: np.ndarray, read: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return the rows of distinct ids; `read` is asked for those not kept.

        Examples
        --------
        >>> cache = RowCache(1 << 20, (2,), np.dtype(np.float32))
        >>> def read(ids):
        ...     print("read", ids)
        ...     return np.stack([ids, ids + 1], axis=1).astype(np.float32)
        >>> _ = cache.take(np.array([3, 5]), read)
        read [3 5]
        >>> cache.take(np.array([3, 4]), read)
        read [4]
        array([[3., 4.],
               [4., 5.]], dtype=float32)
        """
        places = ids % self._places
        found = np.empty((len(ids), *self._rows.shape[1:]), self._rows.dtype)
        with self._lock:
            kept = self._ids[places] == ids + 1
            found[kept] = self._rows[places[kept]]
        if kept.all():
            return found
        new = ~kept
        found[new] = read(ids[new])
        # Of rows for one place only the last is kept.
        last = len(ids) - 1 - np.unique(places[::-1], return_index=True)[1]
        last = last[new[last]]
        with self._lock:
            self._ids[places[last]] = ids[last] + 1
            self._rows[places[last]] = found[last]
        return found
