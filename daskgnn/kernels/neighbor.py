"""Neighbour sampling on CSR rows, with counter-based nested draws.

The sample of a node for fan-out *k* is the first *k* of its draw order, and the
draw order is a function of ``(key of the step, original id)``: partial
Fisher-Yates without weights, bottom-*k* exponential keys with weights
(Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).

Rows lie all over a graph's arrays, so the kernels name what they read some way
ahead. Shapes: m rows asked for, n rows and E entries of a block, S sampled entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgnn.kernels.counter import below, combine, draw, uniform
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import prefetch_entry

ALL = np.int64(2**62)
"""A fan-out that no row reaches: every neighbour."""

_ROWS_AHEAD = 24
"""How many rows ahead `look_up_rows` prefetches."""
_RUN = 64
"""Rows whose entries are named together, then read together."""


@dataclass(frozen=True)
class FanOut:
    """The fan-outs of a run, hop 1 first; -1 takes every neighbour.

    A float is a share of a row's degree, rounded, of which at least one is taken.
    """

    num_neighbors: tuple[int | float, ...]
    replace: bool = False
    """Whether a neighbour can be drawn several times; then none is -1."""

    @property
    def limits(self) -> tuple[int, ...]:
        """The fan-outs, with ALL for -1 and for shares."""
        return tuple(
            int(ALL) if isinstance(k, float) or k < 0 else k for k in self.num_neighbors
        )

    @property
    def shares(self) -> bool:
        """Whether some fan-out differs from row to row."""
        return any(isinstance(k, float) for k in self.num_neighbors)

    @property
    def num_hops(self) -> int:
        """Number of hops, which is the number of layers."""
        return len(self.num_neighbors)

    def width(self, hop: int) -> int:
        """Return how many draws of a node first met at `hop` are ever used at most."""
        return max(self.limits[hop:])

    def row_limits(self, hop: int, degree: np.ndarray) -> np.ndarray:
        """Return how many neighbours rows of such degrees have at a hop, int64."""
        k = self.num_neighbors[hop]
        if isinstance(k, float):
            return np.maximum(np.floor(k * degree + 0.5), 1).astype(np.int64)
        return np.full(len(degree), self.limits[hop])

    def row_counts(
        self, hop: int, degree: np.ndarray, drawable: np.ndarray
    ) -> np.ndarray:
        """Return how many draws of rows first met at `hop` are ever used, int64.

        `drawable` are the neighbours that can be drawn, of `degree`.
        """
        hops = range(hop, self.num_hops)
        most = np.max([self.row_limits(h, degree) for h in hops], axis=0)
        if self.replace:
            return np.where(drawable > 0, most, 0)
        return np.minimum(most, drawable)

    def shrinks(self, hop: int) -> bool:
        """Return whether no row has more neighbours at a hop than at the one before."""
        if not self.shares:
            return hop > 0 and self.limits[hop] <= self.limits[hop - 1]
        before, now = self.num_neighbors[hop - 1], self.num_neighbors[hop]
        nested = before == -1 or (isinstance(before, float) and before >= now)
        return hop > 0 and isinstance(now, float) and nested

    @property
    def drawn(self) -> int:
        """Beyond this draw the order of a row does not matter."""
        if self.shares:
            return int(ALL)
        return max((int(k) for k in self.num_neighbors if k >= 0), default=0)

    @property
    def whole(self) -> int:
        """Rows of at most this degree are taken whole by every layer."""
        if self.replace:
            return 0
        return 1 if self.shares else min(self.limits)


@njit(cache=True, nogil=True)
def look_up_rows(known: Any, ids: Any, start: int, width: int, out: Any) -> None:
    """Write to `out` what a block knows of its nodes `ids`.

    Parameters
    ----------
    known : int64 [n + 1], int64 [n], float32 [n] or [0]
        The block's indptr, original ids and weighted degrees: empty where every edge
        weighs 1, then they are the degrees.
    ids : int [m]
        Storage ids; `start` is that of the block's first row.
    width : int
        Most slots a row gets.
    out : [m]
        Where the row begins in the block, ``min(degree, width)``, and the node's
        original id, degree (int64) and weighted degree (float32).
    """
    indptr, original_ids, weighted_degree = known
    first, counts, row_ids, row_degree, row_weighted_degree = out
    for i in range(len(ids)):
        if i + _ROWS_AHEAD < len(ids):
            later = np.int64(ids[i + _ROWS_AHEAD]) - start
            prefetch_entry(indptr, later)
            prefetch_entry(original_ids, later)
            if len(weighted_degree) > 0:
                prefetch_entry(weighted_degree, later)
        row = np.int64(ids[i]) - start
        degree = indptr[row + 1] - indptr[row]
        first[i] = indptr[row]
        counts[i] = min(degree, width)
        row_ids[i] = original_ids[row]
        row_degree[i] = degree
        row_weighted_degree[i] = (
            weighted_degree[row] if len(weighted_degree) > 0 else np.float32(degree)
        )


@njit(cache=True, nogil=True, inline="always")
def _draw_row(
    key: Any,
    degree: int,
    count: int,
    drawn: int,
    order: Any,
    swapped: Any,
    out: Any,
    base: int,
) -> None:
    """Write to ``out[base:]`` the first `count` places of a row's draw order.

    `order` is the identity and is left so; `swapped` is room for `drawn` places.
    Places are unsigned, since numba looks for a sign of what may have one.
    """
    num_drawn = min(drawn, count)
    for j in range(num_drawn):
        here, other = np.uint64(j), np.uint64(j + below(draw(key, j), degree - j))
        swapped[j] = other
        out[base + j] = order[other]
        order[here], order[other] = order[other], order[here]
    for j in range(num_drawn, count):
        out[base + j] = order[j]
    for j in range(num_drawn):
        order[np.uint64(j)] = j
        order[np.uint64(swapped[j])] = swapped[j]


@njit(cache=True, nogil=True, inline="always")
def _draw_row_weighted(
    key: Any, weights: Any, first: int, degree: int, kept: Any, out: Any
) -> None:
    """Fill `out` with the places of the smallest keys ``-log(u) / weight``.

    `kept` is room for those keys so far, sorted; most places are not inserted.
    """
    filled = 0
    for j in range(degree):
        if weights[first + j] <= 0:
            continue
        value = -np.log(uniform(draw(key, j))) / weights[first + j]
        if filled == len(out) and value >= kept[filled - 1]:
            continue
        if filled < len(out):
            filled += 1
        place = filled - 1
        while place > 0 and kept[place - 1] > value:
            kept[place] = kept[place - 1]
            out[place] = out[place - 1]
            place -= 1
        kept[place] = value
        out[place] = j


@njit(cache=True, nogil=True, inline="always")
def _draw_again(
    key: Any, weights: Any, first: int, degree: int, sums: Any, out: Any
) -> None:
    """Fill `out` with places of a row, each drawn from all of them.

    `sums` is room for the sums of the weights up to each place.
    """
    if len(weights) == 0 or len(out) == 0:
        for j in range(len(out)):
            out[j] = below(draw(key, j), degree)
        return
    total, last = 0.0, 0
    for j in range(degree):
        total += weights[first + j]
        sums[j] = total
        if weights[first + j] > 0:
            last = j
    for j in range(len(out)):
        # The first place whose sum is beyond: never one of weight 0.
        found = np.searchsorted(sums[:degree], uniform(draw(key, j)) * total, "right")
        out[j] = min(found, last)


@njit(cache=True, nogil=True, inline="always")
def _take_drawable(weights: Any, first: int, degree: int, out: Any) -> None:
    """Fill `out` with the places of a row that can be drawn, which it is as long as."""
    if len(out) == degree:
        for j in range(degree):
            out[j] = j
        return
    place = 0
    for j in range(degree):
        if weights[first + j] > 0:
            out[place] = j
            place += 1


@njit(cache=True, nogil=True)
def _longest(degree: Any, counts: Any, begin: int, end: int, whole: int) -> Any:
    """Return the greatest degree and count of the rows that are not taken whole."""
    largest = widest = np.int64(0)
    for i in range(begin, end):
        if degree[i] > whole:
            largest = max(largest, degree[i])
            widest = max(widest, counts[i])
    return largest, widest


@njit(cache=True, nogil=True, inline="always")
def read_row(
    indices: Any,
    weights: Any,
    first: int,
    columns: Any,
    base: int,
    count: int,
    out_weights: Any,
) -> None:
    """Replace places within a row by what is there."""
    if len(weights) > 0:
        for e in range(base, base + count):
            out_weights[e] = weights[np.uint64(first + columns[e])]
    for e in range(base, base + count):
        columns[e] = indices[np.uint64(first + columns[e])]


@njit(cache=True, nogil=True, inline="always")
def prefetch_row(
    indices: Any, weights: Any, first: int, columns: Any, base: int, count: int
) -> None:
    """Prefetch what `read_row` reads."""
    for e in range(base, base + count):
        prefetch_entry(indices, first + columns[e])
    if len(weights) > 0:
        for e in range(base, base + count):
            prefetch_entry(weights, first + columns[e])


@njit(cache=True, nogil=True)
def sample_rows(
    entries: Any, rows: Any, steps: Any, draws: Any, where: Any, out: Any
) -> None:
    """Write the sampled entries of some rows to `out`, row after row.

    Parameters
    ----------
    entries : int [E] or [0], float32 [E] or [0], float32 [E] or [0]
        Neighbours, none where slots are wanted and no entries; edge weights, none
        where every edge weighs 1; weights of the draws, none for uniform ones. Entries
        of weight 0 are not drawn, and not counted.
    rows : int64 [m]
        Where rows begin, degrees, counts and original ids: see `look_up_rows`.
    steps : int64 [W + 1], uint64 [W]
        Rows ``offsets[s]`` to ``offsets[s + 1]`` belong to step *s*; the steps' keys.
    draws : int, int, bool
        `FanOut.whole`, `FanOut.drawn` and `FanOut.replace`.
    where : int
        The first and the last row, and where the entries of the first are written:
        the sum of the counts before.
    out : int [S], float32 [S] or [0]
        Neighbours and weights at the sampled entries, or their slots.
    """
    indices, weights, draw_weights = entries
    first, degree, counts, row_ids = rows
    step_offsets, step_keys = steps
    whole, drawn, again = draws
    begin, end, base = where
    columns, out_weights = out
    largest, widest = _longest(degree, counts, begin, end, whole)
    weighted = len(draw_weights) > 0
    shuffled = not weighted and not again
    order = np.arange(largest if shuffled else 0).astype(np.int32)
    swapped = np.empty(min(drawn, widest) if shuffled else 0, np.int32)
    room = (largest if again else widest) if weighted else 0
    kept = np.empty(room, np.float64)
    step = 0
    for run in range(begin, end, _RUN):
        # Slots are written first, and then replaced by the neighbours there.
        place, stop = base, min(run + _RUN, end)
        for i in range(run, stop):
            while i >= step_offsets[step + 1]:
                step += 1
            key = combine(step_keys[step], np.uint64(row_ids[i]))
            k = counts[i]
            sample = columns[place : place + k]
            if again:
                _draw_again(key, draw_weights, first[i], degree[i], kept, sample)
            elif degree[i] <= whole:
                _take_drawable(draw_weights, first[i], degree[i], sample)
            elif weighted:
                _draw_row_weighted(key, draw_weights, first[i], degree[i], kept, sample)
            else:
                _draw_row(key, degree[i], k, drawn, order, swapped, columns, place)
            if len(indices) > 0:
                prefetch_row(indices, weights, first[i], columns, place, k)
            place += k
        if len(indices) == 0:
            base = place
            continue
        for i in range(run, stop):
            read_row(indices, weights, first[i], columns, base, counts[i], out_weights)
            base += counts[i]
