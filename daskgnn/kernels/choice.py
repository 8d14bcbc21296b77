"""Rows or a reduced group: which of the two takes fewer bytes.

A group is what one owner holds of one destination's neighbours. It can be had as its
members' rows, which other groups of the window may share, or reduced by the owner.
The choice is found by local search from a good start and never asks for more bytes
than all rows would take.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.idset import rank_of

Array = np.ndarray

_ROUNDS = 2


@dataclass(frozen=True)
class Costs:
    """Bytes that go over the wire, there and back."""

    row: int
    """Of a feature row."""
    group: int
    """Of a reduced group, its members not counted."""
    member: int
    """Of naming one member of a group."""


@njit(cache=True, nogil=True)
def collect_groups(
    ids: Array,
    starts: Array,
    ends: Array,
    indices: Array,
    first: int,
    last: int,
    words: Array,
    before: Array,
    count: int,
    group_starts: Array,
    members: Array,
    ranks: Array,
) -> int:
    """Append a step's groups of the owner of [first, last) to the `count` there are.

    Returns
    -------
    int
        The number of groups then.
    """
    place = group_starts[count]
    size = np.uint64(last - first)
    for i in range(len(starts)):
        begin = place
        for e in range(starts[i], ends[i]):
            node = np.int64(ids[indices[e]])
            if np.uint64(node - first) < size:
                members[place] = node
                ranks[place] = rank_of(words, before, node - first)
                place += 1
        if place > begin:
            count += 1
            group_starts[count] = place
    return count


@njit(cache=True, nogil=True)
def count_members(
    ids: Array, starts: Array, ends: Array, indices: Array, first: int, last: int
) -> Array:
    """Return int64 [r], how many of each row's neighbours lie in [first, last)."""
    out = np.zeros(len(starts), np.int64)
    for i in range(len(starts)):
        for e in range(starts[i], ends[i]):
            out[i] += first <= ids[indices[e]] < last
    return out


@njit(cache=True, nogil=True)
def take_groups(
    ids: Array,
    starts: Array,
    ends: Array,
    indices: Array,
    first: int,
    last: int,
    values: Array,
    out: Array,
) -> None:
    """Write the `values` [L] of the neighbours in [first, last) to `out`, in order.

    Without values nothing is written.
    """
    place = 0
    if not len(values):
        return
    for i in range(len(starts)):
        for e in range(starts[i], ends[i]):
            if first <= ids[indices[e]] < last:
                out[place] = values[e]
                place += 1


@njit(cache=True, nogil=True)
def _start(
    starts: Array,
    ranks: Array,
    free: Array,
    users: Array,
    row: float,
    group: float,
    member: float,
    by_rows: Array,
) -> None:
    """Let every group pay its share of its rows, and take the cheaper way.

    `users` holds how often each row occurs in groups; after it, in those by rows.
    """
    for g in range(len(by_rows)):
        share = 0.0
        for m in range(starts[g], starts[g + 1]):
            rank = ranks[m]
            if rank >= 0 and not free[rank]:
                share += row / users[rank]
        by_rows[g] = share <= group + member * (starts[g + 1] - starts[g])
    users[:] = 0
    for g in range(len(by_rows)):
        if by_rows[g]:
            for m in range(starts[g], starts[g + 1]):
                if ranks[m] >= 0:
                    users[ranks[m]] += 1


@njit(cache=True, nogil=True)
def _improve(
    starts: Array,
    ranks: Array,
    free: Array,
    users: Array,
    row: float,
    group: float,
    member: float,
    by_rows: Array,
) -> None:
    """Change each group's way once where that alone saves bytes."""
    for g in range(len(by_rows)):
        alone = 1 if by_rows[g] else 0
        rows = 0
        for m in range(starts[g], starts[g + 1]):
            rank = ranks[m]
            if rank >= 0 and not free[rank] and users[rank] == alone:
                rows += 1
        reduced = group + member * (starts[g + 1] - starts[g])
        if by_rows[g] == (row * rows <= reduced):
            continue
        by_rows[g] = not by_rows[g]
        change = 1 if by_rows[g] else -1
        for m in range(starts[g], starts[g + 1]):
            if ranks[m] >= 0:
                users[ranks[m]] += change


@njit(cache=True, nogil=True)
def _uncovered(starts: Array, ranks: Array, taken: Array, out: Array) -> int:
    """Mark the groups with a member that is not `taken`; return their members."""
    size = 0
    for g in range(len(out)):
        missing = False
        for m in range(starts[g], starts[g + 1]):
            missing |= ranks[m] >= 0 and not taken[ranks[m]]
        out[g] = missing
        if missing:
            size += starts[g + 1] - starts[g]
    return size


def uncovered(starts: Array, ranks: Array, taken: Array) -> Array:
    """Return which groups have a member whose row is not taken, bool [G]."""
    out = np.empty(len(starts) - 1, np.bool_)
    _uncovered(frozen(starts), frozen(ranks), frozen(taken), out)
    return out


def choose_rows(starts: Array, ranks: Array, free: Array, costs: Costs) -> Array:
    """Return which rows to ask for; the groups that lack one are to be reduced.

    Parameters
    ----------
    starts : int64 [G + 1]
    ranks : int32 [M]
        The members' rows, -1 where a row is at hand.
    free : bool [m]
        Rows that are needed anyway.
    costs : Costs

    Returns
    -------
    numpy.ndarray
        bool [m]; all of them unless fewer, with their groups, take fewer bytes.
    """
    users = np.bincount(ranks[ranks >= 0], minlength=len(free)).astype(np.int32)
    by_rows = np.empty(len(starts) - 1, np.bool_)
    given = (frozen(starts), frozen(ranks), frozen(free), users)
    prices = (float(costs.row), float(costs.group), float(costs.member))
    _start(*given, *prices, by_rows)
    for _ in range(_ROUNDS):
        _improve(*given, *prices, by_rows)
    taken = free | (users > 0)
    lacking = np.empty(len(by_rows), np.bool_)
    members = _uncovered(*given[:2], frozen(taken), lacking)
    nbytes = costs.row * np.count_nonzero(taken)
    nbytes += costs.group * np.count_nonzero(lacking) + costs.member * members
    return taken if nbytes < costs.row * len(free) else np.ones_like(taken)
