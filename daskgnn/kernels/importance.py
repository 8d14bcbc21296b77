"""How LABOR-i, -* and weighted LABOR choose probabilities: c of rows, pi of sources.

An entry is kept with probability ``min(1, c * pi)``. A row's c makes its estimate as
good as by fan-out sampling; pi is raised for sources that rows with a high c hold, so
that fewer sources are expected in all. Shapes: m rows, E entries of a block, n sources.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit

_ENOUGH = 1e-7
"""Relative change of c at which its equation counts as solved."""
_PASSES = 100
"""Most passes over a row to solve its equation."""
_SETTLED = 1e-4
"""Relative change of the expected number of sources at which pi has settled."""
_MOST_UPDATES = 50


@njit(cache=True, nogil=True, inline="always")
def score_of(scores: Any, first: int, flat: int, j: int) -> float:
    """Return pi of entry `j` of a row: its source's, or the edge's own weight."""
    draw_weights, numbers, pi = scores
    if len(numbers) > 0:
        return pi[numbers[flat + j]]
    return np.float64(draw_weights[first + j])


@njit(cache=True, nogil=True, inline="always")
def weight_of(draw_weights: Any, place: int) -> float:
    """Return the weight of an entry's draw."""
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
def _read_scores(scores: Any, row: Any, room: Any) -> int:
    """Write ``1 / pi`` and ``A**2 / pi`` of a row's entries that can be drawn.

    Scores lie all over, so they are read once. Returns the number of entries.
    """
    first, flat, degree = row
    caps, parts = room
    count = 0
    for j in range(degree):
        weight = weight_of(scores[0], first + j)
        if weight > 0:
            cap = 1.0 / score_of(scores, first, flat, j)
            caps[count] = cap
            parts[count] = weight * weight * cap
            count += 1
    return count


@njit(cache=True, nogil=True)
def _solve(room: Any, count: int, target: float) -> float:
    """Return c of a row of so many entries: see `solve_rows`.

    An entry's probability is capped at 1 from ``c = 1 / pi`` on. Which are, is found by
    iteration: c without those that are capped so far is too small, and grows to the
    solution. Capped entries stay so, and are looked at no more.
    """
    caps, parts = room
    c, rest = 0.0, target
    for _ in range(_PASSES):
        above = 0.0
        for j in range(count):
            above += parts[j]
        if count == 0 or rest <= 0.0 or above / rest <= c * (1.0 + _ENOUGH):
            break
        c = above / rest
        left = 0
        for j in range(count):
            cap, part = caps[j], parts[j]
            caps[left], parts[left] = cap, part
            if cap <= c:
                rest -= part / cap
            left += cap > c
        count = left
    return c


@njit(cache=True, nogil=True)
def _target(draw_weights: Any, row: Any, drawable: int, limit: int) -> float:
    """Return the right side of a row's equation: see `solve_rows`."""
    first, _, degree = row
    if len(draw_weights) == 0:
        return degree * degree / limit
    total = squares = 0.0
    for j in range(degree):
        weight = weight_of(draw_weights, first + j)
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
    longest = np.int64(0)
    for i in range(len(first)):
        longest = max(longest, degree[i])
    room = (np.empty(longest, np.float64), np.empty(longest, np.float64))
    for i in range(len(first)):
        row = (first[i], flat[i], degree[i])
        count = _read_scores(scores, row, room)
        if count == 0:
            c[i] = 0.0
        elif limits[i] >= count:
            c[i] = room[0][:count].max()  # the smallest with which all are kept
        else:
            target = _target(scores[0], row, drawable[i], limits[i])
            c[i] = _solve(room, count, target)


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
            weight = weight_of(draw_weights, first[i] + j)
            if weight > 0:
                value = c[i] * weight if by_weight else c[i]
                number = numbers[flat[i] + j]
                highest[number] = max(highest[number], value)
    total = 0.0
    for number in range(len(pi)):
        pi[number] *= highest[number]
        total += min(1.0, pi[number])
    return total


@njit(cache=True, nogil=True)
def improve(rows: Any, scores: Any, updates: int, c: Any) -> None:
    """Write c of some rows, after so many updates of pi.

    Parameters
    ----------
    rows, scores, c
        As in `solve_rows`; pi is 1 at first, and changed. Without updates there are no
        numbers.
    updates : int
        -1 for as many as it takes until the expected number of sources settles.
    """
    degree, limits = rows[2], rows[4]
    draw_weights, numbers, pi = scores
    weighted = len(draw_weights) > 0
    if weighted:
        solve_rows(rows, (draw_weights, numbers[:0], pi), c)
    else:
        for i in range(len(c)):
            c[i] = min(limits[i], degree[i]) / max(degree[i], 1)
    highest, before = np.empty(len(pi), np.float64), np.inf
    for update in range(updates if updates >= 0 else _MOST_UPDATES):
        sources = raise_pi(rows, scores, c, weighted and update == 0, highest)
        solve_rows(rows, scores, c)
        if updates < 0 and sources >= before * (1.0 - _SETTLED):
            break
        before = sources
