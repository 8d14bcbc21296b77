"""Lists of numbers that were read lately, up to a number of bytes."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_FACTS_BYTES = 16
"""Of a list's id and place."""


def list_bytes(lists: int, numbers: int, dtype: np.dtype) -> int:
    """Return the bytes in which so many lists of so many numbers are kept."""
    return lists * _FACTS_BYTES + numbers * dtype.itemsize


class ListCache:
    """Keeps the lists of ids, in a ring: the newest takes the place of the oldest.

    Any thread may ask. Memory is taken when it is first used.

    Parameters
    ----------
    nbytes
        The most that is kept.
    lists, numbers
        How many there are in all.
    """

    def __init__(self, nbytes: int, lists: int, numbers: int, dtype: np.dtype) -> None:
        share = min(nbytes / list_bytes(lists, numbers, dtype), 1.0) if lists else 0
        self._facts = np.zeros((max(int(share * lists), 1), 2), np.int64)
        """Of the list that each place has: its id + 1, and where it begins."""
        self._ring = np.empty(max(int(share * numbers), 1), dtype)
        self._written = 0
        """Numbers that were ever written: the last of them are in the ring."""
        self._lock = Lock()

    def entries(
        self, ids: np.ndarray, which: np.ndarray, slots: np.ndarray, read: Read
    ) -> np.ndarray:
        """Return single numbers of lists; `read` is asked for those not kept.

        Parameters
        ----------
        ids
            int64 [k], distinct, ascending.
        which, slots
            int64 [m], of each number: its list's place in `ids`, its own in the list.
        read
            (ids) -> where each list begins, int64 [k + 1], and the numbers.

        Examples
        --------
        >>> cache = ListCache(1 << 20, 10, 30, np.dtype(np.int32))
        >>> def read(ids):
        ...     print("read", ids)
        ...     return 2 * np.arange(len(ids) + 1), np.repeat(ids, 2).astype(np.int32)
        >>> zeros = np.zeros(2, np.int64)
        >>> _ = cache.entries(np.array([3, 5]), np.arange(2), zeros, read)
        read [3 5]
        >>> cache.entries(np.array([4, 5]), np.arange(2), zeros, read)
        read [4]
        array([4, 5], dtype=int32)
        """
        found = np.empty(len(which), self._ring.dtype)
        with self._lock:
            begins = _find(ids, self._facts, self._written, len(self._ring))
            _take(self._ring, begins, which, slots, found)
        new = np.flatnonzero(begins < 0)
        if len(new):
            bounds, values = read(ids[new])
            rest = np.full(len(ids), -1, np.int64)
            rest[new] = bounds[:-1]
            _take(values, rest, which, slots, found)
            with self._lock:
                given = (ids[new], bounds, values)
                self._written = _keep(*given, self._facts, self._ring, self._written)
        return found


@njit(cache=True, nogil=True)
def _find(ids: Any, facts: Any, written: int, size: int) -> Any:
    """Return where the list of each id begins in the ring, -1 where it is not kept."""
    found = np.empty(len(ids), np.int64)
    for i in range(len(ids)):
        place = ids[i] % len(facts)
        kept = facts[place, 0] == ids[i] + 1 and facts[place, 1] >= written - size
        found[i] = facts[place, 1] % size if kept else -1
    return found


@njit(cache=True, nogil=True)
def _take(values: Any, begins: Any, which: Any, slots: Any, out: Any) -> None:
    """Write the numbers of the lists that begin somewhere."""
    for i in range(len(which)):
        if begins[which[i]] >= 0:
            out[i] = values[begins[which[i]] + slots[i]]


@njit(cache=True, nogil=True)
def _keep(
    ids: Any, bounds: Any, values: Any, facts: Any, ring: Any, written: int
) -> int:
    """Write lists into the ring, none over its end; return what was written ever."""
    size = len(ring)
    for i in range(len(ids)):
        length = bounds[i + 1] - bounds[i]
        if length > size:
            continue
        if written % size + length > size:
            written += size - written % size
        begin = written % size
        for j in range(length):
            ring[begin + j] = values[bounds[i] + j]
        place = ids[i] % len(facts)
        facts[place, 0], facts[place, 1] = ids[i] + 1, written
        written += length
    return written
