"""The edge weights of a GCN, defined once for all places that compute them.

The weight of edge j -> i is ``w / sqrt((s_i + 1) (s_j + 1)) * degree_i / k_i`` with *s*
the weighted degree and *k* the number of neighbours the row has here; the self loop,
which would weigh ``1 / (s_i + 1)``, is not among the edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows

Array = np.ndarray


def weights_or_empty(weights: Array | None) -> Array:
    """Return weights as kernels take them: float32 [0] where every edge weighs 1."""
    return np.empty(0, np.float32) if weights is None else weights


@njit(cache=True, nogil=True)
def _scale(degree: int, count: int, weighted_degree: float) -> float:
    """Return a destination's share of its edges' weights; 0 where it has none."""
    if count == 0 or weighted_degree <= -1:
        return 0.0
    return degree / count / np.sqrt(np.float64(weighted_degree) + 1.0)


@njit(cache=True, nogil=True)
def _weight(weight: Any, scale: float, weighted_degree: float) -> float:
    """Return the weight of an edge from a source of the given weighted degree."""
    total = np.float64(weighted_degree) + 1.0
    if total > 0 and scale != 0:
        return np.float64(weight) * scale / np.sqrt(total)
    return 0.0


@njit(cache=True, nogil=True)
def edge_coefficients(
    rows: Rows, weight: Array, degree: Array, weighted_degree: Array, out: Array
) -> None:
    """Write to `out` [L] the weight of each edge of some rows."""
    starts, ends, indices = rows
    for i in range(len(starts)):
        scale = _scale(degree[i], ends[i] - starts[i], weighted_degree[i])
        for e in range(starts[i], ends[i]):
            w = weight[e] if len(weight) else np.float32(1)
            out[e] = _weight(w, scale, weighted_degree[indices[e]])


@njit(cache=True, nogil=True)
def scale_rows(rows: Rows, factor: Array, values: Array, out: Array) -> None:
    """Write to `out` [L] the edges' `values` [L], times their row's `factor` [r]."""
    starts, ends, _ = rows
    for i in range(len(starts)):
        for e in range(starts[i], ends[i]):
            out[e] = values[e] * factor[i]


@njit(cache=True, nogil=True)
def row_scales(
    starts: Array, ends: Array, degree: Array, weighted_degree: Array
) -> Array:
    """Return float64 [r], each destination's share of its edges' weights."""
    out = np.empty(len(starts), np.float64)
    for i in range(len(starts)):
        out[i] = _scale(degree[i], ends[i] - starts[i], weighted_degree[i])
    return out


@njit(cache=True, nogil=True)
def group_coefficients(
    starts: Array, scale: Array, weight: Array, weighted_degree: Array
) -> Array:
    """Return float32 [M], the weights of groups' edges.

    Parameters
    ----------
    starts : int64 [G + 1]
    scale : float64 [G]
        The destinations' `row_scales`.
    weight : float32 [M] or [0]
        The edges' weights; empty where all weigh 1.
    weighted_degree : float32 [M]
        The members' weighted degrees.
    """
    out = np.empty(len(weighted_degree), np.float32)
    for g in range(len(scale)):
        for m in range(starts[g], starts[g + 1]):
            w = weight[m] if len(weight) else np.float32(1)
            out[m] = _weight(w, scale[g], weighted_degree[m])
    return out


@njit(cache=True, nogil=True)
def add_self_loops(out: Array, own: Array, weighted_degree: Array) -> None:
    """Add to `out` [r, F] the rows' `own` features with their self loops' weights."""
    for i in range(out.shape[0]):
        loop = weighted_degree[i] + np.float32(1)
        if loop > 0:
            for f in range(out.shape[1]):
                out[i, f] += own[i, f] / loop
        else:
            for f in range(out.shape[1]):
                out[i, f] += np.float32(0)
