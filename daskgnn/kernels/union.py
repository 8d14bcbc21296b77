"""Join the subgraphs of a step to one sampled graph, training nodes first.

Shapes: n nodes of the sampled graph, r rows and e edges of a piece of a subgraph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.jit import njit
from daskgnn.kernels.sampled import LocalRows, SampledGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daskgnn.kernels.induced import InducedRows

Array = np.ndarray


@njit(cache=True, nogil=True)
def _seeds_first(is_seed: Array, numbers: Array, order: Array) -> int:
    """Number nodes, the seeds first, else in their order; return how many are seeds.

    `numbers` (int32 [n]) gets each node's number, `order` (int64 [n]) the reverse.
    """
    count = 0
    for i in range(len(is_seed)):
        count += is_seed[i]
    seed, other = 0, count
    for i in range(len(is_seed)):
        number = seed if is_seed[i] else other
        numbers[i], order[number] = number, i
        seed += is_seed[i]
        other += not is_seed[i]
    return count


@njit(cache=True, nogil=True)
def _number_rows(
    counts: Array, edges: Any, where: Any, numbers: Array, indptr: Array, out: Any
) -> None:
    """Write rows of a subgraph to their places among all rows of a sampled graph.

    Parameters
    ----------
    counts : int64 [r]
        Edges of each row.
    edges : int32 [*], float32 [* or 0], float32 [* or 0]
        Neighbours as places in the subgraph, and what goes with them.
    where : int, int
        Places, among the nodes of the sampled graph, of the subgraph and of the first
        row.
    numbers : int32 [n]
        The number of each of these nodes.
    indptr : int64 [n + 1]
        Row pointers.
    out : int32 [E], float32 [E or 0], float32 [E or 0]
        What `edges` has, by row of the sampled graph.
    """
    columns, weights, means = edges
    out_columns, out_weights, out_means = out
    base, first = where
    e = 0
    for i in range(len(counts)):
        place = indptr[numbers[first + i]]
        for _ in range(counts[i]):
            out_columns[place] = numbers[base + columns[e]]
            if len(weights):
                out_weights[place] = weights[e]
            if len(means):
                out_means[place] = means[e]
            place += 1
            e += 1


def join_subgraphs(
    subgraphs: Iterable[tuple[np.ndarray, Sequence[InducedRows]]],
    num_layers: int,
    dtype: Any,
) -> SampledGraph:
    """Return the disjoint union of subgraphs, for a model of so many layers.

    Parameters
    ----------
    subgraphs
        The nodes of each, int [n], and its rows in their order, in pieces. Those
        without a training node are left out: nothing is learned from them.
    dtype
        Of storage ids.
    """
    kept = [
        (ids, pieces)
        for ids, pieces in subgraphs
        if any(piece.is_seed.any() for piece in pieces)
    ]
    pieces = [piece for _, given in kept for piece in given]
    if not pieces:
        return _empty(num_layers, dtype)
    ids, is_seed = _one([ids for ids, _ in kept]), _joined(pieces, "is_seed")
    numbers, order = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    seeds = int(_seeds_first(frozen(is_seed), numbers, order))
    sizes = (seeds, *[len(ids)] * num_layers)
    indptr, storage_ids = np.empty(len(ids) + 1, np.int64), np.empty(len(ids), dtype)
    original_ids, degree = np.empty((2, sizes[-2]), np.int64)
    weighted_degree = np.empty(sizes[-2], np.float32)
    names = ("counts", "original_ids", "degree", "weighted_degree")
    _reorder(
        order,
        (frozen(ids), *(frozen(_joined(pieces, name)) for name in names)),
        (storage_ids, indptr, original_ids, degree, weighted_degree),
    )
    weights = _joined(pieces, "target_weights")
    return SampledGraph(
        storage_ids,
        sizes,
        (_local_rows(kept, numbers, indptr),),
        original_ids,
        degree,
        weighted_degree,
        target_weights=None if weights is None else weights[order[:seeds]],
    )


@njit(cache=True, nogil=True)
def _reorder(order: Array, given: Any, out: Any) -> None:
    """Write what nodes have to where `order` (int64 [n]) puts them.

    Of their numbers of edges, row pointers (int64 [n + 1]) are written. `out` may have
    fewer nodes than there are of what follows.
    """
    ids, counts, original_ids, degree, weighted_degree = given
    out_ids, indptr, out_original_ids, out_degree, out_weighted_degree = out
    indptr[0] = 0
    for i in range(len(order)):
        out_ids[i], indptr[i + 1] = ids[order[i]], indptr[i] + counts[order[i]]
    for i in range(len(out_degree)):
        k = order[i]
        out_original_ids[i], out_degree[i] = original_ids[k], degree[k]
        out_weighted_degree[i] = weighted_degree[k]


def _joined(pieces: Sequence[InducedRows], name: str) -> Any:
    """Return an array of all pieces as one; None if they have none."""
    arrays = [getattr(piece, name) for piece in pieces]
    return None if arrays[0] is None else _one(arrays)


def _one(arrays: list[Any]) -> Any:
    """Return arrays one after the other; of one, the array itself."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _local_rows(
    subgraphs: Sequence[tuple[np.ndarray, Sequence[InducedRows]]],
    numbers: np.ndarray,
    indptr: np.ndarray,
) -> LocalRows:
    """Return the rows of all subgraphs, by the numbers of their nodes."""
    some, edges = subgraphs[0][1][0], int(indptr[-1])
    weights = np.empty(0 if some.weights is None else edges, np.float32)
    means = np.empty(0 if some.mean_weights is None else edges, np.float32)
    indices = np.empty(edges, np.int32)
    base = 0
    for ids, pieces in subgraphs:
        first = base
        for piece in pieces:
            others = (
                weights_or_empty(piece.weights),
                weights_or_empty(piece.mean_weights),
            )
            _number_rows(
                frozen(piece.counts, np.int64),
                (frozen(piece.columns), *map(frozen, others)),
                (base, first),
                numbers,
                indptr,
                (indices, weights, means),
            )
            first += len(piece.counts)
        base += len(ids)
    return LocalRows(
        indptr,
        indices,
        None if some.weights is None else weights,
        None if some.mean_weights is None else means,
    )


def _empty(num_layers: int, dtype: Any) -> SampledGraph:
    """Return a sampled graph without nodes."""
    none, weights = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = LocalRows(np.zeros(1, np.int64), np.empty(0, np.int32))
    sizes = (0,) * (num_layers + 1)
    return SampledGraph(none.astype(dtype), sizes, (rows,), none, none, weights)
