"""Squared norms of the columns of a graph's normalised adjacency, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.hops import frozen_all
from daskgnn.kernels.jit import njit
from daskgnn.kernels.layerrows import add_squares, column_factors, row_factors

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock

_ENTRIES = 2**24
"""About how many entries of other parts are in memory at a time."""


def column_norms(block: AdjacencyBlock, source: Any, norm: str) -> np.ndarray:
    """Return float64 [n], the squared norm of the column of each of a part's nodes.

    Parameters
    ----------
    block
        The part's rows.
    source
        Where other parts' rows, or just their degrees, are read from: a `GraphSource`.
    norm
        Which adjacency: see `daskgnn.kernels.layerrows.row_factors`.
    """
    known = source.schema
    weighs = known.weighted and norm == "gcn"
    if known.directed or weighs or not block.is_whole:
        sums = _of_all_rows(block, source, norm)
    else:
        # Of an undirected graph, a node's row lists the rows that have it as column.
        degree = source.degrees(block.indices)
        factors = row_factors(norm, degree, degree)
        sums = np.zeros(block.num_rows)
        _add_row_sums(frozen(block.indptr), frozen(factors), sums)
    return sums * column_factors(norm, _weighted_degree(block))


def _weighted_degree(block: AdjacencyBlock) -> np.ndarray:
    return block.degree if block.weights is None else block.weighted_degree


def _of_all_rows(block: AdjacencyBlock, source: Any, norm: str) -> np.ndarray:
    """Add up the columns of the part's nodes over all rows of the graph."""
    known = source.schema
    sums = np.zeros(block.num_rows + 1)
    share = known.num_nodes / max(known.num_edges, 1)
    step = max(int(_ENTRIES * min(share, 1.0)), 1)
    for start in range(0, known.num_nodes, step):
        rows = source.load_rows(start, min(start + step, known.num_nodes))
        # Columns of other parts count at the last place, which is left out.
        own = rows.indices.astype(np.int64) - block.start
        own[(own < 0) | (own >= block.num_rows)] = block.num_rows
        factors = row_factors(norm, rows.degree, _weighted_degree(rows))
        weights = rows.weights if norm == "gcn" else None
        given = own, rows.indptr, factors, weights_or_empty(weights)
        add_squares(frozen_all(given), sums)
    return sums[:-1]


@njit(cache=True, nogil=True)
def _add_row_sums(indptr: Any, values: Any, sums: Any) -> None:
    """Add to `sums` [n] the `values` [E] of each row."""
    for i in range(len(sums)):
        for e in range(indptr[i], indptr[i + 1]):
            sums[i] += values[e]
