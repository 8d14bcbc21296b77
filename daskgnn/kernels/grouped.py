"""Rows reduced owner by owner: the kernels behind `aggregate_grouped`.

Rows are read where they lie, by their addresses (`daskgnn.kernels.rows`), and named
to the processor some places ahead. In these functions `out`, `rows`, `factors` and
the like are addresses too: of a float32 row, of int64 addresses, of float32 weights;
`like` is a number of the type that feature rows have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.bfloat import written
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import prefetch_at
from daskgnn.kernels.rows import (
    AHEAD,
    TAG,
    WHERE,
    Place,
    copy_row,
    load_at,
    store_at,
    value_at,
)

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows

Array = np.ndarray

_SHORT = 48
_WORD = np.int64(0)
_FLOAT = np.float32(0)


@njit(cache=True, nogil=True)
def _sum_first(out: int, rows: int, size: int, channels: int, like: Any) -> None:
    """Write to `out` the sum of the first rows at `rows`: five, or `size` if fewer."""
    a = load_at(rows, 0, _WORD)
    b = load_at(rows, min(1, size - 1), _WORD)
    c = load_at(rows, min(2, size - 1), _WORD)
    d = load_at(rows, min(3, size - 1), _WORD)
    e = load_at(rows, min(4, size - 1), _WORD)
    if size == 1:
        copy_row(out, a, channels, like, _FLOAT)
    elif size == 2:
        for f in range(channels):
            store_at(out, f, value_at(a, f, like) + value_at(b, f, like))
    elif size == 3:
        for f in range(channels):
            s = value_at(a, f, like) + value_at(b, f, like)
            store_at(out, f, s + value_at(c, f, like))
    elif size == 4:
        for f in range(channels):
            s = value_at(a, f, like) + value_at(b, f, like)
            store_at(out, f, (s + value_at(c, f, like)) + value_at(d, f, like))
    else:
        for f in range(channels):
            s = value_at(a, f, like) + value_at(b, f, like)
            s = (s + value_at(c, f, like)) + value_at(d, f, like)
            store_at(out, f, s + value_at(e, f, like))


@njit(cache=True, nogil=True)
def _sum_rows(out: int, rows: int, size: int, channels: int, like: Any) -> None:
    """Write to `out` the sum of the `size` rows at `rows`.

    Several rows are read at a time, for the memory's sake; they are added one by one,
    in order.
    """
    _sum_first(out, rows, size, channels, like)
    k = 5
    while k + 3 < size:
        a, b = load_at(rows, k, _WORD), load_at(rows, k + 1, _WORD)
        c, d = load_at(rows, k + 2, _WORD), load_at(rows, k + 3, _WORD)
        for f in range(channels):
            s = load_at(out, f, _FLOAT) + value_at(a, f, like)
            s = (s + value_at(b, f, like)) + value_at(c, f, like)
            store_at(out, f, s + value_at(d, f, like))
        k += 4
    while k < size:
        _add_row(out, load_at(rows, k, _WORD), channels, like)
        k += 1


@njit(cache=True, nogil=True)
def _weighted_rows(
    out: int, rows: int, factors: int, size: int, channels: int, like: Any
) -> None:
    """Write to `out` the sum of the `size` rows at `rows`, each times its factor."""
    a, wa = load_at(rows, 0, _WORD), load_at(factors, 0, _FLOAT)
    for f in range(channels):
        store_at(out, f, wa * value_at(a, f, like))
    k = 1
    while k + 1 < size:
        a, wa = load_at(rows, k, _WORD), load_at(factors, k, _FLOAT)
        b, wb = load_at(rows, k + 1, _WORD), load_at(factors, k + 1, _FLOAT)
        for f in range(channels):
            s = load_at(out, f, _FLOAT) + wa * value_at(a, f, like)
            store_at(out, f, s + wb * value_at(b, f, like))
        k += 2
    if k < size:
        a, wa = load_at(rows, k, _WORD), load_at(factors, k, _FLOAT)
        for f in range(channels):
            store_at(out, f, load_at(out, f, _FLOAT) + wa * value_at(a, f, like))


@njit(cache=True, nogil=True)
def _add_row(out: int, row: int, channels: int, like: Any) -> None:
    """Add the row at `row` to what `out` holds."""
    for f in range(channels):
        store_at(out, f, load_at(out, f, _FLOAT) + value_at(row, f, like))


@njit(cache=True, nogil=True)
def _raise_to_row(out: int, row: int, channels: int, like: Any) -> None:
    """Put into `out` the larger one of each channel, its own or that of the row."""
    for f in range(channels):
        value, before = value_at(row, f, like), load_at(out, f, _FLOAT)
        store_at(out, f, value if value > before else before)


@njit(cache=True, nogil=True)
def _max_rows(out: int, rows: int, size: int, channels: int, like: Any) -> None:
    """Write to `out` the channel-wise maximum of the `size` rows at `rows`."""
    copy_row(out, load_at(rows, 0, _WORD), channels, like, _FLOAT)
    for k in range(1, size):
        _raise_to_row(out, load_at(rows, k, _WORD), channels, like)


@njit(cache=True, nogil=True)
def _put(out: int, row: int, channels: int, count: int, like: Any) -> None:
    """Write the float32 row at `row` to `out`, divided by `count` unless that is 0.

    `like` is a number of the type that `out` has.
    """
    if count:
        divisor = np.float32(count)
        for f in range(channels):
            store_at(out, f, written(load_at(row, f, _FLOAT) / divisor, like))
    else:
        copy_row(out, row, channels, _FLOAT, like)


@njit(cache=True, nogil=True)
def _sort_long(rows: Array, factors: Array, size: int) -> None:
    """Do what `_sort_by_owner` does, for many sources."""
    order = np.argsort(rows[:size] >> TAG, kind="mergesort")
    rows[:size] = rows[:size][order]
    if len(factors):
        factors[:size] = factors[:size][order]


@njit(cache=True, nogil=True)
def _sort_by_owner(rows: int, factors: int, size: int) -> None:
    """Sort the `size` sources at `rows` by owner, stably; `factors` follow."""
    for k in range(1, size):
        row, at = load_at(rows, k, _WORD), k
        factor = load_at(factors, k, _FLOAT) if factors else np.float32(1)
        while at > 0 and load_at(rows, at - 1, _WORD) >> TAG > row >> TAG:
            store_at(rows, at, load_at(rows, at - 1, _WORD))
            if factors:
                store_at(factors, at, load_at(factors, at - 1, _FLOAT))
            at -= 1
        store_at(rows, at, row)
        if factors:
            store_at(factors, at, factor)


@njit(cache=True, nogil=True)
def _end_of_group(rows: int, size: int) -> int:
    """Return the length of the group of one owner that begins at `rows`.

    The owner is taken off its sources; a negative length says that a row is nowhere.
    """
    owner, last, whole = load_at(rows, 0, _WORD) >> TAG, 0, True
    while last < size and load_at(rows, last, _WORD) >> TAG == owner:
        row = load_at(rows, last, _WORD) & WHERE
        store_at(rows, last, row)
        whole &= row != 0
        last += 1
    return last if whole else -last


@njit(cache=True, nogil=True)
def _reduce_groups(
    where: tuple[int, int, int, int, int],
    size: int,
    channels: int,
    maximum: bool,
    like: Any,
) -> int:
    """Write to `out` the groups of `size` sources, sorted by owner.

    `where` has the addresses of `out`, of the sources, of their factors, of `ready`
    (as in `reduce_grouped`) and of room for a float32 row. Returns how many groups had
    a row that is nowhere and were not ready.
    """
    out, rows, factors, ready, spare = where
    first = lacking = 0
    while first < size:
        here = rows + 8 * first
        owner = load_at(here, 0, _WORD) >> TAG
        length = _end_of_group(here, size - first)
        to = spare if first else out
        group = to
        if length < 0:
            length = -length
            group = load_at(ready, 2 * owner, _WORD)
            if group + 4 * channels > load_at(ready, 2 * owner + 1, _WORD):
                lacking, group = lacking + 1, out
            else:
                store_at(ready, 2 * owner, group + 4 * channels)
        else:
            if maximum:
                _max_rows(to, here, length, channels, like)
            elif factors:
                weights = factors + 4 * first
                _weighted_rows(to, here, weights, length, channels, like)
            else:
                _sum_rows(to, here, length, channels, like)
        if first and maximum:
            _raise_to_row(out, group, channels, _FLOAT)
        elif first:
            _add_row(out, group, channels, _FLOAT)
        elif group != out:
            copy_row(out, group, channels, _FLOAT, _FLOAT)
        first += length
    return lacking


@njit(cache=True, nogil=True, inline="always")
def _look_ahead(
    rows: Rows, sources: Array, nbytes: int, row: int, place: int, count: int
) -> tuple[int, int]:
    """Prefetch the next `count` sources from a row's place on; return where to go on.

    The rows may lie anywhere in their indices.
    """
    starts, ends, indices = rows
    while count > 0 and row < len(starts):
        if place < ends[row]:
            prefetch_at(sources[indices[place]] & WHERE, nbytes)
            place += 1
            count -= 1
        else:
            row += 1
            if row < len(starts):
                place = starts[row]
    return row, place


@njit(cache=True, nogil=True, inline="always")
def _collect(
    indices: Array,
    sources: Array,
    weight: Array,
    begin: int,
    size: int,
    rows: Array,
    factors: Array,
) -> bool:
    """Copy a row's sources and weights; return whether it has several owners."""
    differ = 0
    for k in range(size):
        rows[k] = sources[indices[begin + k]]
        differ |= rows[k] ^ rows[0]
    if len(weight):
        for k in range(size):
            factors[k] = weight[begin + k]
    return differ >> TAG != 0


@njit(cache=True, nogil=True, error_model="numpy")
def reduce_grouped(
    rows: Rows,
    sources: Array,
    table: Array,
    weight: Array,
    ready: Array,
    maximum: bool,
    mean: bool,
    place: Place,
) -> int:
    """Write to a place [r, F] each row's groups, reduced and combined in part order.

    Parameters
    ----------
    sources
        int64 [n], each source's owner, shifted by `TAG`, and the address of its row
        (0 if that is nowhere).
    table
        An array of the dtype that the rows have.
    weight
        float32 [L], or [0] where all weigh 1.
    ready
        int64 [P, 2], by owner: the address of the next group (float32 [F]) that it
        has reduced, and where they end. It is taken for a group with a source that is
        nowhere, and the address moves on.

    Returns
    -------
    int
        How many groups had such a source and were not ready: `out` is of no use then.
    """
    starts, ends, indices = rows
    out, stride, channels, like_out = place
    longest = 0
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    like = table.dtype.type(0)
    own, factors = np.empty(longest, np.int64), np.empty(longest, np.float32)
    # An address keeps no array: numba frees one after the last line that names it, so
    # each of these is named in the loop.
    total_and_group = np.empty((2, channels), np.float32)
    rows_at, total_at = own.ctypes.data, total_and_group.ctypes.data
    group_at = total_at + channels * total_and_group.itemsize
    factors_at = factors.ctypes.data if len(weight) else 0
    ready_at, lacking = ready.ctypes.data, 0
    nbytes = channels * table.itemsize
    row, at = 0, starts[0] if len(starts) else 0
    ahead = AHEAD
    for i in range(len(starts)):
        begin, size = starts[i], ends[i] - starts[i]
        row, at = _look_ahead(rows, sources, nbytes, row, at, ahead + size)
        ahead = 0
        if size == 0:
            total_and_group[0] = 0
            _put(out + i * stride, total_at, channels, 0, like_out)
            continue
        mixed = _collect(indices, sources, weight, begin, size, own, factors)
        if mixed and size > _SHORT:
            _sort_long(own, factors, size)
        elif mixed:
            _sort_by_owner(rows_at, factors_at, size)
        where = (total_at, rows_at, factors_at, ready_at, group_at)
        lacking += _reduce_groups(where, size, channels, maximum, like)
        count = size if mean else 0
        _put(out + i * stride, total_at, channels, count, like_out)
    return lacking
