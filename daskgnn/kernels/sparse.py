"""Products of sparse rows with dense weights, and the weights' gradient.

A pass takes a block of channels, so that the weights it reads, or adds to, stay in the
processor's cache. Each number is a sum over a row's entries (of a gradient: over rows)
in their order, whatever the blocks are and whoever computes them: the same input gives
the same bits on any number of threads.

Shapes: n rows, m of a table, nnz entries, F columns, w channels of a block out of H.
Entries are float32, float64, or the bits of half precision (`bfloat`); none where all
are 1.
"""

from __future__ import annotations

import numpy as np

from daskgnn.kernels.bfloat import read
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import address_of
from daskgnn.kernels.vectors import (
    LONG,
    SHORT,
    add_rows,
    add_rows_of_ones,
    add_rows_of_ones_short,
    add_rows_short,
)

Array = np.ndarray
Table = tuple[Array, Array, Array, Array]
"""int64 [m] where rows start, int64 [m] where they end, int32 columns [nnz], entries
[nnz] or [0]."""

BLOCK_BYTES = 1 << 20
"""Of the weights that a pass reads: half of a common L2 cache."""
NARROWEST, WIDEST = 64, 256
"""Channels of a block, unless there are fewer."""
TILE = 16
"""Rows and columns that are transposed together: a cache line of float32."""


LONGEST, SHORTEST = LONG[0] * LONG[1], SHORT[0] * SHORT[1]


def block_width(columns: int, channels: int, itemsize: int) -> int:
    """Return how many channels a pass takes: a function of the shapes alone."""
    fits = BLOCK_BYTES // max(columns * itemsize, 1)
    width = min(max(fits, NARROWEST), WIDEST)
    return min(width - width % NARROWEST, channels)


@njit(cache=True, nogil=True)
def transpose(x: Array, out: Array) -> None:
    """Write the transpose of `x` [a, b] to `out` [b, a].

    A tile goes through a small buffer: its rows are read, and written, in whole cache
    lines.
    """
    rows, columns = x.shape
    tile = np.empty((TILE, TILE), x.dtype)
    for j in range(0, columns, TILE):
        width = min(TILE, columns - j)
        for i in range(0, rows, TILE):
            height = min(TILE, rows - i)
            if height < TILE or width < TILE:
                for c in range(width):
                    for r in range(height):
                        out[j + c, i + r] = x[i + r, j + c]
                continue
            # With bounds that the compiler knows.
            for r in range(TILE):
                for c in range(TILE):
                    tile[c, r] = x[i + r, j + c]
            for c in range(TILE):
                for r in range(TILE):
                    out[j + c, i + r] = tile[c, r]


@njit(cache=True, nogil=True)
def multiply(table: Table, rows: Array, weight: Array, add: bool, out: Array) -> None:
    """Write (or add) to `out` [n, w] the product of some rows with `weight` [F, w].

    Parameters
    ----------
    rows : int32 [n]
        Which rows of the table.
    """
    starts, ends, indices, entries = table
    width = out.shape[1]
    kind, like = out.dtype.type, out.dtype.type(0)
    column, entry = indices.dtype.type(0), entries.dtype.type(0)
    item, pitch = out.itemsize, width * out.itemsize
    weight_at, out_at = address_of(weight), address_of(out)
    weighted = len(entries) > 0
    for i in range(len(rows)):
        begin = starts[rows[i]]
        count = ends[rows[i]] - begin
        if not add:
            out[i, :] = 0
        columns = address_of(indices) + begin * indices.itemsize
        values = address_of(entries) + begin * entries.itemsize
        f = 0
        while f + LONGEST <= width:
            at, to = weight_at + f * item, out_at + i * pitch + f * item
            given = (columns, values, count, at, pitch, to, like, column, entry)
            if weighted:
                add_rows(*given)
            else:
                add_rows_of_ones(*given)
            f += LONGEST
        while f + SHORTEST <= width:
            at, to = weight_at + f * item, out_at + i * pitch + f * item
            given = (columns, values, count, at, pitch, to, like, column, entry)
            if weighted:
                add_rows_short(*given)
            else:
                add_rows_of_ones_short(*given)
            f += SHORTEST
        while f < width:
            for k in range(begin, begin + count):
                v = kind(read(entries[k])) if weighted else kind(1)
                out[i, f] += v * weight[indices[k], f]
            f += 1


@njit(cache=True, nogil=True)
def transpose_entries(
    table: Table, rows: Array, first: int, num_columns: int
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the entries of some rows column by column, as a table with a row a column.

    In a column they are in the order of the rows. The product of that table with a
    gradient [n, w] is the gradient by weights of `multiply`.

    Parameters
    ----------
    rows : int32 [n]
    first
        How many of the rows come first.

    Returns
    -------
    tuple
        int64 [F], where each column begins; int64 [F], where the entries of the first
        rows end in it; int64 [F], where it ends; the entries' rows, int32 [nnz]; their
        values.
    """
    starts, ends, indices, entries = table
    bounds = np.zeros(num_columns + 1, np.int64)
    for i in range(len(rows)):
        for k in range(starts[rows[i]], ends[rows[i]]):
            bounds[indices[k] + 1] += 1
    for c in range(num_columns):
        bounds[c + 1] += bounds[c]
    place = bounds[:-1].copy()
    own = np.empty(bounds[num_columns], np.int32)
    values = np.empty(len(own) if len(entries) else 0, entries.dtype)
    first_ends = place.copy()
    for i in range(len(rows)):
        if i == first:
            first_ends[:] = place
        for k in range(starts[rows[i]], ends[rows[i]]):
            c = indices[k]
            own[place[c]] = i
            if len(entries):
                values[place[c]] = entries[k]
            place[c] += 1
    if first >= len(rows):
        first_ends[:] = place
    return bounds[:-1], first_ends, place, own, values


@njit(cache=True, nogil=True)
def take_entries(
    table: tuple[Array, Array, Array],
    rows: Array,
    indptr_out: Array,
    indices_out: Array,
    entries_out: Array,
) -> None:
    """Copy some rows of a table; `indptr_out` says where to."""
    indptr, indices, entries = table
    for i in range(len(rows)):
        begin, place = indptr[rows[i]], indptr_out[i]
        for k in range(indptr_out[i + 1] - place):
            indices_out[place + k] = indices[begin + k]
            if len(entries):
                entries_out[place + k] = entries[begin + k]
