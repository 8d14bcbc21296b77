"""The first layer's aggregation, straight from feature tables, and row gathering.

Where a model's first layer reduces raw features without parameters, its result is
*defined* as: a row's neighbours grouped by owner part, each group reduced in
neighbour order in float32, the groups combined in ascending part order. Whoever
computes it, in whatever order rows arrived, gets the same bits.

Sources *j* are found by ``owner[j]`` and ``row[j]``: a row of the `local` table if
the owner is `local_owner`, else a row of the `received` table.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from daskgnn.errors import InputError
from daskgnn.kernels.grouped import line_up, reduce_grouped
from daskgnn.kernels.prefetch import AHEAD, prefetch_row

Array = np.ndarray

AGGREGATIONS = ("sum", "mean", "max", "gcn")
"""What `aggregate_grouped` computes; "gcn" is the sum weighted by `weight`."""


def frozen(array: Array, dtype: type | None = None) -> Array:
    """Return a C-contiguous read-only view (or copy) of `array`.

    Numba compiles a kernel once for each combination of writeable and read-only
    arguments; inputs that always are read-only need one.
    """
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def aggregate_grouped(
    starts: Array,
    ends: Array,
    indices: Array,
    owner: Array,
    row: Array,
    local_owner: int,
    local: Array,
    received: Array,
    op: str,
    out: Array,
    weight: Array | None = None,
) -> Array:
    """Reduce each destination's neighbours, grouped by the part that owns them.

    Parameters
    ----------
    starts, ends
        int64 [r], row *i*'s neighbours are ``indices[starts[i]:ends[i]]``.
    indices
        int32 [L], source numbers.
    owner, row
        int32 [n] and int64 [n]: the part that owns each source, and its row in
        `local` if that is `local_owner`, else in `received`.
    local_owner
        The part whose table is `local`.
    local, received
        float32 [m, F] tables; either may have no rows.
    op
        "sum", "mean", "max" or "gcn" (the sum weighted by `weight`).
    out
        float32 [r, F], written to.
    weight
        float32 [L], at the neighbours' places in `indices`; for "gcn" only.

    Returns
    -------
    numpy.ndarray
        `out`. Rows without neighbours are zero.

    Raises
    ------
    InputError
        If `op` is unknown, or weights are missing.
    """
    if op not in AGGREGATIONS:
        raise InputError(f"op is {op!r}, expected one of {', '.join(AGGREGATIONS)}")
    if op == "gcn" and weight is None:
        raise InputError('op "gcn" needs weight=gcn_coefficients(...)')
    used = weight if op == "gcn" and weight is not None else np.empty(0, np.float32)
    starts, ends = frozen(starts, np.int64), frozen(ends, np.int64)
    size = int((ends - starts).sum())
    parts, picks = np.empty(size, np.int32), np.empty(size, np.int64)
    factors = np.empty(size, np.float32)
    line_up(
        starts,
        ends,
        frozen(indices, np.int32),
        frozen(owner, np.int32),
        frozen(row, np.int64),
        frozen(used, np.float32),
        parts,
        picks,
        factors,
    )
    reduce_grouped(
        starts,
        ends,
        parts,
        picks,
        factors,
        int(local_owner),
        frozen(local, np.float32),
        frozen(received, np.float32),
        op == "max",
        op == "mean",
        out,
    )
    return out


@njit(cache=True, nogil=True)
def _gather(
    owner: Array,
    row: Array,
    local_owner: int,
    local: Array,
    received: Array,
    out: Array,
) -> None:
    for j in range(out.shape[0]):
        if j + AHEAD < out.shape[0]:
            if owner[j + AHEAD] == local_owner:
                prefetch_row(local, row[j + AHEAD])
            else:
                prefetch_row(received, row[j + AHEAD])
        k = row[j]
        if owner[j] == local_owner:
            for f in range(out.shape[1]):
                out[j, f] = local[k, f]
        else:
            for f in range(out.shape[1]):
                out[j, f] = received[k, f]


def gather_rows(
    owner: Array,
    row: Array,
    local_owner: int,
    local: Array,
    received: Array,
    out: Array,
) -> Array:
    """Write the rows of sources 0 .. len(out) - 1 to `out` [n, F] and return it.

    The arguments are those of `aggregate_grouped`; `owner` and `row` may be longer
    than `out`, which then takes their first entries.
    """
    _gather(
        frozen(owner, np.int32),
        frozen(row, np.int64),
        int(local_owner),
        frozen(local, np.float32),
        frozen(received, np.float32),
        out,
    )
    return out


@njit(cache=True, nogil=True)
def _coefficients(
    starts: Array,
    ends: Array,
    indices: Array,
    weight: Array,
    degree: Array,
    strength: Array,
    out: Array,
) -> None:
    for i in range(len(starts)):
        start, end = starts[i], ends[i]
        if start == end or strength[i] <= -1:
            continue
        scale = degree[i] / (end - start) / np.sqrt(np.float64(strength[i]) + 1.0)
        for position in range(start, end):
            total = np.float64(strength[indices[position]]) + 1.0
            w = np.float64(weight[position]) if len(weight) else 1.0
            if total > 0:
                out[position] = w * scale / np.sqrt(total)


def gcn_coefficients(
    starts: Array,
    ends: Array,
    indices: Array,
    edge_weight: Array | None,
    degree: Array,
    strength: Array,
) -> Array:
    """Return the GCN weight of each edge, scaled for sampled rows.

    The weight of edge j -> i is ``w / sqrt((s_i + 1) (s_j + 1)) * degree_i / k_i``
    with *s* the strength, *k* the number of neighbours the row has here; the self
    loop, which would weigh ``1 / (s_i + 1)``, is not among the edges.

    Parameters
    ----------
    starts, ends, indices
        The rows, as in `aggregate_grouped`.
    edge_weight
        float32 [L], or None where every edge weighs 1.
    degree
        int64 [>= r], neighbours of each row in the whole graph.
    strength
        float32 [>= n], sum of the in-edges' weights of each source.

    Returns
    -------
    numpy.ndarray
        float32 [L]; zero at places that belong to no row.
    """
    weight = np.empty(0, np.float32) if edge_weight is None else edge_weight
    out = np.zeros(len(indices), np.float32)
    _coefficients(
        frozen(starts, np.int64),
        frozen(ends, np.int64),
        frozen(indices, np.int32),
        frozen(weight, np.float32),
        frozen(degree, np.int64),
        frozen(strength, np.float32),
        out,
    )
    return out
