"""Put edges into rows, and sort and merge the entries of each: compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit

_ROW_SHIFT = 32
_SHORT_ROW = 40
_DIGITS = 2.0**24  # up to where float32 has all whole numbers


@njit(cache=True, nogil=True)
def count_entries(
    source: Any, destination: Any, shift: int, both: bool, loops: bool, sizes: Any
) -> int:
    """Add each bucket's entries to ``sizes[(row >> shift) + 1]``; return the loops."""
    met = 0
    for i in range(len(source)):
        u, v = source[i], destination[i]
        if u == v:
            met += 1
        if loops or u != v:
            sizes[(v >> shift) + 1] += 1
        if both and u != v:
            sizes[(u >> shift) + 1] += 1
    return met


@njit(cache=True, nogil=True)
def place_entries(
    edges: Any, both: bool, loops: bool, ends: Any, entries: Any, values: Any
) -> None:
    """Put edges into their rows, in order; an edge's reverse is kept as ``~id``."""
    source, destination, weights = edges
    for i in range(len(source)):
        u, v = source[i], destination[i]
        if u == v and not loops:
            continue
        at = ends[v]
        ends[v] += 1
        entries[at] = u
        if len(weights):
            values[at] = weights[i]
        if both and u != v:
            at = ends[u]
            ends[u] += 1
            entries[at] = ~v
            if len(weights):
                values[at] = weights[i]


@njit(cache=True, nogil=True)
def sort_rows(indptr: Any, entries: Any, values: Any, add: bool, first: int) -> Any:
    """Sort rows by id, make one of equal entries, and close up the gaps.

    It has the first one's value, or where `add` is true their sum: of those of one
    direction, (u, v) with u < v before (v, u). `first` is the number of the first row.

    Returns how many entries that are kept were given in their own direction, and how
    many of these have sums that lost digits as float32.
    """
    widest = 0
    for row in range(len(indptr) - 1):
        widest = max(widest, indptr[row + 1] - indptr[row])
    keys = np.empty(widest, np.int64)
    firsts = np.empty(widest if len(values) else 0, values.dtype)
    end, given, begin, lost = 0, 0, 0, 0
    for row in range(len(indptr) - 1):
        length = indptr[row + 1] - begin
        for i in range(length):
            entry = entries[begin + i]
            column = np.int64(entry if entry >= 0 else ~entry)
            reverse = np.int64(entry < 0)
            keys[i] = (column << _ROW_SHIFT) | (np.int64(i) << 1) | reverse
            if len(values):
                firsts[i] = values[begin + i]
        _sort_keys(keys, length)
        begin = indptr[row + 1]
        indptr[row] = end
        at = 0
        while at < length:
            column = keys[at] >> _ROW_SHIFT
            entries[end] = column
            changed = 0
            if len(values) and add:
                turned = column > first + row
                total = _sum_of(keys, at, length, firsts, turned)
                values[end] = total
                if abs(total) >= _DIGITS and float(values[end]) != total:
                    changed = 1
            elif len(values):
                values[end] = firsts[(keys[at] & 0xFFFFFFFF) >> 1]
            own = 0
            while at < length and keys[at] >> _ROW_SHIFT == column:
                own |= 1 - (keys[at] & 1)
                at += 1
            given += own
            lost += own * changed
            end += 1
    indptr[len(indptr) - 1] = end
    return given, lost


@njit(cache=True, nogil=True)
def _sum_of(keys: Any, at: int, length: int, values: Any, turned: bool) -> Any:
    """Return the sum of the equal entries from `at` on that have one direction.

    It is that of the reverse ones if `turned` is true and there are any.
    """
    column = keys[at] >> _ROW_SHIFT
    own, other = 0.0, 0.0
    count = reverses = 0
    while at < length and keys[at] >> _ROW_SHIFT == column:
        value = float(values[(keys[at] & 0xFFFFFFFF) >> 1])
        if keys[at] & 1:
            other += value
            reverses += 1
        else:
            own += value
        count += 1
        at += 1
    return other if reverses == count or (turned and reverses > 0) else own


@njit(cache=True, nogil=True)
def _sort_keys(keys: Any, length: int) -> None:
    """Sort the first keys: most rows are short, and soon sorted by insertion."""
    if length > _SHORT_ROW:
        keys[:length].sort()
        return
    for i in range(1, length):
        key, at = keys[i], i
        while at > 0 and keys[at - 1] > key:
            keys[at] = keys[at - 1]
            at -= 1
        keys[at] = key
