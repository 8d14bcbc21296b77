"""Choose between fetching rows and fetching their sum, by bytes.

A group is what one owner holds of one destination's neighbours. It can be had as its
members' rows, which other groups of the window may share, or reduced by the owner.
The choice is found by local search from a good start and never asks for more bytes
than all rows would take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.idset import rank_of
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows
    from daskgnn.kernels.idset import IdSet

Array = np.ndarray

_SWEEPS = 3


Groups = tuple[Array, Array]
"""Where each one's members begin, and their ranks among the rows."""


class Costs(NamedTuple):
    """Bytes that go over the wire, there and back."""

    row: float
    """Of a feature row."""
    group: float
    """Of a reduced group, its members not counted."""
    member: float
    """Of naming one member of a group."""


@njit(cache=True, nogil=True)
def collect_groups(
    ids: Array, rows: Rows, wanted: IdSet, count: int, out: tuple[Array, Array, Array]
) -> int:
    """Append a step's groups of the owner of `wanted` to the `count` there are.

    `out` are the groups' starts, their members and the members' ranks.

    Returns
    -------
    int
        The number of groups then.
    """
    starts, ends, indices = rows
    first, last, words, before, _ = wanted
    group_starts, members, ranks = out
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
def take_groups(
    ids: Array, rows: Rows, wanted: IdSet, values: Array, out: Array
) -> Array:
    """Write the `values` [L] of the neighbours of an owner to `out`, in order.

    Without values nothing is written. Returns int64 [r], how many each row has.
    """
    starts, ends, indices = rows
    first, last = wanted.first, wanted.last
    counts = np.zeros(len(starts), np.int64)
    place = 0
    for i in range(len(starts)):
        for e in range(starts[i], ends[i]):
            if first <= ids[indices[e]] < last:
                counts[i] += 1
                if len(values):
                    out[place] = values[e]
                    place += 1
    return counts


@njit(cache=True, nogil=True)
def _settle(groups: Groups, needed: Array, costs: Costs, open_groups: Array) -> int:
    """Mark as `needed` the rows of groups that are cheaper by rows whatever others do.

    The groups that are left are written to `open_groups`; returns how many.
    """
    starts, ranks = groups
    row, group, member = costs
    count = len(open_groups)
    for g in range(count):
        open_groups[g] = g
    for _ in range(_SWEEPS):
        left = 0
        for i in range(count):
            g = open_groups[i]
            missing = 0
            for m in range(starts[g], starts[g + 1]):
                missing += ranks[m] >= 0 and not needed[ranks[m]]
            if row * missing > group + member * (starts[g + 1] - starts[g]):
                open_groups[left] = g
                left += 1
                continue
            for m in range(starts[g], starts[g + 1]):
                if ranks[m] >= 0:
                    needed[ranks[m]] = True
        if left == count:
            break
        count = left
    return count


@njit(cache=True, nogil=True)
def _start(
    groups: Groups,
    needed: Array,
    costs: Costs,
    open_groups: Array,
    users: Array,
    by_rows: Array,
) -> None:
    """Let every open group pay its share of its rows, and take the cheaper way.

    Afterwards `users` holds how often each row occurs in groups by rows.
    """
    starts, ranks = groups
    row, group, member = costs
    for g in open_groups:
        for m in range(starts[g], starts[g + 1]):
            if ranks[m] >= 0:
                users[ranks[m]] += 1
    for i in range(len(open_groups)):
        g = open_groups[i]
        share = 0.0
        for m in range(starts[g], starts[g + 1]):
            rank = ranks[m]
            if rank >= 0 and not needed[rank]:
                share += row / users[rank]
        by_rows[i] = share <= group + member * (starts[g + 1] - starts[g])
    users[:] = 0
    for i in range(len(open_groups)):
        g = open_groups[i]
        for m in range(starts[g], starts[g + 1]):
            if by_rows[i] and ranks[m] >= 0:
                users[ranks[m]] += 1


@njit(cache=True, nogil=True)
def _improve(
    groups: Groups,
    needed: Array,
    costs: Costs,
    open_groups: Array,
    users: Array,
    by_rows: Array,
) -> None:
    """Change each open group's way once where that alone saves bytes."""
    starts, ranks = groups
    row, group, member = costs
    for i in range(len(open_groups)):
        g = open_groups[i]
        alone = 1 if by_rows[i] else 0
        missing = 0
        for m in range(starts[g], starts[g + 1]):
            rank = ranks[m]
            missing += rank >= 0 and not needed[rank] and users[rank] == alone
        reduced = group + member * (starts[g + 1] - starts[g])
        if by_rows[i] == (row * missing <= reduced):
            continue
        by_rows[i] = not by_rows[i]
        change = 1 if by_rows[i] else -1
        for m in range(starts[g], starts[g + 1]):
            if ranks[m] >= 0:
                users[ranks[m]] += change


@njit(cache=True, nogil=True)
def _uncovered(groups: Groups, taken: Array, out: Array) -> int:
    """Mark the groups with a member that is not `taken`; return their members."""
    starts, ranks = groups
    size = 0
    for g in range(len(out)):
        missing = False
        for m in range(starts[g], starts[g + 1]):
            missing |= ranks[m] >= 0 and not taken[ranks[m]]
        out[g] = missing
        if missing:
            size += starts[g + 1] - starts[g]
    return size


def rows_or_sums(
    starts: Array, ranks: Array, free: Array, costs: Costs
) -> tuple[Array, Array]:
    """Return which rows to ask for, and which groups lack one and are to be reduced.

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
    tuple
        bool [m] and bool [G]; all rows unless fewer, with the groups, take fewer bytes.
    """
    given, prices = (frozen(starts), frozen(ranks)), Costs(*map(float, costs))
    needed, groups = free.copy(), np.empty(len(starts) - 1, np.int64)
    groups = groups[: _settle(given, needed, prices, groups)]
    users, by_rows = np.zeros(len(free), np.int32), np.empty(len(groups), np.bool_)
    state = (given, frozen(needed), prices, frozen(groups), users, by_rows)
    _start(*state)
    _improve(*state)
    taken = needed | (users > 0)
    lacking = np.empty(len(starts) - 1, np.bool_)
    members = _uncovered(given, frozen(taken), lacking)
    nbytes = costs.row * np.count_nonzero(taken)
    nbytes += costs.group * np.count_nonzero(lacking) + costs.member * members
    if nbytes < costs.row * len(free):
        return taken, lacking
    return np.ones_like(taken), np.zeros_like(lacking)
