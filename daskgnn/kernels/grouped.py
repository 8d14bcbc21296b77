"""Rows reduced owner by owner: the kernels behind `aggregate_grouped`.

First all neighbours are lined up, row after row and by owner within a row, as
numbers of table rows; then they are read in that order, which lets the processor
fetch them ahead. Shapes: r rows (destinations), E edges, F channels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from daskgnn.kernels.prefetch import AHEAD, prefetch_row

Array = np.ndarray

_SHORT = 48


@njit(cache=True, nogil=True)
def _stable_order(parts: Array, size: int, order: Array, counts: Array) -> None:
    """Sort 0 .. size - 1 by ``parts``, stably, into `order`."""
    if size <= _SHORT:
        for k in range(size):
            key, at = parts[k], k
            while at > 0 and parts[order[at - 1]] > key:
                order[at] = order[at - 1]
                at -= 1
            order[at] = k
        return
    counts[:] = 0
    for k in range(size):
        counts[parts[k] + 1] += 1
    for part in range(1, len(counts)):
        counts[part] += counts[part - 1]
    for k in range(size):
        order[counts[parts[k]]] = k
        counts[parts[k]] += 1


@njit(cache=True, nogil=True)
def line_up(
    starts: Array,
    ends: Array,
    indices: Array,
    owner: Array,
    row: Array,
    weight: Array,
    parts: Array,
    picks: Array,
    factors: Array,
) -> None:
    """Fill `parts`, `picks` and `factors` with all rows' neighbours, by owner.

    These are the owners, the table rows and the weights, row after row.
    """
    weighted = len(weight) > 0
    longest = num_parts = 0
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    for j in range(len(owner)):
        num_parts = max(num_parts, owner[j] + 1)
    before, order = np.empty(longest, np.int32), np.empty(longest, np.int64)
    counts = np.empty(num_parts + 1, np.int64)
    base = 0
    for i in range(len(starts)):
        start, size = starts[i], ends[i] - starts[i]
        mixed = False
        for k in range(size):
            before[k] = owner[indices[start + k]]
            order[k] = k
            mixed |= before[k] != before[0]
        if mixed:
            _stable_order(before, size, order, counts)
        for k in range(size):
            position = start + order[k]
            parts[base + k] = before[order[k]]
            picks[base + k] = row[indices[position]]
            factors[base + k] = weight[position] if weighted else np.float32(1)
        base += size


@njit(cache=True, nogil=True, inline="always")
def _sum_group(
    out: Array,
    i: int,
    table: Array,
    picks: Array,
    factors: Array,
    first: int,
    last: int,
) -> None:
    """Write to ``out[i]`` the weighted sum of the rows ``picks[first:last]``.

    Two rows are read at a time, for the memory's sake; they are added one by one.
    """
    channels = out.shape[1]
    a, wa = picks[first], factors[first]
    for f in range(channels):
        out[i, f] = wa * table[a, f]
    k = first + 1
    while k + 1 < last:
        a, wa = picks[k], factors[k]
        b, wb = picks[k + 1], factors[k + 1]
        for f in range(channels):
            out[i, f] = (out[i, f] + wa * table[a, f]) + wb * table[b, f]
        k += 2
    if k < last:
        a, wa = picks[k], factors[k]
        for f in range(channels):
            out[i, f] += wa * table[a, f]


@njit(cache=True, nogil=True, inline="always")
def _max_group(
    out: Array, i: int, table: Array, picks: Array, first: int, last: int
) -> None:
    """Write to ``out[i]`` the channel-wise maximum of ``picks[first:last]``."""
    a = picks[first]
    for f in range(out.shape[1]):
        out[i, f] = table[a, f]
    for k in range(first + 1, last):
        a = picks[k]
        for f in range(out.shape[1]):
            value = table[a, f]
            out[i, f] = value if value > out[i, f] else out[i, f]


@njit(cache=True, nogil=True, inline="always")
def _reduce_group(
    out: Array,
    i: int,
    table: Array,
    picks: Array,
    factors: Array,
    first: int,
    last: int,
    maximum: bool,
) -> None:
    """Write to ``out[i]`` one owner's group, reduced."""
    if maximum:
        _max_group(out, i, table, picks, first, last)
    else:
        _sum_group(out, i, table, picks, factors, first, last)


@njit(cache=True, nogil=True, inline="always")
def _add_group(out: Array, i: int, group: Array, maximum: bool) -> None:
    """Combine a later group's result ``group[0]`` with what ``out[i]`` holds."""
    if maximum:
        for f in range(out.shape[1]):
            value = group[0, f]
            out[i, f] = value if value > out[i, f] else out[i, f]
    else:
        for f in range(out.shape[1]):
            out[i, f] += group[0, f]


@njit(cache=True, nogil=True, inline="always")
def _prefetch(is_local: bool, local: Array, received: Array, row: int) -> None:
    """Prefetch a row of one of the two tables."""
    if is_local:
        prefetch_row(local, row)
    else:
        prefetch_row(received, row)


@njit(cache=True, nogil=True, inline="always")
def _end_of_group(parts: Array, first: int, stop: int) -> int:
    """Return where the run of equal `parts` that begins at `first` ends."""
    last = first + 1
    while last < stop and parts[last] == parts[first]:
        last += 1
    return last


@njit(cache=True, nogil=True)
def reduce_grouped(
    starts: Array,
    ends: Array,
    parts: Array,
    picks: Array,
    factors: Array,
    local_owner: int,
    local: Array,
    received: Array,
    maximum: bool,
    mean: bool,
    out: Array,
) -> None:
    """Write to `out` [r, F] each row's groups, reduced and combined in part order.

    `parts`, `picks` and `factors` are those of `line_up`.
    """
    group = np.empty((1, out.shape[1]), np.float32)
    stop = 0
    for i in range(len(starts)):
        begin, stop = stop, stop + ends[i] - starts[i]
        for k in range(begin + AHEAD, min(stop + AHEAD, len(picks))):
            _prefetch(parts[k] == local_owner, local, received, picks[k])
        if begin == stop:
            out[i, :] = 0
            continue
        first = begin
        while first < stop:
            last = _end_of_group(parts, first, stop)
            to, at = (out, i) if first == begin else (group, 0)
            if parts[first] == local_owner:
                _reduce_group(to, at, local, picks, factors, first, last, maximum)
            else:
                _reduce_group(to, at, received, picks, factors, first, last, maximum)
            if first > begin:
                _add_group(out, i, group, maximum)
            first = last
        if mean:
            count = np.float32(stop - begin)
            for f in range(out.shape[1]):
                out[i, f] /= count
