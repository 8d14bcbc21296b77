"""Subgraphs that sets of nodes induce: the nodes, and all edges between them.

An owner keeps of its rows the neighbours that are in a subgraph, as their places among
its nodes (`induced_rows`). A part joins the subgraphs of a step to one sampled graph,
training nodes first (`join_subgraphs`).

Shapes: n nodes and e edges of a subgraph, r of its nodes in one part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.idset import IdSet, count_bits
from daskgnn.kernels.jit import njit
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.sampled import LocalRows, SampledGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daskgnn.kernels.entries import PartRows

Array = np.ndarray


@dataclass(frozen=True)
class NodeSets(ArrayRecord):
    """A set of nodes, or of clusters, for each of S subgraphs."""

    ids: np.ndarray
    """int [*], set after set, each ascending."""
    offsets: np.ndarray
    """int64 [S + 1], where each set begins."""

    def __len__(self) -> int:
        """S."""
        return len(self.offsets) - 1

    def of(self, number: int) -> np.ndarray:
        """Return one of the sets."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    @classmethod
    def join(cls, sets: Sequence[np.ndarray], dtype: Any) -> NodeSets:
        """Return the sets as one record, their ids of type `dtype`."""
        joined = np.concatenate([np.empty(0, dtype), *sets])
        return cls(joined.astype(dtype, copy=False), offsets([len(s) for s in sets]))


@dataclass(frozen=True)
class InducedRows(ArrayRecord):
    """The rows that one part has of a subgraph, in storage order."""

    counts: np.ndarray
    """int64 [r], edges of each row."""
    columns: np.ndarray
    """int32 [*], the neighbours, as places among the subgraph's nodes."""
    weights: np.ndarray | None
    """float32 [*], their edges' weights; None if every edge has weight 1."""
    mean_weights: np.ndarray | None
    """float32 [*]: see `daskgnn.kernels.sampled.LocalRows`."""
    original_ids: np.ndarray
    """int64 [r]"""
    degree: np.ndarray
    """int64 [r], in-neighbours in the whole graph."""
    weighted_degree: np.ndarray
    """float32 [r], sum of the in-edges' weights in the whole graph."""
    is_seed: np.ndarray
    """bool [r], which are training nodes."""
    target_weights: np.ndarray | None = None
    """float32 [r], what the loss of a training node is multiplied by, or None."""


@dataclass(frozen=True)
class SubgraphRows:
    """An owner's answer: its rows of each subgraph, None where it was not asked."""

    subgraphs: tuple[InducedRows | None, ...]

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return sum(rows.nbytes for rows in self.subgraphs if rows is not None)


@dataclass(frozen=True)
class Counts(ArrayRecord):
    """In how many of some subgraphs the nodes and edges of a part's rows were."""

    nodes: np.ndarray
    """int32 [rows of the part]"""
    edges: np.ndarray
    """int32 [edges of these rows]"""


@njit(cache=True, nogil=True, inline="always")
def _place_of(words: Array, before: Array, node: Any) -> Any:
    """Return how many nodes of a set are below `node`, and 1 if it is one, else 0."""
    word, shift = words[node >> 6], np.uint64(node & 63)
    below = word & ((np.uint64(1) << shift) - np.uint64(1))
    place = before[node >> 6] + np.int64(count_bits(below))
    return place, np.int64((word >> shift) & np.uint64(1))


@njit(cache=True, nogil=True)
def _keep_members(
    starts: Array, counts: Array, edges: Any, members: Any, out: Any
) -> int:
    """Write the neighbours of rows that are in a set of nodes; return how many.

    Parameters
    ----------
    starts, counts : int64 [r]
        Where each row begins, and its length.
    edges : int [*], float32 [* or 0]
        Neighbours, and weights if there are any.
    members : uint64 [*], int64 [*]
        See `daskgnn.kernels.idset.IdSet`, from node 0 on.
    out : int64 [r], int32 [sum(counts)], float32 [likewise or 0]
        Kept neighbours of each row, their places in the set, and weights.
    """
    indices, weights = edges
    words, before = members
    out_counts, out_places, out_weights = out
    total = 0
    for i in range(len(starts)):
        first = total
        for e in range(starts[i], starts[i] + counts[i]):
            # Always written, and counted if it belongs: avoids a branch.
            place, belongs = _place_of(words, before, np.int64(indices[e]))
            out_places[total] = place
            if len(weights):
                out_weights[total] = weights[e]
            total += belongs
        out_counts[i] = total - first
    return total


def whole_rows(rows: PartRows, own: np.ndarray) -> tuple[Array, Array, Array | None]:
    """Return where some rows begin, and the neighbours and weights they point into.

    Parameters
    ----------
    own : int64 [r]
        Rows, counted from the part's first one. They are read where they are on demand.
    """
    block = rows.block
    if block.reader is None:
        return block.indptr[own], block.indices, block.weights
    counts = block.indptr[own + 1] - block.indptr[own]
    starts = offsets(counts)
    slots = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
    found = rows.entries(np.repeat(own, counts), slots)
    return starts[:-1], found.columns, found.weights


def induced_rows(rows: PartRows, members: IdSet, own: np.ndarray) -> InducedRows:
    """Return a part's rows of a subgraph, with the neighbours that are in it.

    Parameters
    ----------
    rows : PartRows
        Of the part; its data have "is_train", bool [rows].
    members : IdSet
        The subgraph's nodes, in a set from node 0 on.
    own : int64 [r]
        Those that the part owns, ascending, counted from its first row.
    """
    block = rows.block
    starts, indices, weights = whole_rows(rows, own)
    degree = block.indptr[own + 1] - block.indptr[own]
    # Room for all neighbours: what is not written takes no memory.
    room, counts = int(degree.sum()), np.empty(len(own), np.int64)
    columns = np.empty(room, np.int32)
    kept = np.empty(0 if weights is None else room, np.float32)
    count = int(
        _keep_members(
            frozen(starts, np.int64),
            frozen(degree, np.int64),
            (frozen(indices), frozen(weights_or_empty(weights), np.float32)),
            (members.words, members.before),
            (counts, columns, kept),
        )
    )
    return InducedRows(
        counts,
        columns[:count],
        None if weights is None else kept[:count],
        None,
        block.original_ids[own],
        degree,
        block.weighted_degree[own],
        rows.data["is_train"][own],
    )


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
    ids, is_seed = np.concatenate([ids for ids, _ in kept]), _joined(pieces, "is_seed")
    numbers, order = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    seeds = int(_seeds_first(frozen(is_seed), numbers, order))
    indptr = offsets(_joined(pieces, "counts")[order])
    sizes = (seeds, *[len(ids)] * num_layers)
    computed = order[: sizes[-2]]
    weights = _joined(pieces, "target_weights")
    return SampledGraph(
        ids[order].astype(dtype, copy=False),
        sizes,
        (_local_rows(kept, numbers, indptr),),
        _joined(pieces, "original_ids")[computed],
        _joined(pieces, "degree")[computed],
        _joined(pieces, "weighted_degree")[computed],
        target_weights=None if weights is None else weights[order[:seeds]],
    )


def _joined(pieces: Sequence[InducedRows], name: str) -> Any:
    """Return an array of all pieces as one; None if they have none."""
    arrays = [getattr(piece, name) for piece in pieces]
    return None if arrays[0] is None else np.concatenate(arrays)


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
                frozen(numbers),
                frozen(indptr),
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
