"""Sums over the rows of a block whose neighbours count by a factor each.

As in `daskgnn.kernels.segment`, every kernel is serial and adds in a fixed order. Rows
of numbers are float32, float64, or the bits of bfloat16 (see `bfloat`); factors have
the type of the sums. Shapes: n sources, r rows, E edges, L the length of `indices`, F
channels.
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


@njit(cache=True, nogil=True)
def scaled_sum(x: Array, factors: Array, rows: Rows, out: Array) -> None:
    """Write each row's sum of neighbours in `x` [n, F], times `factors`, to `out`.

    `factors` [L] stand at the neighbours' places in `indices`, `out` is [r, F]. A row
    without neighbours gives zeros. Two neighbours are read at a time, for the memory's
    sake, and added one by one.
    """
    starts, ends, indices = rows
    for i in range(out.shape[0]):
        start, end = starts[i], ends[i]
        for k in range(start + AHEAD, min(end + AHEAD, len(indices))):
            prefetch_row(x, indices[k])
        out[i, :] = 0
        for p in range(start, end - 1, 2):
            j, k, a, b = indices[p], indices[p + 1], factors[p], factors[p + 1]
            for f in range(out.shape[1]):
                out[i, f] = (out[i, f] + a * read(x[j, f])) + b * read(x[k, f])
        if (end - start) % 2:
            j, a = indices[end - 1], factors[end - 1]
            for f in range(out.shape[1]):
                out[i, f] += a * read(x[j, f])


@njit(cache=True, nogil=True)
def transpose_edges(
    rows: Rows, factors: Array, num_src: int
) -> tuple[Array, Array, Array]:
    """Return the rows that each source is in, and its factor in each.

    They are int64 [n + 1] bounds, int32 [E] rows, ascending for each source, and [E]
    factors.
    """
    starts, ends, indices = rows
    bounds = np.zeros(num_src + 1, np.int64)
    for i in range(len(starts)):
        for p in range(starts[i], ends[i]):
            bounds[indices[p] + 1] += 1
    for j in range(num_src):
        bounds[j + 1] += bounds[j]
    place = bounds[:-1].copy()
    out = np.empty(bounds[num_src], np.int32)
    out_factors = np.empty(bounds[num_src], factors.dtype)
    for i in range(len(starts)):
        for p in range(starts[i], ends[i]):
            j = indices[p]
            out[place[j]], out_factors[place[j]] = i, factors[p]
            place[j] += 1
    return bounds, out, out_factors


@njit(cache=True, nogil=True)
def scaled_sum_backward(
    grad: Array, bounds: Array, rows: Array, factors: Array, rooted: bool, out: Array
) -> None:
    """Write the gradient of `scaled_sum` by the sources to `out` [n, F].

    Parameters
    ----------
    grad : [r, F], or [r, 2 F] if `rooted`
    bounds, rows, factors
        See `transpose_edges`.
    rooted
        End with the gradient by the row's own node: the right half of `grad`.
    """
    width = out.shape[1]
    total = np.empty(width, factors.dtype)
    for j in range(out.shape[0]):
        total[:] = 0
        for place in range(bounds[j], bounds[j + 1]):
            i, factor = rows[place], factors[place]
            for f in range(width):
                total[f] += factor * read(grad[i, f])
        if rooted and j < grad.shape[0]:
            for f in range(width):
                total[f] += read(grad[j, width + f])
        for f in range(width):
            out[j, f] = written(total[f], out[j, f])
