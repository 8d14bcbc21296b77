"""Lists of numbers that were read lately, up to a number of bytes."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_FACTS_BYTES = 24
"""Of a list's id, place and length."""


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
        self._facts = np.zeros((max(int(share * lists), 1), 3), np.int64)
        """Of the list that each place has: its id + 1, where it begins, its length."""
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
            bounds, values = self._read(ids[new], read)
            rest = np.full(len(ids), -1, np.int64)
            rest[new] = bounds[:-1]
            _take(values, rest, which, slots, found)
        return found

    def lists(self, ids: np.ndarray, read: Read) -> tuple[np.ndarray, np.ndarray]:
        """Return whole lists of distinct ids that ascend, as `read` does."""
        with self._lock:
            begins = _find(ids, self._facts, self._written, len(self._ring))
            known, new = np.flatnonzero(begins >= 0), np.flatnonzero(begins < 0)
            length = np.zeros(len(ids), np.int64)
            length[known] = self._facts[ids[known] % len(self._facts), 2]
            kept = offsets(length)
            held = np.empty(kept[-1], self._ring.dtype)
            _copy(self._ring, begins, kept, held)
        if not len(new):
            return kept, held
        bounds, values = self._read(ids[new], read)
        length[new] = np.diff(bounds)
        all_bounds = offsets(length)
        found = np.empty(all_bounds[-1], self._ring.dtype)
        for some, where, numbers in ((known, kept[known], held), (new, bounds, values)):
            starts = np.full(len(ids), -1, np.int64)
            starts[some] = where[: len(some)]
            _copy(numbers, starts, all_bounds, found)
        return all_bounds, found

    def _read(self, ids: np.ndarray, read: Read) -> tuple[np.ndarray, np.ndarray]:
        """Read lists, and keep them."""
        bounds, values = read(ids)
        with self._lock:
            facts = (self._facts, self._ring, self._written)
            self._written = _keep(ids, bounds, values, *facts)
        return bounds, values


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
def _copy(values: Any, begins: Any, bounds: Any, out: Any) -> None:
    """Write the lists that begin somewhere."""
    for i in range(len(begins)):
        if begins[i] >= 0:
            for j in range(bounds[i + 1] - bounds[i]):
                out[bounds[i] + j] = values[begins[i] + j]


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
        facts[place, 0], facts[place, 1], facts[place, 2] = ids[i] + 1, written, length
        written += length
    return written
