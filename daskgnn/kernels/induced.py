"""Subgraphs that sets of nodes induce: the nodes, and all edges between them.

An owner keeps of its rows the neighbours that are in a subgraph, as their places in its
nodes (`induced_rows`), or counts how often each edge was in one (`count_rows`). The
part that asks joins them to one sampled graph (`daskgnn.kernels.union`).

Shapes: n nodes and e edges of a subgraph, r of its nodes in one part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.idset import count_bits
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import address_of, prefetch_at
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.entries import PartRows

Array = np.ndarray
MOST, UNKNOWN = 1e4, 0.1
"""Of one over the share of subgraphs with a row's node that have an edge, too: what it
is at most, and what it is taken for where neither was drawn before."""
AHEAD, MOST_AHEAD = 8, 256
"""How many rows ahead kernels prefetch, and how many edges of each at most."""
_NONE = np.empty(0, np.int32)
_ZERO, _ONE, _S6, _LOW6 = (np.uint64(number) for number in (0, 1, 6, 63))


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


def member_words(nodes: np.ndarray, num_nodes: int) -> np.ndarray:
    """Return a set of nodes, so that one look tells a node's place in it.

    Returns
    -------
    uint64 [num_nodes / 64, 2]
        A bit a node, and the number of nodes in the words before.
    """
    out = np.zeros((-(-num_nodes // 64), 2), np.uint64)
    _mark(frozen(nodes), out)
    return frozen(out)


@njit(cache=True, nogil=True)
def _mark(nodes: Array, out: Array) -> None:
    """Write what `member_words` returns to zeros."""
    for node in nodes:
        out[np.uint64(node) >> _S6, _ZERO] |= _ONE << (np.uint64(node) & _LOW6)
    total = _ZERO
    for w in range(len(out)):
        out[w, 1] = total
        total += count_bits(out[w, 0])


def nodes_between(
    bounds: np.ndarray, members: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Return the nodes from ``bounds[m]`` to ``bounds[m + 1] - 1`` for each member.

    Parameters
    ----------
    bounds : int64 [C + 1]
        Ascending.
    members : int64 [m]
    dtype
        Of node ids.
    """
    bounds, members = frozen(bounds, np.int64), frozen(members, np.int64)
    size = bounds[members + 1].sum() - bounds[members].sum()
    out = np.empty(size, dtype)
    _fill_between(bounds, members, out)
    return out


@njit(cache=True, nogil=True)
def _fill_between(bounds: Array, members: Array, out: Array) -> None:
    place = 0
    for m in members:
        for node in range(bounds[m], bounds[m + 1]):
            out[place] = node
            place += 1


@njit(cache=True, nogil=True, inline="always")
def _place_of(members: Array, node: Any) -> Any:
    """Return how many nodes of a set are below `node`, and 1 if it is one, else 0.

    All is unsigned: no index can be negative, which would be checked for each.
    """
    w, shift = np.uint64(node) >> _S6, np.uint64(node) & _LOW6
    word = members[w, _ZERO]
    below = word & ((_ONE << shift) - _ONE)
    return members[w, _ONE] + count_bits(below), (word >> shift) & _ONE


@njit(cache=True, nogil=True, inline="always")
def _prefetch(values: Array, starts: Array, counts: Array, row: int) -> None:
    """Prefetch what a row has, if there is such a row: rows are far from each other."""
    if row < len(starts):
        nbytes = min(counts[row], MOST_AHEAD) * values.itemsize
        prefetch_at(address_of(values) + starts[row] * values.itemsize, nbytes)


@njit(cache=True, nogil=True)
def _keep_members(
    starts: Array, counts: Array, edges: Any, members: Array, marks: Any, out: Any
) -> Any:
    """Write the neighbours of rows that are in a set of nodes; return how many.

    Parameters
    ----------
    starts, counts : int64 [r]
        Where each row begins, and its length.
    edges : int [*], float32 [* or 0]
        Neighbours, and weights if there are any.
    members : uint64 [*, 2]
        See `member_words`.
    marks : int64 [r], int32 [* or 0]
        Where each row begins among numbers that edges have, and these if there are any.
    out : int64 [r], int32 [sum(counts)], float32 [likewise or 0], int32 [likewise or 0]
        Kept neighbours of each row, their places in the set, weights, and numbers.
    """
    indices, weights = edges
    mark_starts, numbers = marks
    out_counts, out_places, out_weights, out_numbers = out
    total, plain = _ZERO, not len(weights) and not len(numbers)
    for i in range(len(starts)):
        _prefetch(indices, starts, counts, i + AHEAD)
        if len(numbers):
            _prefetch(numbers, mark_starts, counts, i + AHEAD)
        begin, end = np.uint64(starts[i]), np.uint64(starts[i] + counts[i])
        first, shift = total, np.uint64(mark_starts[i]) - begin
        if plain:
            for e in range(begin, end):
                # Always written, and counted if it belongs: avoids a branch.
                place, belongs = _place_of(members, indices[e])
                out_places[total] = place
                total += belongs
            begin = end
        for e in range(begin, end):
            place, belongs = _place_of(members, indices[e])
            out_places[total] = place
            if len(weights):
                out_weights[total] = weights[e]
            if len(numbers):
                out_numbers[total] = numbers[e + shift]
            total += belongs
        out_counts[i] = total - first
    return total


@njit(cache=True, nogil=True)
def _count_members(
    starts: Array,
    counts: Array,
    indices: Array,
    members: Array,
    mark_starts: Array,
    numbers: Array,
) -> None:
    """Add 1 to the number of each edge whose neighbour is in a set: `_keep_members`."""
    for i in range(len(starts)):
        _prefetch(indices, starts, counts, i + AHEAD)
        _prefetch(numbers, mark_starts, counts, i + AHEAD)
        shift = np.uint64(mark_starts[i] - starts[i])
        for e in range(np.uint64(starts[i]), np.uint64(starts[i] + counts[i])):
            _, belongs = _place_of(members, indices[e])
            numbers[e + shift] += belongs


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


def induced_rows(rows: PartRows, members: np.ndarray, own: np.ndarray) -> InducedRows:
    """Return a part's rows of a subgraph, with the neighbours that are in it.

    Parameters
    ----------
    rows : PartRows
        Of the part; its data have "is_train", bool [rows], and may have "edge_counts"
        and "node_counts": see `count_rows`.
    members : uint64 [*, 2]
        The subgraph's nodes: see `member_words`.
    own : int64 [r]
        Those that the part owns, ascending, counted from its first row.
    """
    block, numbers = rows.block, rows.data.get("edge_counts", _NONE)
    own = frozen(own, np.int64)
    mark_starts, degree, original_ids, counts = np.empty((4, len(own)), np.int64)
    weighted, is_seed = np.empty(len(own), np.float32), np.empty(len(own), np.bool_)
    known = block.original_ids, block.weighted_degree, rows.data["is_train"]
    told = original_ids, weighted, is_seed
    given = own, frozen(block.indptr), tuple(map(frozen, known))
    # Room for all neighbours: what is not written takes no memory.
    room = int(_look_up(*given, mark_starts, degree, told))
    starts, indices, weights = mark_starts, block.indices, block.weights
    if block.reader is not None:
        starts, indices, weights = whole_rows(rows, own)
    columns = np.empty(room, np.int32)
    kept = np.empty(0 if weights is None else room, np.float32)
    seen = np.empty(room if len(numbers) else 0, np.int32)
    count = int(
        _keep_members(
            starts,
            degree,
            (frozen(indices), frozen(weights_or_empty(weights), np.float32)),
            members,
            (mark_starts, frozen(numbers)),
            (counts, columns, kept, seen),
        )
    )
    means = None
    if len(numbers):
        drawn = rows.data["node_counts"][own]
        means = mean_weights(counts, seen[:count], drawn, degree)
    return InducedRows(
        counts,
        columns[:count],
        None if weights is None else kept[:count],
        means,
        original_ids,
        degree,
        weighted,
        is_seed,
    )


@njit(cache=True, nogil=True)
def _look_up(
    own: Array, indptr: Array, known: Any, starts: Array, degree: Array, told: Any
) -> int:
    """Write where rows begin, their degrees and what is `known` of them: [r] each.

    Returns the sum of the degrees.
    """
    ids, weighted, is_train = known
    out_ids, out_weighted, out_is_train = told
    total = 0
    for i in range(len(own)):
        row = own[i]
        starts[i], degree[i] = indptr[row], indptr[row + 1] - indptr[row]
        out_ids[i], out_weighted[i] = ids[row], weighted[row]
        out_is_train[i] = is_train[row]
        total += degree[i]
    return total


def count_rows(
    rows: PartRows, members: np.ndarray, own: np.ndarray, counts: dict[str, np.ndarray]
) -> None:
    """Count the nodes and edges that a part has of a subgraph.

    Parameters
    ----------
    rows, members, own
        As for `induced_rows`.
    counts : dict
        "node_counts", int32 [rows of the part], and "edge_counts", int32 [their
        edges]: 1 is added where they are in the subgraph.
    """
    starts, indices, _ = whole_rows(rows, own)
    mark_starts = rows.block.indptr[own]
    counts["node_counts"][own] += 1
    _count_members(
        frozen(starts, np.int64),
        frozen(rows.block.indptr[own + 1] - mark_starts),
        frozen(indices),
        members,
        frozen(mark_starts),
        counts["edge_counts"],
    )


def mean_weights(
    counts: np.ndarray, drawn_edges: np.ndarray, drawn: np.ndarray, degree: np.ndarray
) -> np.ndarray:
    """Return what each edge counts in the mean of its row, by how often it was drawn.

    It is ``1 / (alpha d)`` with the row's degree d, and alpha the share of the
    subgraphs with the row's node that have the edge, too.

    Parameters
    ----------
    counts : int64 [r]
        Edges of each row.
    drawn_edges : int32 [e]
        In how many of the counted subgraphs each edge was.
    drawn : int32 [r]
        In how many each row's node was.
    degree : int64 [r]

    Returns
    -------
    float32 [e]
    """
    out = np.empty(len(drawn_edges), np.float32)
    _weigh(frozen(counts), frozen(drawn_edges), frozen(drawn), frozen(degree), out)
    return out


@njit(cache=True, nogil=True)
def _weigh(
    counts: Array, drawn_edges: Array, drawn: Array, degree: Array, out: Array
) -> None:
    e = 0
    for i in range(len(counts)):
        for _ in range(counts[i]):
            inverse = MOST if drawn[i] > 0 else UNKNOWN
            if drawn_edges[e] > 0:
                inverse = min(drawn[i] / drawn_edges[e], MOST)
            out[e] = inverse / degree[i]
            e += 1
