"""The first layer's aggregation, straight from feature tables, and row gathering.

Where a model's first layer reduces raw features without parameters, its result is
*defined* as: a row's neighbours grouped by owner part, each group reduced in
neighbour order in float32, the groups combined in ascending part order. Whoever
computes it, in whatever order rows arrived, gets the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.coefficients import (
    edge_coefficients,
    scale_rows,
    weights_or_empty,
)
from daskgnn.kernels.grouped import reduce_grouped
from daskgnn.kernels.rows import TAG, Place, copy_rows

Array = np.ndarray

AGGREGATIONS = ("sum", "mean", "max", "gcn")
"""What `aggregate_grouped` computes; "gcn" is the sum weighted by `weight`."""


def frozen(array: Array, dtype: type | None = None) -> Array:
    """Return a C-contiguous read-only view (or copy) of `array`.

    Numba compiles a kernel once for each combination of writeable and read-only
    arguments; inputs that always are read-only need one.
    """
    flags = array.flags
    if (
        flags.c_contiguous
        and not flags.writeable
        and array.dtype == (dtype or array.dtype)
    ):
        return array
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


class Rows(NamedTuple):
    """Row *i* is ``indices[starts[i]:ends[i]]``."""

    starts: Array
    """int64 [r]."""
    ends: Array
    """int64 [r]."""
    indices: Array
    """int32 [L]."""

    @classmethod
    def of(cls, starts: Array, ends: Array, indices: Array, *_: Any) -> Rows:
        """Return rows as kernels take them; what follows is left out."""
        kinds = (np.int64, np.int64, np.int32)
        return cls(*map(frozen, (starts, ends, indices), kinds))


@dataclass(frozen=True)
class Sources:
    """Where the rows of source nodes lie, and who owns them.

    Good as long as it lives, in the process that made it.
    """

    numbers: Array
    """int64 [n], owner and address: see `daskgnn.kernels.grouped.reduce_grouped`."""
    tables: tuple[Array, ...]
    """The tables [*, F] that hold the rows, all of one dtype; at least one."""
    ready: Array = field(default_factory=lambda: np.zeros((1, 2), np.int64))
    """int64 [P, 2], by owner: the address of the next group (float32 [F]) that it has
    reduced, and where they end; the former moves on as they are used."""

    @classmethod
    def in_table(cls, table: Array, row: Array) -> Sources:
        """Return sources of one owner: those `row` (int64 [n]) of a table."""
        table = np.ascontiguousarray(table)
        return cls(table.ctypes.data + row * table.strides[0], (table,))

    @classmethod
    def in_two_tables(
        cls, owner: Array, row: Array, local_owner: int, local: Array, received: Array
    ) -> Sources:
        """Return sources whose rows lie in `local` if `local_owner` owns them.

        Parameters
        ----------
        owner, row
            int [n], the part that owns each source and its row in its table.
        local, received
            [m, F] tables of one dtype: see `daskgnn.kernels.half`.
        """
        tables = np.ascontiguousarray(local), np.ascontiguousarray(received)
        base = np.where(
            owner == local_owner, tables[0].ctypes.data, tables[1].ctypes.data
        )
        address = base + row.astype(np.int64) * (local.shape[1] * local.itemsize)
        return cls((owner.astype(np.int64) << TAG) | address, tables)


def aggregate_grouped(
    rows: Rows,
    sources: Sources,
    op: str,
    out: Array,
    weight: Array | None = None,
) -> Array:
    """Reduce each destination's neighbours, grouped by the part that owns them.

    Parameters
    ----------
    rows
        The neighbours of each row, as numbers of sources.
    sources
        Where the *n* sources' rows lie; `ready` moves on.
    op
        "sum", "mean", "max" or "gcn" (the sum weighted by `weight`).
    out
        float32, or uint16 for bfloat16 bits, [r, F], each row in one piece; written.
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
    ValueError
        If a row is nowhere and its group is not ready.
    """
    if op not in AGGREGATIONS:
        raise InputError(f"op is {op!r}, expected one of {', '.join(AGGREGATIONS)}")
    if op == "gcn" and weight is None:
        raise InputError('op "gcn" needs weight=gcn_coefficients(...)')
    used = weights_or_empty(weight if op == "gcn" else None)
    lacking = reduce_grouped(
        Rows.of(*rows),
        frozen(sources.numbers, np.int64),
        frozen(sources.tables[0]),
        frozen(used, np.float32),
        sources.ready,
        op == "max",
        op == "mean",
        _place(out),
    )
    if lacking:
        raise ValueError(f"{lacking} groups of neighbours were not received")
    return out


def _place(out: Array) -> Place:
    """Return where rows are written.

    One compiled kernel then serves contiguous rows and others.
    """
    assert not len(out) or out.strides[1] == out.itemsize
    return out.ctypes.data, out.strides[0], out.shape[1], out.dtype.type(0)


def gather_rows(sources: Sources, out: Array) -> Array:
    """Write the rows of sources 0 .. len(out) - 1 to `out` [n, F] and return it.

    `out` is float32 or uint16 (bfloat16 bits), whatever the rows are.

    Raises
    ------
    ValueError
        If a row is nowhere.
    """
    numbers = frozen(sources.numbers, np.int64)
    lacking = copy_rows(numbers, frozen(sources.tables[0]), len(out), _place(out))
    if lacking:
        raise ValueError(f"{lacking} rows were not received")
    return out


def edge_scales(
    rows: Rows, mean_weights: Array | None, degree: Array, op: str
) -> Array | None:
    """Return what each neighbour is multiplied by in a "sum" or "mean" of sampled rows.

    Parameters
    ----------
    mean_weights
        float32 [L]: see `daskgnn.kernels.sampled.LocalRows`; or None.
    degree
        int64 [>= r], neighbours of each row in the whole graph.
    op
        "sum", "mean" or "max".

    Returns
    -------
    numpy.ndarray or None
        float32 [L]; None where all neighbours of a row count alike.
    """
    if mean_weights is None or op == "max":
        return None
    if op == "mean":
        return mean_weights
    out = np.zeros(len(rows.indices), np.float32)
    factor = frozen(degree[: len(rows.starts)], np.float64)
    scale_rows(Rows.of(*rows), factor, frozen(mean_weights, np.float32), out)
    return out


def gcn_coefficients(
    rows: Rows,
    edge_weight: Array | None,
    degree: Array,
    weighted_degree: Array,
    mean_weights: Array | None = None,
) -> Array:
    """Return the GCN weight of each edge, scaled for sampled rows.

    See `daskgnn.kernels.coefficients` for the definition.

    Parameters
    ----------
    edge_weight
        float32 [L], or None where every edge weighs 1.
    degree
        int64 [>= r], neighbours of each row in the whole graph.
    weighted_degree
        float32 [>= n], sum of the in-edges' weights of each source.
    mean_weights
        float32 [L], where neighbours do not count alike: see
        `daskgnn.kernels.sampled.LocalRows`.

    Returns
    -------
    numpy.ndarray
        float32 [L]; zero at places that belong to no row.
    """
    out = np.zeros(len(rows.indices), np.float32)
    edge_coefficients(
        Rows.of(*rows),
        frozen(weights_or_empty(edge_weight), np.float32),
        frozen(degree, np.int64),
        frozen(weighted_degree, np.float32),
        out,
    )
    if mean_weights is not None:
        out *= frozen(mean_weights, np.float32)
        counts = (rows.ends - rows.starts).astype(np.float64)
        scale_rows(Rows.of(*rows), frozen(counts), frozen(out), out)
    return out
