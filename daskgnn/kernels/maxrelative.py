"""Max-relative features of the nodes of many small graphs, all of the same size.

Shapes: B graphs, N nodes of x, M nodes of y, k neighbours, C channels.
"""

from __future__ import annotations

import numpy as np

from daskgnn.kernels.jit import njit

Array = np.ndarray


@njit(cache=True, nogil=True)
def max_relative(x: Array, y: Array, index: Array, out: Array, which: Array) -> None:
    """Write each node's own channels and the largest difference to its neighbours.

    Row *i* of graph *b* of `out` [B, N, 2 C] is ``x[b, i, c]`` and ``max over j of
    y[b, index[b, i, j], c] - x[b, i, c]`` for each channel in turn. The largest
    difference is to the largest neighbour: rounding keeps the order.

    Parameters
    ----------
    x, y
        [B, N, C] and [B, M, C].
    index
        int64 [B, N, k], rows of `y`.
    out
        [B, N, 2 C], written.
    which
        int32 [B, N, C], written: the row of `y` that is the largest; of several, the
        first of the index.
    """
    graphs, nodes, channels = x.shape
    largest = np.empty(channels, x.dtype)
    for b in range(graphs):
        for i in range(nodes):
            first = index[b, i, 0]
            for c in range(channels):
                largest[c] = y[b, first, c]
                which[b, i, c] = first
            for j in range(1, index.shape[2]):
                node = index[b, i, j]
                for c in range(channels):
                    value = y[b, node, c]
                    larger = value > largest[c]
                    largest[c] = value if larger else largest[c]
                    which[b, i, c] = node if larger else which[b, i, c]
            for c in range(channels):
                out[b, i, 2 * c] = x[b, i, c]
                out[b, i, 2 * c + 1] = largest[c] - x[b, i, c]


@njit(cache=True, nogil=True)
def max_relative_backward(grad: Array, which: Array, by_x: Array, by_y: Array) -> None:
    """Add the gradients by x [B, N, C] and by y [B, M, C].

    Parameters
    ----------
    grad
        [B, N, 2 C], of the result.
    which
        As `max_relative` wrote it.
    by_x, by_y
        Added to; the same array where y is x.
    """
    graphs, nodes, channels = which.shape
    for b in range(graphs):
        for i in range(nodes):
            for c in range(channels):
                relative = grad[b, i, 2 * c + 1]
                by_x[b, i, c] += grad[b, i, 2 * c] - relative
                by_y[b, which[b, i, c], c] += relative
