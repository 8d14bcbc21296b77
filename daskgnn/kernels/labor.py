"""LABOR's rows: an entry is kept where its source's variate is below a bound.

Of uniform LABOR-0 the bound is one for a row, and the row is scanned 16 entries at a
time. Else it is ``c * pi``: see `daskgnn.kernels.importance`. How many entries are kept
is not known before, so kernels stop where there may be no room for a row, and are
called again.

Balin and Catalyurek, "Layer-Neighbor Sampling - Defusing Neighborhood Explosion in
GNNs" (NeurIPS 2023). Shapes: m rows asked for, E entries of a block, S kept ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.importance import score_of, weight_of
from daskgnn.kernels.jit import njit
from daskgnn.kernels.neighbor import prefetch_row, read_row
from daskgnn.kernels.prefetch import address_of, prefetch_at
from daskgnn.kernels.variates import EVERYTHING, LANES, lanes_below, lowest_bit, variate

_RUN = 64
"""Rows whose entries are named together, then read together."""
_ROWS_AHEAD = 3
"""How many rows ahead a scan prefetches."""
_BYTES_AHEAD = 1024
"""How much of a row is prefetched; the processor itself goes on from there."""
_WORD = 64
_PLACES = 2**12
"""How many runs of entries `order_by_place` tells apart."""
_RANGE = float(EVERYTHING)


@njit(cache=True, nogil=True, inline="always")
def _scan(names: Any, row: Any, key: Any, columns: Any, place: int) -> int:
    """Write to ``columns[place:]`` the slots of a row that are kept; return the end."""
    first, degree, bound = row
    address = address_of(names)
    for base in range(0, degree, _WORD):
        word = np.uint64(0)
        begin = first + base
        if begin + _WORD <= len(names):
            for part in range(0, min(_WORD, degree - base), LANES):
                found = lanes_below(address + 4 * (begin + part), key, bound)
                word |= found << np.uint64(part)
        else:
            for j in range(min(_WORD, degree - base)):
                below = variate(names[begin + j], key) < bound
                word |= np.uint64(below) << np.uint64(j)
        if degree - base < _WORD:
            word &= (np.uint64(1) << np.uint64(degree - base)) - np.uint64(1)
        while word:
            columns[place] = base + np.int64(lowest_bit(word))
            place += 1
            word &= word - np.uint64(1)
    return place


@njit(cache=True, nogil=True)
def order_by_place(first: Any, steps: Any, size: int, order: Any) -> None:
    """Write to `order` (int32 [m]) the rows of each step, nearly by where they begin.

    Parameters
    ----------
    first : int64 [m]
        Where rows begin.
    steps : int64 [W + 1]
        Where the rows of each step are.
    size : int
        Above all of `first`.
    """
    width = size // _PLACES + 1
    for step in range(len(steps) - 1):
        place = np.zeros(_PLACES + 1, np.int64)
        for i in range(steps[step], steps[step + 1]):
            place[first[i] // width + 1] += 1
        place[0] = steps[step]
        for p in range(_PLACES):
            place[p + 1] += place[p]
        for i in range(steps[step], steps[step + 1]):
            p = first[i] // width
            order[place[p]] = i
            place[p] += 1


@njit(cache=True, nogil=True)
def draw_rows(
    entries: Any, rows: Any, steps: Any, where: Any, counts: Any, out: Any
) -> Any:
    """Write the kept entries of some rows to `out`, row after row.

    Parameters
    ----------
    entries : int [E], float32 [E] or [0], uint32 [E]
        Neighbours; edge weights, none where every edge weighs 1; names of neighbours.
    rows : int64 [m], int64 [m], uint64 [m]
        Where rows begin, degrees, and the bounds below which variates are kept.
    steps : int64 [W + 1], uint64 [W]
        Rows ``offsets[s]`` to ``offsets[s + 1]`` belong to step *s*; keys of variates.
    where : int
        The first and the last row, and where the entries of the first are written.
    counts : int64 [m]
        Output: how many entries of each row were kept.
    out : int [S], float32 [S] or [0]
        Output: neighbours and weights of the kept entries.

    Returns
    -------
    tuple
        The first row for which there may be too little room, and where to write on.
    """
    indices, weights, names = entries
    first, degree, bounds = rows
    step_offsets, keys = steps
    begin, end, base = where
    columns, out_weights = out
    step, i, address = 0, begin, address_of(names)
    while i < end:
        begun, stop, place = i, min(i + _RUN, end), base
        while i < stop and place + degree[i] <= len(columns):
            if i + _ROWS_AHEAD < end:
                near = i + _ROWS_AHEAD
                size = min(4 * degree[near], _BYTES_AHEAD)
                if bounds[near] < EVERYTHING:
                    prefetch_at(address + 4 * first[near], size)
            while i >= step_offsets[step + 1]:
                step += 1
            was = place
            if bounds[i] >= EVERYTHING:
                for j in range(degree[i]):
                    columns[place + j] = j
                place += degree[i]
            else:
                row = (first[i], degree[i], bounds[i])
                place = _scan(names, row, keys[step], columns, place)
            counts[i] = place - was
            prefetch_row(indices, weights, first[i], columns, was, counts[i])
            i += 1
        for r in range(begun, i):
            k = counts[r]
            read_row(indices, weights, first[r], columns, base, k, out_weights)
            base += k
        if i < stop:
            break
    return i, base


@njit(cache=True, nogil=True, inline="always")
def _draw_by_score(
    row: Any, names: Any, scores: Any, key: Any, columns: Any, chances: Any, place: int
) -> int:
    """Write the slots of a row that are kept, and their probabilities; see `_scan`."""
    first, flat, degree, all_kept, c = row
    draw_weights, scale = scores[0], c * _RANGE
    for j in range(degree):
        # Compared as float64, which holds both exactly enough: few are kept.
        bound = _RANGE if all_kept else scale * score_of(scores, first, flat, j)
        value = np.float64(np.int64(variate(names[first + j], key)))
        if value < bound and weight_of(draw_weights, first + j) > 0:
            columns[place] = j
            # What a variate's chance is to be below it: variates are whole.
            chances[place] = min(np.ceil(bound) / _RANGE, 1.0)
            place += 1
    return place


@njit(cache=True, nogil=True)
def draw_scored_rows(
    entries: Any, rows: Any, scores: Any, key: Any, where: Any, counts: Any, out: Any
) -> Any:
    """Write the kept entries of some rows of one step to `out`, row after row.

    Parameters
    ----------
    entries
        As in `draw_rows`.
    rows : int64 [m] five times, float64 [m]
        As in `daskgnn.kernels.importance.solve_rows`, and c.
    scores
        As in `daskgnn.kernels.importance.solve_rows`.
    key : uint64
        Of the step's variates.
    where, counts
        As in `draw_rows`.
    out : int [S], float32 [S] or [0], float64 [S]
        Output: neighbours and weights of the kept entries, and their probabilities.

    Returns
    -------
    tuple
        As in `draw_rows`.
    """
    indices, weights, names = entries
    first, flat, degree, drawable, limits, c = rows
    begin, end, base = where
    columns, out_weights, chances = out
    address = address_of(names)
    for i in range(begin, end):
        if base + degree[i] > len(columns):
            return i, base
        if i + _ROWS_AHEAD < end:
            near = i + _ROWS_AHEAD
            prefetch_at(address + 4 * first[near], min(4 * degree[near], _BYTES_AHEAD))
        all_kept = limits[i] >= drawable[i]
        row = (first[i], flat[i], degree[i], all_kept, c[i])
        place = _draw_by_score(row, names, scores, key, columns, chances, base)
        counts[i] = place - base
        read_row(indices, weights, first[i], columns, base, counts[i], out_weights)
        base = place
    return end, base


@njit(cache=True, nogil=True)
def estimate_rows(
    counts: Any, degree: Any, chances: Any, to_one: bool, out: Any
) -> None:
    """Write what each kept entry counts for in the mean of its row.

    Parameters
    ----------
    counts, degree : int64 [m]
        Kept entries of rows, and all of them.
    chances : float64 [S]
        Probabilities of the kept entries.
    to_one : bool
        Whether each row's add up to 1 (Hajek), or are ``1 / (degree * probability)``
        (Horvitz-Thompson).
    out : float32 [S]
        Output.
    """
    base = 0
    for i in range(len(counts)):
        total = 0.0 if to_one else 1.0 * degree[i]
        if to_one:
            for e in range(base, base + counts[i]):
                total += 1.0 / chances[e]
        for e in range(base, base + counts[i]):
            out[e] = 1.0 / (chances[e] * total)
        base += counts[i]
