"""A part with all its neighbours, a run of rows at a time: memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.idset import IdSet, rank_of
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.halo import Halo

Array = np.ndarray


@dataclass(frozen=True)
class Piece:
    """A run of a part's rows, and all their neighbours."""

    first: int
    last: int
    sources: np.ndarray
    """int64 [n], numbers among the part's rows and halo: the run's rows come first."""
    indptr: np.ndarray
    """int64 [last - first + 1]"""
    indices: np.ndarray
    """int32, numbers among `sources`."""
    edge_weight: np.ndarray | None
    """float32, one for each entry of `indices`."""


def pieces(block: AdjacencyBlock, halo: Halo, most: int) -> Iterator[Piece]:
    """Yield all rows of a part, in runs.

    Parameters
    ----------
    most : int
        Rows that a run and its neighbours have together, if no two rows had a neighbour
        in common; more only for a single row.
    """
    rows_before = block.indptr + np.arange(len(block.indptr))
    first = 0
    while first < block.num_rows:
        fits = np.searchsorted(rows_before, rows_before[first] + most, side="right")
        last = min(max(int(fits) - 1, first + 1), block.num_rows)
        yield _piece(block, halo, first, last)
        first = last


def _piece(block: AdjacencyBlock, halo: Halo, first: int, last: int) -> Piece:
    """Return rows `first` to ``last - 1``."""
    entries = slice(int(block.indptr[first]), int(block.indptr[last]))
    columns, own = halo.indices[entries], np.arange(first, last)
    others = IdSet.of([columns], 0, block.num_rows + len(halo.ids), without=[own])
    indices = np.empty(len(columns), np.int32)
    _number(frozen(columns), first, last, others.words, others.before, indices)
    sources = np.concatenate([own, others.members(np.int64)])
    indptr = block.indptr[first : last + 1] - block.indptr[first]
    weights = halo.weights_of(block)
    if weights is not None:
        weights = weights[entries]
    return Piece(first, last, sources, indptr, indices, weights)


@njit(cache=True, nogil=True)
def _number(
    columns: Array, first: int, last: int, words: Array, before: Array, out: Array
) -> None:
    """Write to `out` the number of each column: own rows first, then the others."""
    for i in range(len(columns)):
        column = np.int64(columns[i])
        if first <= column < last:
            out[i] = column - first
        else:
            out[i] = last - first + rank_of(words, before, column)
