"""Sets of node ids as bits, and the rank of each id in its set.

A bit a node stays in the processor's cache where a table of positions would not, and
an id's row among sorted ids is the number of bits before its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.jit import njit

Array = np.ndarray


def _count_bits(_typing: Any, word: Any) -> Any:
    """Return how many bits of a word are set."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


count_bits: Any = intrinsic(_count_bits)


@njit(cache=True, nogil=True)
def _set_bits(words: Array, ids: Array, first: int, last: int, value: bool) -> None:
    """Set (or clear) the bits of the ids that lie in [first, last)."""
    size = np.uint64(last - first)  # what is below the range wraps around, above it
    for i in range(len(ids)):
        place = np.uint64(np.int64(ids[i]) - first)
        if place < size:
            bit = np.uint64(1) << (place & np.uint64(63))
            if value:
                words[place >> np.uint64(6)] |= bit
            else:
                words[place >> np.uint64(6)] &= ~bit


@njit(cache=True, nogil=True)
def _count_before(words: Array, before: Array) -> Any:
    """Fill `before` with the number of bits in the words before each; return all."""
    total = np.int64(0)
    for w in range(len(words)):
        before[w] = total
        total += np.int64(count_bits(words[w]))
    return total


@njit(cache=True, nogil=True)
def _members(words: Array, first: int, out: Array) -> None:
    """Write to `out` the ids whose bits are set, ascending."""
    count = 0
    for w in range(len(words)):
        word = words[w]
        while word:
            low = word & (~word + np.uint64(1))
            place = np.int64(count_bits(low - np.uint64(1)))
            out[count] = first + 64 * w + place
            count += 1
            word ^= low


@njit(cache=True, nogil=True)
def _flags(words: Array, ids: Array, first: int, out: Array) -> None:
    """Write to `out` which ids' bits are set."""
    for i in range(len(ids)):
        place = np.int64(ids[i]) - first
        out[i] = (words[place >> 6] >> np.uint64(place & 63)) & np.uint64(1)


@njit(cache=True, nogil=True, inline="always")
def rank_of(words: Array, before: Array, place: Any) -> Any:
    """Return how many ids of the set are below ``first + place``, -1 if it is none."""
    word = words[place >> 6]
    shift = np.uint64(place & 63)
    if not (word >> shift) & np.uint64(1):
        return -1
    below = word & ((np.uint64(1) << shift) - np.uint64(1))
    return before[place >> 6] + np.int64(count_bits(below))


class IdSet(NamedTuple):
    """Some of the node ids in [first, last).

    Made by `of`; the arrays are those that `rank_of` takes.
    """

    first: int
    last: int
    words: np.ndarray
    """uint64 [(last - first) / 64], one bit a node."""
    before: np.ndarray
    """int64, ids in the words before each word."""
    size: int

    @classmethod
    def of(
        cls,
        ids: list[np.ndarray],
        first: int,
        last: int,
        without: list[np.ndarray] | None = None,
    ) -> IdSet:
        """Return the set of those of some arrays' ids that lie in [first, last).

        The ids in the arrays `without` are left out.
        """
        words = np.zeros((last - first + 63) // 64, np.uint64)
        for array in ids:
            _set_bits(words, frozen(array), first, last, True)
        for array in without or ():
            _set_bits(words, frozen(array), first, last, False)
        before = np.empty(len(words), np.int64)
        size = int(_count_before(words, before))
        return cls(first, last, frozen(words), frozen(before), size)

    def flags(self, ids: np.ndarray) -> np.ndarray:
        """Return which of the ids, all in [first, last), are in the set: bool."""
        out = np.empty(len(ids), np.bool_)
        _flags(self.words, frozen(ids), self.first, out)
        return out

    def members(self, dtype: Any) -> np.ndarray:
        """Return the ids, ascending, as an array of `dtype`."""
        out = np.empty(self.size, dtype)
        _members(self.words, self.first, out)
        return out
