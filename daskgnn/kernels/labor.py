"""LABOR's rows: an entry is kept where its source's variate is below a bound.

Of uniform LABOR-0 the bound is one for a row, and the row is scanned 16 entries at a
time. Else it is ``c * pi``: see `solve_rows`. How many entries are kept is not known
before, so kernels stop where there may be no room for a row, and are called again.

Balin and Catalyurek, "Layer-Neighbor Sampling - Defusing Neighborhood Explosion in
GNNs" (NeurIPS 2023). Shapes: m rows asked for, E entries of a block, S kept ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
_ENOUGH = 1e-7
"""Relative change of c at which its equation counts as solved."""
_PASSES = 100
"""Most passes over a row to solve its equation."""


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
def _score(scores: Any, first: int, flat: int, j: int) -> float:
    """Return pi of entry `j` of a row: its source's, or the edge's own weight."""
    draw_weights, numbers, pi = scores
    if len(numbers) > 0:
        return pi[numbers[flat + j]]
    return np.float64(draw_weights[first + j])


@njit(cache=True, nogil=True, inline="always")
def _weight(draw_weights: Any, place: int) -> float:
    return np.float64(draw_weights[place]) if len(draw_weights) > 0 else 1.0


@njit(cache=True, nogil=True)
def count_drawable(draw_weights: Any, first: Any, degree: Any, drawable: Any) -> None:
    """Write how many entries of each row have a weight above zero."""
    for i in range(len(first)):
        count = 0
        for e in range(first[i], first[i] + degree[i]):
            count += draw_weights[e] > 0
        drawable[i] = count


@njit(cache=True, nogil=True)
def _least_c(scores: Any, first: int, flat: int, degree: int) -> float:
    """Return the smallest c with which a row is kept whole."""
    least = np.inf
    for j in range(degree):
        if _weight(scores[0], first + j) > 0:
            least = min(least, _score(scores, first, flat, j))
    return 1.0 / least


@njit(cache=True, nogil=True)
def _solve(scores: Any, row: Any, target: float) -> float:
    """Return c of a row: see `solve_rows`.

    Entries whose probability is capped at 1 are found by iteration: c without those
    that are capped so far is too small, and grows to the solution.
    """
    first, flat, degree = row
    c = 0.0
    for _ in range(_PASSES):
        above, rest = 0.0, target
        for j in range(degree):
            weight = _weight(scores[0], first + j)
            if weight > 0:
                score = _score(scores, first, flat, j)
                if c * score >= 1.0:
                    rest -= weight * weight
                else:
                    above += weight * weight / score
        if above == 0.0 or rest <= 0.0 or above / rest <= c * (1.0 + _ENOUGH):
            break
        c = above / rest
    return c


@njit(cache=True, nogil=True)
def _target(draw_weights: Any, row: Any, drawable: int, limit: int) -> float:
    """Return the right side of a row's equation: see `solve_rows`."""
    first, _, degree = row
    total = squares = 0.0
    for j in range(degree):
        weight = _weight(draw_weights, first + j)
        total += weight
        squares += weight * weight
    return total * total * (1.0 / limit - 1.0 / drawable) + squares


@njit(cache=True, nogil=True)
def solve_rows(rows: Any, scores: Any, c: Any) -> None:
    """Write c of some rows, so that each is estimated as well as by `limit` draws.

    With probabilities ``p_t = min(1, c * pi_t)`` and weights A of a row's entries, c
    solves ``sum_t A_t**2 / p_t = (sum A)**2 * (1 / k - 1 / d) + sum A**2``: d of the
    entries have a weight above zero, and k is the least of d and the row's `limit`.
    Where every entry weighs 1, the right side is ``d**2 / k``.

    Parameters
    ----------
    rows : int64 [m] five times
        Where rows begin in the block and among the numbers of `scores`, degrees,
        entries with a weight above zero, and limits.
    scores : float32 [E] or [0], int32 [*] or [0], float64 [n]
        Weights of the block's entries, none where each weighs 1; a number of the source
        of each entry of these rows, row after row, and pi by number. Without numbers pi
        is the entry's own weight.
    c : float64 [m]
        Output; 0 for rows without entries that can be drawn.
    """
    first, flat, degree, drawable, limits = rows
    for i in range(len(first)):
        row = (first[i], flat[i], degree[i])
        if drawable[i] == 0:
            c[i] = 0.0
        elif limits[i] >= drawable[i]:
            c[i] = _least_c(scores, first[i], flat[i], degree[i])
        else:
            target = _target(scores[0], row, drawable[i], limits[i])
            c[i] = _solve(scores, row, target)


@njit(cache=True, nogil=True)
def raise_pi(rows: Any, scores: Any, c: Any, by_weight: bool, highest: Any) -> float:
    """Multiply pi of each source by the greatest c of the rows that hold it.

    Parameters
    ----------
    rows, scores, c
        As in `solve_rows`, with numbers; pi is changed.
    by_weight : bool
        Whether c is multiplied by the entry's weight, as after the first solution.
    highest : float64 [n]
        Room.

    Returns
    -------
    float
        The sum over sources of ``min(1, pi)``.
    """
    first, flat, degree = rows[:3]
    draw_weights, numbers, pi = scores
    highest[:] = 0.0
    for i in range(len(first)):
        for j in range(degree[i]):
            weight = _weight(draw_weights, first[i] + j)
            if weight > 0:
                value = c[i] * weight if by_weight else c[i]
                number = numbers[flat[i] + j]
                highest[number] = max(highest[number], value)
    total = 0.0
    for number in range(len(pi)):
        pi[number] *= highest[number]
        total += min(1.0, pi[number])
    return total


@njit(cache=True, nogil=True, inline="always")
def _draw_by_score(
    row: Any, names: Any, scores: Any, key: Any, columns: Any, chances: Any, place: int
) -> int:
    """Write the slots of a row that are kept, and their probabilities; see `_scan`."""
    first, flat, degree, all_kept, c = row
    draw_weights = scores[0]
    for j in range(degree):
        if _weight(draw_weights, first + j) <= 0:
            continue
        bound = EVERYTHING
        if not all_kept:
            chance = c * _score(scores, first, flat, j)
            if chance < 1.0:
                bound = np.uint64(max(chance * 4294967296.0, 1.0))
        columns[place] = j
        # A bound is what the variates are compared with: its share is the probability.
        chances[place] = np.float64(bound) / 4294967296.0
        place += variate(names[first + j], key) < bound
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
        As in `solve_rows`, and c.
    scores
        As in `solve_rows`.
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
    for i in range(begin, end):
        # One more entry, since it is written before it is decided.
        if base + degree[i] + 1 > len(columns):
            return i, base
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
