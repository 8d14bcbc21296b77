"""Neighbour sampling on CSR rows, with counter-based nested draws.

The sample of a node for fan-out *k* is the first *k* of its draw order, and the
draw order is a function of ``(key of the step, original id)``: partial
Fisher-Yates without weights, bottom-*k* exponential keys with weights
(Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from daskgnn.kernels.counter import GOLDEN, below, combine, draw, uniform

ALL = np.int64(2**62)
"""A fan-out that no row reaches: every neighbour."""


@dataclass(frozen=True)
class FanOut:
    """The fan-outs of a run, hop 1 first; -1 takes every neighbour."""

    num_neighbors: tuple[int, ...]

    @property
    def limits(self) -> tuple[int, ...]:
        """The fan-outs, with ALL for -1."""
        return tuple(int(ALL) if k < 0 else k for k in self.num_neighbors)

    @property
    def num_hops(self) -> int:
        """Number of hops, which is the number of layers."""
        return len(self.num_neighbors)

    def width(self, hop: int) -> int:
        """Return how many draws of a node first met at `hop` are ever used."""
        return max(self.limits[hop:])

    @property
    def drawn(self) -> int:
        """Draws beyond this one are never told apart from the rest of the row."""
        return max((k for k in self.num_neighbors if k >= 0), default=0)

    @property
    def whole(self) -> int:
        """Rows of at most this degree are taken whole by every layer."""
        return min(self.limits)


@njit(cache=True, nogil=True)
def sample_rows(
    indptr: Any,
    rows: Any,
    row_keys: Any,
    width: Any,
    whole: Any,
    drawn: Any,
    counts: Any,
    offsets: Any,
    slots: Any,
) -> Any:
    """Write the first `width` slots of each row's draw order into `slots`.

    Parameters
    ----------
    indptr : int64 [n + 1]
    rows : int64 [m]
        Row numbers in `indptr`.
    row_keys : uint64 [m]
        Key of each row's draws.
    width, whole, drawn : int
        See `FanOut`.
    counts : int64 [m]
        How many slots each row gets: ``min(degree, width)``.
    offsets : int64 [m]
        Where each row's slots begin in `slots`.
    slots : int64 [sum(counts)]
        Output: positions in the graph's `indices`.
    """
    largest = np.int64(0)
    for i in range(len(rows)):
        degree = indptr[rows[i] + 1] - indptr[rows[i]]
        if degree > whole and degree > largest:
            largest = degree
    # The identity, kept so from row to row by undoing the swaps.
    order = np.arange(largest)
    swapped = np.empty(min(np.int64(drawn), largest), np.int64)
    for i in range(len(rows)):
        first = indptr[rows[i]]
        degree = indptr[rows[i] + 1] - first
        count = counts[i]
        base = offsets[i]
        if degree <= whole:
            for j in range(count):
                slots[base + j] = first + j
            continue
        key = row_keys[i]
        num_drawn = min(np.int64(drawn), degree)
        if count < num_drawn:
            num_drawn = count
        for j in range(num_drawn):
            other = j + below(draw(key, j), degree - j)
            swapped[j] = other
            order[j], order[other] = order[other], order[j]
        for j in range(count):
            slots[base + j] = first + order[j]
        for j in range(num_drawn - 1, -1, -1):
            other = swapped[j]
            order[j], order[other] = order[other], order[j]


@njit(cache=True, nogil=True)
def sample_rows_weighted(
    indptr: Any,
    weights: Any,
    rows: Any,
    row_keys: Any,
    whole: Any,
    counts: Any,
    offsets: Any,
    slots: Any,
) -> Any:
    """Write the `counts` slots with the smallest keys ``-log(u) / weight``.

    Arguments as in `sample_rows`; `weights` float32 [E] are positive.
    """
    for i in range(len(rows)):
        first = indptr[rows[i]]
        degree = indptr[rows[i] + 1] - first
        base = offsets[i]
        if degree <= whole:
            for j in range(counts[i]):
                slots[base + j] = first + j
            continue
        # The count smallest keys so far, sorted; most rows end up not inserted.
        kept = np.empty(counts[i], np.float64)
        filled = 0
        for j in range(degree):
            key = -np.log(uniform(draw(row_keys[i], j))) / weights[first + j]
            if filled == counts[i] and key >= kept[filled - 1]:
                continue
            if filled < counts[i]:
                filled += 1
            place = filled - 1
            while place > 0 and kept[place - 1] > key:
                kept[place] = kept[place - 1]
                slots[base + place] = slots[base + place - 1]
                place -= 1
            kept[place] = key
            slots[base + place] = first + j


@njit(cache=True, nogil=True)
def row_keys(original_ids: Any, step_offsets: Any, step_keys: Any) -> Any:
    """Return the key of each row: its step's key combined with its original id.

    Rows ``step_offsets[s]`` to ``step_offsets[s + 1]`` belong to step *s*.
    """
    out = np.empty(len(original_ids), np.uint64)
    for step in range(len(step_keys)):
        for i in range(step_offsets[step], step_offsets[step + 1]):
            out[i] = combine(step_keys[step], np.uint64(original_ids[i]))
    return out


@njit(cache=True, nogil=True)
def discover(
    ids: Any, starts: Any, counts: Any, limit: Any, columns: Any, local: Any
) -> Any:
    """Append to `ids` the columns that are not there yet, in discovery order.

    Parameters
    ----------
    ids : int [n]
        Node ids known so far; local number = position.
    starts, counts : int64 [n]
        Row of each known node: ``columns[starts[i] : starts[i] + counts[i]]``.
    limit : int
        Only the first `limit` columns of a row are looked at.
    columns : int [*]
        Node ids.
    local : int32 [sum(counts)] or [0]
        Unless empty, gets the local numbers of all columns, row after row.

    Returns
    -------
    int [>= n]
        `ids` with the new ones behind.
    """
    bound = len(ids)
    for i in range(len(starts)):
        bound += min(np.int64(counts[i]), limit)
    size = 16
    while size < 2 * bound:
        size *= 2
    table = np.full(size, -1, np.int32)
    out = np.empty(bound, ids.dtype)
    count = 0
    for i in range(len(ids)):
        out[i] = ids[i]
        table[_find(table, out, ids[i])] = i
        count += 1
    for i in range(len(starts)):
        for e in range(starts[i], starts[i] + min(np.int64(counts[i]), limit)):
            slot = _find(table, out, columns[e])
            if table[slot] < 0:
                table[slot] = count
                out[count] = columns[e]
                count += 1
    if len(local) > 0:
        place = 0
        for i in range(len(starts)):
            for e in range(starts[i], starts[i] + counts[i]):
                local[place] = table[_find(table, out, columns[e])]
                place += 1
    return out[:count].copy()


@njit(cache=True, nogil=True, inline="always")
def _find(table: Any, ids: Any, node: Any) -> Any:
    """Return the slot of `node` in an open-addressing table, or the free one."""
    mask = np.uint64(len(table) - 1)
    slot = (np.uint64(node) * GOLDEN >> np.uint64(20)) & mask
    while table[slot] >= 0 and ids[table[slot]] != node:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def take_rows(values: Any, starts: Any, counts: Any, out: Any) -> Any:
    """Write ``values[starts[i] : starts[i] + counts[i]]`` to `out`, row after row."""
    place = 0
    for i in range(len(starts)):
        for e in range(starts[i], starts[i] + counts[i]):
            out[place] = values[e]
            place += 1
