"""Reductions over the rows of a block, forward and backward, in a fixed order.

Row *i* of a block has the neighbours ``indices[starts[i]:ends[i]]``; rows need not
be adjacent. Every kernel is serial and adds in row order and, within a row, in
neighbour order, so the same input gives the same bits. Arrays are C-contiguous,
float32 or float64 alike; indices are trusted to be in range. `segment_sum` and its
backward also take rows in bfloat16 (see `bfloat`).

Shapes: n sources, r rows, L the length of `indices`, F channels, H heads. The
channels of head *h* are F / H adjacent ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.bfloat import read, written
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import AHEAD, prefetch_row

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows

Array = np.ndarray


@njit(cache=True, nogil=True, inline="always")
def _prefetch_rows(table: Array, indices: Array, start: int, end: int) -> None:
    """Prefetch the rows of `table` that are read `AHEAD` places after these."""
    for k in range(start + AHEAD, min(end + AHEAD, len(indices))):
        prefetch_row(table, indices[k])


@njit(cache=True, nogil=True, inline="always")
def _sum_row(
    x: Array, indices: Array, start: int, end: int, out: Array, i: int
) -> None:
    """Write to ``out[i]`` the sum over one row, which is not empty.

    Two neighbours are read at a time, for the memory's sake, and added one by one.
    """
    j = indices[start]
    for f in range(out.shape[1]):
        out[i, f] = read(x[j, f])
    position = start + 1
    while position + 1 < end:
        j, k = indices[position], indices[position + 1]
        for f in range(out.shape[1]):
            out[i, f] = (out[i, f] + read(x[j, f])) + read(x[k, f])
        position += 2
    if position < end:
        j = indices[position]
        for f in range(out.shape[1]):
            out[i, f] += read(x[j, f])


@njit(cache=True, nogil=True)
def segment_sum(x: Array, rows: Rows, mean: bool, out: Array) -> None:
    """Write the sum (or mean) of each row's neighbours in `x` [n, F] to `out` [r, F].

    A row without neighbours gives zeros.
    """
    starts, ends, indices = rows
    for i in range(out.shape[0]):
        start, end = starts[i], ends[i]
        _prefetch_rows(x, indices, start, end)
        if start == end:
            out[i, :] = 0
            continue
        _sum_row(x, indices, start, end, out, i)
        if mean:
            count = out.dtype.type(end - start)
            for f in range(out.shape[1]):
                out[i, f] /= count


@njit(cache=True, nogil=True)
def transpose_rows(rows: Rows, num_src: int) -> tuple[Array, Array]:
    """Return the rows that each source is in: int64 [n + 1] bounds, int32 [E] rows.

    The rows of a source are in ascending order.
    """
    starts, ends, indices = rows
    bounds = np.zeros(num_src + 1, np.int64)
    for i in range(len(starts)):
        for position in range(starts[i], ends[i]):
            bounds[indices[position] + 1] += 1
    for j in range(num_src):
        bounds[j + 1] += bounds[j]
    place = bounds[:-1].copy()
    out = np.empty(bounds[num_src], np.int32)
    for i in range(len(starts)):
        for position in range(starts[i], ends[i]):
            j = indices[position]
            out[place[j]] = i
            place[j] += 1
    return bounds, out


@njit(cache=True, nogil=True)
def segment_sum_backward(
    grad: Array, bounds: Array, rows: Array, scale: Array, rooted: bool, out: Array
) -> None:
    """Write the gradient of `segment_sum` by the sources to `out` [n, F].

    Sources are gone through in order and gather from the rows they are in, so that
    each is written once: sources lie in the order in which rows met them, and what
    they gather is near.

    Parameters
    ----------
    grad : [r, F], or [r, 2 F] if `rooted`
    bounds, rows
        See `transpose_rows`.
    scale : [r]
        What each row's gradient is multiplied by: 1 / neighbours for a mean.
    rooted
        Begin with the gradient by the row's own node: the right half of `grad`.
    """
    width = out.shape[1]
    total = np.empty(width, scale.dtype)
    for j in range(out.shape[0]):
        if rooted and j < grad.shape[0]:
            for f in range(width):
                total[f] = read(grad[j, width + f])
        else:
            total[:] = 0
        for place in range(bounds[j], bounds[j + 1]):
            i = rows[place]
            factor = scale[i]
            for f in range(width):
                total[f] += factor * read(grad[i, f])
        for f in range(width):
            out[j, f] = written(total[f], out[j, f])


@njit(cache=True, nogil=True)
def segment_max(x: Array, rows: Rows, out: Array, argmax: Array) -> None:
    """Write each row's channel-wise maximum to `out` [r, F], its source to `argmax`.

    Of equal values the first neighbour's counts; a NaN wins over any number. A row
    without neighbours gives zeros and -1. `argmax` is int32 [r, F].
    """
    starts, ends, indices = rows
    for i in range(out.shape[0]):
        start, end = starts[i], ends[i]
        _prefetch_rows(x, indices, start, end)
        if start == end:
            out[i, :] = 0
            argmax[i, :] = -1
            continue
        first = np.int32(indices[start])
        for f in range(out.shape[1]):
            out[i, f] = x[first, f]
            argmax[i, f] = first
        for position in range(start + 1, end):
            j = np.int32(indices[position])
            for f in range(out.shape[1]):
                value = x[j, f]
                better = (value > out[i, f]) | (value != value)
                out[i, f] = value if better else out[i, f]
                argmax[i, f] = j if better else argmax[i, f]


@njit(cache=True, nogil=True)
def segment_max_backward(grad: Array, argmax: Array, out: Array) -> None:
    """Add to `out` [n, F] the gradient of `segment_max` for `grad` [r, F]."""
    for i in range(grad.shape[0]):
        for f in range(grad.shape[1]):
            if argmax[i, f] >= 0:
                out[argmax[i, f], f] += grad[i, f]


@njit(cache=True, nogil=True)
def segment_weighted(x: Array, weight: Array, rows: Rows, out: Array) -> None:
    """Write each row's weighted sum of neighbours to `out` [r, F].

    `x` is [n, F]; `weight` [L, H] stands at the neighbour's place in `indices`.
    """
    starts, ends, indices = rows
    heads = weight.shape[1]
    width = out.shape[1] // heads
    for i in range(out.shape[0]):
        start, end = starts[i], ends[i]
        _prefetch_rows(x, indices, start, end)
        out[i, :] = 0
        for position in range(start, end):
            j = indices[position]
            for h in range(heads):
                w = weight[position, h]
                for f in range(h * width, (h + 1) * width):
                    out[i, f] += w * x[j, f]


@njit(cache=True, nogil=True)
def segment_weighted_backward(
    grad: Array, weight: Array, rows: Rows, out: Array
) -> None:
    """Add to `out` [n, F] the gradient by `x` of `segment_weighted`."""
    starts, ends, indices = rows
    heads = weight.shape[1]
    width = out.shape[1] // heads
    for i in range(grad.shape[0]):
        start, end = starts[i], ends[i]
        _prefetch_rows(out, indices, start, end)
        for position in range(start, end):
            j = indices[position]
            for h in range(heads):
                w = weight[position, h]
                for f in range(h * width, (h + 1) * width):
                    out[j, f] += w * grad[i, f]


@njit(cache=True, nogil=True, inline="always")
def _dot(a: Array, i: int, b: Array, j: int, first: int, last: int) -> float:
    """Return the product of two rows' channels, in four interleaved sums."""
    s0 = s1 = s2 = s3 = a.dtype.type(0)
    whole = last - (last - first) % 4
    for f in range(first, whole, 4):
        s0 += a[i, f] * b[j, f]
        s1 += a[i, f + 1] * b[j, f + 1]
        s2 += a[i, f + 2] * b[j, f + 2]
        s3 += a[i, f + 3] * b[j, f + 3]
    for f in range(whole, last):
        s0 += a[i, f] * b[j, f]
    return (s0 + s1) + (s2 + s3)


@njit(cache=True, nogil=True)
def segment_weighted_backward_weight(
    grad: Array, x: Array, rows: Rows, out: Array
) -> None:
    """Write to `out` [L, H] the gradient by `weight` of `segment_weighted`."""
    starts, ends, indices = rows
    heads = out.shape[1]
    width = x.shape[1] // heads
    for i in range(grad.shape[0]):
        start, end = starts[i], ends[i]
        _prefetch_rows(x, indices, start, end)
        for position in range(start, end):
            j = indices[position]
            for h in range(heads):
                first = h * width
                out[position, h] = _dot(grad, i, x, j, first, first + width)


@njit(cache=True, nogil=True)
def edge_add(source: Array, target: Array, rows: Rows, out: Array) -> None:
    """Write ``source[j] + target[i]`` of each edge j -> i to `out` [L, H]."""
    starts, ends, indices = rows
    for i in range(len(starts)):
        for position in range(starts[i], ends[i]):
            for h in range(out.shape[1]):
                out[position, h] = source[indices[position], h] + target[i, h]


@njit(cache=True, nogil=True)
def edge_add_backward(
    grad: Array,
    rows: Rows,
    grad_source: Array,
    grad_target: Array,
) -> None:
    """Add to `grad_source` [n, H] and `grad_target` [r, H] those of `edge_add`."""
    starts, ends, indices = rows
    for i in range(len(starts)):
        for position in range(starts[i], ends[i]):
            for h in range(grad.shape[1]):
                grad_source[indices[position], h] += grad[position, h]
                grad_target[i, h] += grad[position, h]


@njit(cache=True, nogil=True)
def subtract_row_max(x: Array, rows: Rows, out: Array) -> None:
    """Write to `out` [L, H] the entries of `x` [L, H] less their row's maximum."""
    starts, ends, _ = rows
    for i in range(len(starts)):
        for h in range(x.shape[1]):
            top = x.dtype.type(-np.inf)
            for position in range(starts[i], ends[i]):
                top = max(top, x[position, h])
            for position in range(starts[i], ends[i]):
                out[position, h] = x[position, h] - top


@njit(cache=True, nogil=True)
def divide_by_row_sum(x: Array, rows: Rows) -> None:
    """Divide, in place, the entries of `x` [L, H] by their row's sum."""
    starts, ends, _ = rows
    for i in range(len(starts)):
        for h in range(x.shape[1]):
            total = x.dtype.type(0)
            for position in range(starts[i], ends[i]):
                total += x[position, h]
            for position in range(starts[i], ends[i]):
                x[position, h] /= total


@njit(cache=True, nogil=True)
def softmax_backward(grad: Array, alpha: Array, rows: Rows, out: Array) -> None:
    """Write to `out` [L, H] the gradient of a softmax over rows with result `alpha`."""
    starts, ends, _ = rows
    for i in range(len(starts)):
        for h in range(grad.shape[1]):
            total = grad.dtype.type(0)
            for position in range(starts[i], ends[i]):
                total += grad[position, h] * alpha[position, h]
            for position in range(starts[i], ends[i]):
                out[position, h] = alpha[position, h] * (grad[position, h] - total)
