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
from daskgnn.kernels.prefetch import AHEAD, prefetch_row
from daskgnn.kernels.segment import Array

AGGREGATIONS = ("sum", "mean", "max", "gcn")
"""What `aggregate_grouped` computes; "gcn" is the sum weighted by `weight`."""

_SHORT = 48


def frozen(array: Array, dtype: type | None = None) -> Array:
    """Return a C-contiguous read-only view (or copy) of `array`.

    Numba compiles a kernel once for each combination of writeable and read-only
    arguments; inputs that always are read-only need one.
    """
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


@njit(cache=True, nogil=True)
def _stable_order(parts: Array, size: int, order: Array, counts: Array) -> None:
    """Sort 0 .. size - 1 by ``parts``, stably, into `order`."""
    if size <= _SHORT:
        for k in range(size):
            key, at = parts[k], k
            while at > 0 and parts[order[at - 1]] > key:
                order[at] = order[at - 1]
                at -= 1
            order[at] = k
        return
    counts[:] = 0
    for k in range(size):
        counts[parts[k] + 1] += 1
    for part in range(1, len(counts)):
        counts[part] += counts[part - 1]
    for k in range(size):
        order[counts[parts[k]]] = k
        counts[parts[k]] += 1


@njit(cache=True, nogil=True)
def _line_up(
    starts: Array,
    ends: Array,
    indices: Array,
    owner: Array,
    row: Array,
    weight: Array,
    parts: Array,
    picks: Array,
    factors: Array,
) -> None:
    """Fill `parts`, `picks` and `factors` with all rows' neighbours, by owner.

    These are the owners, the table rows and the weights, row after row.
    """
    weighted = len(weight) > 0
    longest = num_parts = 0
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    for j in range(len(owner)):
        num_parts = max(num_parts, owner[j] + 1)
    before, order = np.empty(longest, np.int32), np.empty(longest, np.int64)
    counts = np.empty(num_parts + 1, np.int64)
    base = 0
    for i in range(len(starts)):
        start, size = starts[i], ends[i] - starts[i]
        mixed = False
        for k in range(size):
            before[k] = owner[indices[start + k]]
            order[k] = k
            mixed |= before[k] != before[0]
        if mixed:
            _stable_order(before, size, order, counts)
        for k in range(size):
            position = start + order[k]
            parts[base + k] = before[order[k]]
            picks[base + k] = row[indices[position]]
            factors[base + k] = weight[position] if weighted else np.float32(1)
        base += size


@njit(cache=True, nogil=True, inline="always")
def _sum_group(
    out: Array,
    i: int,
    table: Array,
    picks: Array,
    factors: Array,
    first: int,
    last: int,
) -> None:
    """Write to ``out[i]`` the weighted sum of the rows ``picks[first:last]``.

    Two rows are read at a time, for the memory's sake; they are added one by one.
    """
    channels = out.shape[1]
    a, wa = picks[first], factors[first]
    for f in range(channels):
        out[i, f] = wa * table[a, f]
    k = first + 1
    while k + 1 < last:
        a, wa = picks[k], factors[k]
        b, wb = picks[k + 1], factors[k + 1]
        for f in range(channels):
            out[i, f] = (out[i, f] + wa * table[a, f]) + wb * table[b, f]
        k += 2
    if k < last:
        a, wa = picks[k], factors[k]
        for f in range(channels):
            out[i, f] += wa * table[a, f]


@njit(cache=True, nogil=True, inline="always")
def _max_group(
    out: Array, i: int, table: Array, picks: Array, first: int, last: int
) -> None:
    """Write to ``out[i]`` the channel-wise maximum of the rows ``picks[first:last]``."""
    a = picks[first]
    for f in range(out.shape[1]):
        out[i, f] = table[a, f]
    for k in range(first + 1, last):
        a = picks[k]
        for f in range(out.shape[1]):
            value = table[a, f]
            out[i, f] = value if value > out[i, f] else out[i, f]


@njit(cache=True, nogil=True, inline="always")
def _reduce_group(
    out: Array,
    i: int,
    table: Array,
    picks: Array,
    factors: Array,
    first: int,
    last: int,
    maximum: bool,
) -> None:
    """Write to ``out[i]`` one owner's group, reduced."""
    if maximum:
        _max_group(out, i, table, picks, first, last)
    else:
        _sum_group(out, i, table, picks, factors, first, last)


@njit(cache=True, nogil=True, inline="always")
def _add_group(out: Array, i: int, group: Array, maximum: bool) -> None:
    """Combine a later group's result ``group[0]`` with what ``out[i]`` holds."""
    if maximum:
        for f in range(out.shape[1]):
            value = group[0, f]
            out[i, f] = value if value > out[i, f] else out[i, f]
    else:
        for f in range(out.shape[1]):
            out[i, f] += group[0, f]


@njit(cache=True, nogil=True)
def _grouped(
    starts: Array,
    ends: Array,
    parts: Array,
    picks: Array,
    factors: Array,
    local_owner: int,
    local: Array,
    received: Array,
    maximum: bool,
    mean: bool,
    out: Array,
) -> None:
    group = np.empty((1, out.shape[1]), np.float32)
    stop = 0
    for i in range(len(starts)):
        begin, stop = stop, stop + ends[i] - starts[i]
        for k in range(begin + AHEAD, min(stop + AHEAD, len(picks))):
            if parts[k] == local_owner:
                prefetch_row(local, picks[k])
            else:
                prefetch_row(received, picks[k])
        if begin == stop:
            out[i, :] = 0
            continue
        first = begin
        while first < stop:
            last = first + 1
            while last < stop and parts[last] == parts[first]:
                last += 1
            to, at = (out, i) if first == begin else (group, 0)
            if parts[first] == local_owner:
                _reduce_group(to, at, local, picks, factors, first, last, maximum)
            else:
                _reduce_group(to, at, received, picks, factors, first, last, maximum)
            if first > begin:
                _add_group(out, i, group, maximum)
            first = last
        if mean:
            count = np.float32(stop - begin)
            for f in range(out.shape[1]):
                out[i, f] /= count


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
    _line_up(
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
    _grouped(
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
