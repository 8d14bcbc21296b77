"""What is done to sparse rows before a product: reductions over neighbours, dropout.

Shapes: n rows, r destinations, L neighbours, F columns, H; tables of sparse rows are
those of `daskgnn.kernels.sparse.multiply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.bfloat import read
from daskgnn.kernels.counter import combine, draw
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows

Array = np.ndarray
Table = tuple[Array, Array, Array]


@njit(cache=True, nogil=True)
def most_entries(table: Table, rows: Array, near: Rows, looped: bool) -> int:
    """Return how many entries `reduce_entries` writes at most."""
    indptr = table[0]
    starts, ends, indices = near
    total = 0
    for i in range(len(starts)):
        for e in range(starts[i], ends[i]):
            row = rows[indices[e]]
            total += indptr[row + 1] - indptr[row]
        if looped:
            total += indptr[rows[i] + 1] - indptr[rows[i]]
    return total


@njit(cache=True, nogil=True)
def reduce_entries(
    table: Table,
    rows: Array,
    near: Rows,
    weight: Array,
    loop: Array,
    num_columns: int,
    out: Table,
) -> int:
    """Write each destination's weighted sum of its neighbours' rows as a sparse row.

    A column stands where a destination's neighbours first have it.

    Parameters
    ----------
    rows : int32 [n]
        The sources' rows of the table.
    weight : float32 [L]
        At the neighbours' places.
    loop : float32 [r] or [0]
        What a destination's own row is multiplied by; it comes last.
    out
        indptr int64 [r + 1], indices and values for `most_entries`.

    Returns
    -------
    int
        Entries that were written.
    """
    indptr, indices, entries = table
    starts, ends, neighbours = near
    out_indptr, out_indices, values = out
    place = np.full(num_columns, -1, np.int64)
    end = 0
    out_indptr[0] = 0
    for i in range(len(starts)):
        begin = end
        for e in range(starts[i], ends[i] + (1 if len(loop) else 0)):
            own = e == ends[i]
            row = rows[i] if own else rows[neighbours[e]]
            factor = loop[i] if own else weight[e]
            for k in range(indptr[row], indptr[row + 1]):
                c = indices[k]
                v = factor * (read(entries[k]) if len(entries) else np.float32(1))
                if place[c] < begin:
                    place[c], out_indices[end], values[end] = end, c, v
                    end += 1
                else:
                    values[place[c]] += v
        out_indptr[i + 1] = end
    return end


@njit(cache=True, nogil=True)
def largest_entries(
    table: Table, rows: Array, near: Rows, num_columns: int, out: Table
) -> int:
    """Write each destination's channel-wise maximum of its neighbours' rows.

    A neighbour without a column has 0 there. Parameters and result are those of
    `reduce_entries`.
    """
    indptr, indices, entries = table
    starts, ends, neighbours = near
    out_indptr, out_indices, values = out
    place = np.full(num_columns, -1, np.int64)
    having = np.zeros(num_columns, np.int64)
    end = 0
    out_indptr[0] = 0
    for i in range(len(starts)):
        begin = end
        for e in range(starts[i], ends[i]):
            row = rows[neighbours[e]]
            for k in range(indptr[row], indptr[row + 1]):
                c = indices[k]
                v = read(entries[k]) if len(entries) else np.float32(1)
                if place[c] < begin:
                    place[c], out_indices[end], values[end] = end, c, v
                    having[c] = 1
                    end += 1
                else:
                    values[place[c]] = max(values[place[c]], v)
                    having[c] += 1
        for k in range(begin, end):
            if having[out_indices[k]] < ends[i] - starts[i]:
                values[k] = max(values[k], np.float32(0))
        out_indptr[i + 1] = end
    return end


@njit(cache=True, nogil=True)
def drop_entries(
    table: Table,
    ids: Array,
    key: np.uint64,
    threshold: int,
    scale: float,
    values: Array,
) -> None:
    """Write the entries of rows 0 .. n - 1 of a table, dropped or scaled.

    The mask is that of `daskgnn.kernels.dropout.node_mask`.

    Parameters
    ----------
    ids : int64 [n]
        The rows' original ids.
    values : float32 [nnz]
    """
    indptr, indices, entries = table
    limit, factor = np.uint64(threshold), np.float32(scale)
    for i in range(len(indptr) - 1):
        row_key = combine(key, np.uint64(ids[i]))
        for k in range(indptr[i], indptr[i + 1]):
            c = indices[k]
            shift = np.uint64(16 * (c & 3))
            bits = (draw(row_key, c >> 2) >> shift) & np.uint64(0xFFFF)
            v = read(entries[k]) if len(entries) else np.float32(1)
            values[k] = v * factor if bits >= limit else np.float32(0)
