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
    add_one_to_rows,
    add_one_to_rows_short,
    add_rows,
    add_rows_of_ones,
    add_rows_of_ones_short,
    add_rows_short,
    add_to_rows,
    add_to_rows_short,
)

Array = np.ndarray

BLOCK_BYTES = 1 << 20
"""Of the weights that a pass reads: half of a common L2 cache."""
NARROWEST, WIDEST = 64, 256
"""Channels of a block, unless there are fewer."""


LONGEST, SHORTEST = LONG[0] * LONG[1], SHORT[0] * SHORT[1]


def block_width(columns: int, channels: int, itemsize: int) -> int:
    """Return how many channels a pass takes: a function of the shapes alone."""
    fits = BLOCK_BYTES // max(columns * itemsize, 1)
    width = min(max(fits, NARROWEST), WIDEST)
    return min(width - width % NARROWEST, channels)


@njit(cache=True, nogil=True)
def transpose_in(weight: Array, first: int, out: Array) -> None:
    """Write rows `first` to ``first + w - 1`` of `weight` [H, F] to `out` [F, w]."""
    columns, width = out.shape
    for start in range(0, columns, 16):
        stop = min(start + 16, columns)
        for h in range(width):
            for c in range(start, stop):
                out[c, h] = weight[first + h, c]


@njit(cache=True, nogil=True)
def transpose_out(block: Array, first: int, out: Array) -> None:
    """Write `block` [F, w] to rows `first` to ``first + w - 1`` of `out` [H, F]."""
    columns, width = block.shape
    for start in range(0, columns, 16):
        stop = min(start + 16, columns)
        for h in range(width):
            for c in range(start, stop):
                out[first + h, c] = block[c, h]


@njit(cache=True, nogil=True)
def multiply(
    table: tuple[Array, Array, Array], rows: Array, weight: Array, add: bool, out: Array
) -> None:
    """Write (or add) to `out` [n, w] the product of some rows with `weight` [F, w].

    Parameters
    ----------
    table
        indptr int64 [m + 1], indices int32 [nnz], entries [nnz] or [0].
    rows : int32 [n]
        Which rows of the table.
    """
    indptr, indices, entries = table
    width = out.shape[1]
    kind, like = out.dtype.type, out.dtype.type(0)
    column, entry = indices.dtype.type(0), entries.dtype.type(0)
    item, pitch = out.itemsize, width * out.itemsize
    columns_at, entries_at = address_of(indices), address_of(entries)
    weight_at, out_at = address_of(weight), address_of(out)
    weighted = len(entries) > 0
    for i in range(len(rows)):
        begin = indptr[rows[i]]
        count = indptr[rows[i] + 1] - begin
        if not add:
            out[i, :] = 0
        columns = columns_at + begin * indices.itemsize
        values = entries_at + begin * entries.itemsize
        f = 0
        while f + LONGEST <= width:
            at = weight_at + f * item
            to = out_at + i * pitch + f * item
            if weighted:
                add_rows(columns, values, count, at, pitch, to, like, column, entry)
            else:
                add_rows_of_ones(
                    columns, values, count, at, pitch, to, like, column, entry
                )
            f += LONGEST
        while f + SHORTEST <= width:
            at = weight_at + f * item
            to = out_at + i * pitch + f * item
            if weighted:
                add_rows_short(
                    columns, values, count, at, pitch, to, like, column, entry
                )
            else:
                add_rows_of_ones_short(
                    columns, values, count, at, pitch, to, like, column, entry
                )
            f += SHORTEST
        while f < width:
            for k in range(begin, begin + count):
                v = kind(read(entries[k])) if weighted else kind(1)
                out[i, f] += v * weight[indices[k], f]
            f += 1


@njit(cache=True, nogil=True)
def add_outer(
    table: tuple[Array, Array, Array], rows: Array, grad: Array, out: Array
) -> None:
    """Add to `out` [F, w] the gradient by the weights of `multiply`; grad is [n, w]."""
    indptr, indices, entries = table
    width = out.shape[1]
    kind, like = out.dtype.type, out.dtype.type(0)
    column, entry = indices.dtype.type(0), entries.dtype.type(0)
    item, pitch = out.itemsize, width * out.itemsize
    columns_at, entries_at = address_of(indices), address_of(entries)
    grad_at, out_at = address_of(grad), address_of(out)
    weighted = len(entries) > 0
    for i in range(len(rows)):
        begin = indptr[rows[i]]
        count = indptr[rows[i] + 1] - begin
        columns = columns_at + begin * indices.itemsize
        values = entries_at + begin * entries.itemsize
        f = 0
        while f + LONGEST <= width:
            given = grad_at + i * pitch + f * item
            to = out_at + f * item
            if weighted:
                add_to_rows(
                    columns, values, count, given, pitch, to, like, column, entry
                )
            else:
                add_one_to_rows(
                    columns, values, count, given, pitch, to, like, column, entry
                )
            f += LONGEST
        while f + SHORTEST <= width:
            given = grad_at + i * pitch + f * item
            to = out_at + f * item
            if weighted:
                add_to_rows_short(
                    columns, values, count, given, pitch, to, like, column, entry
                )
            else:
                add_one_to_rows_short(
                    columns, values, count, given, pitch, to, like, column, entry
                )
            f += SHORTEST
        while f < width:
            for k in range(begin, begin + count):
                v = kind(read(entries[k])) if weighted else kind(1)
                out[indices[k], f] += v * grad[i, f]
            f += 1


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
