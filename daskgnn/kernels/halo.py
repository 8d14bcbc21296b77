"""One part with all its neighbours, for exact layer-wise evaluation.

Features that are read when they are wanted are never held for a whole part: the first
layer then works on a piece of the rows at a time, and reads what that piece needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import Sources
from daskgnn.kernels.batch import aggregate_first
from daskgnn.kernels.features import RowReader, SparseInput, SparseTable, dense, table
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.sampled import LayerRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply, HeldPart


PIECE_BYTES = 32 << 20
"""Feature rows that are read at once, in float32; more only for a single row."""


@dataclass(frozen=True)
class Halo(ArrayRecord):
    """A part's columns as local numbers: own rows first, then the halo nodes."""

    indices: np.ndarray
    """int32 [E]"""
    ids: np.ndarray
    """int [H], storage ids of the halo nodes, sorted: grouped by owner."""
    weights: np.ndarray | None = None
    """float32 [E], edge weights beside `indices`, where the block has not all of its
    rows' (`daskgnn.kernels.split`)."""

    def weights_of(self, block: AdjacencyBlock) -> np.ndarray | None:
        """Return the weights of all entries of the rows of `block`."""
        return block.weights if self.weights is None else self.weights


@dataclass(frozen=True)
class WholePart(ArrayRecord):
    """The input of a model's first layer for all rows of a part."""

    x: np.ndarray | SparseInput
    """Feature table [own + halo, F], of half precision where the features are so;
    only the own rows with `aggregated`. Sparse where features stay so."""
    aggregated: np.ndarray | None
    """float32 [own, F], where the model declares a first aggregation."""
    original_ids: np.ndarray
    """int64 [own + halo]"""
    weighted_degree: np.ndarray
    """float32 [own + halo]"""


@dataclass(frozen=True)
class StreamedPart(ArrayRecord):
    """A `WholePart` whose features are read when they are needed."""

    reader: RowReader
    """Of the rows of the whole graph."""
    nodes: np.ndarray
    """int64 [own + halo], storage ids."""
    owner: np.ndarray
    """int32 [own + halo]"""
    first_aggregation: str | None
    original_ids: np.ndarray
    """int64 [own + halo]"""
    weighted_degree: np.ndarray
    """float32 [own + halo]"""


@dataclass(frozen=True)
class Piece:
    """The first layer's input for a run of a part's rows."""

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
    x: np.ndarray
    """float32 [n, F]; only the run's rows with `aggregated`."""
    aggregated: np.ndarray | None
    """float32 [last - first, F], where the model declares a first aggregation."""


def find_halo(block: AdjacencyBlock) -> Halo:
    """Return the halo of a block of whole rows."""
    stop = block.start + block.num_rows
    remote = (block.indices < block.start) | (block.indices >= stop)
    ids, place = np.unique(block.indices[remote], return_inverse=True)
    indices = np.empty(len(block.indices), np.int32)
    indices[~remote] = block.indices[~remote] - block.start
    indices[remote] = block.num_rows + place
    return Halo(indices, ids)


def halo_of_owner(halo: Halo, book: PartitionBook, part: int) -> np.ndarray:
    """Return the halo's nodes that `part` owns, sorted storage ids."""
    return halo.ids[book.owned(halo.ids, part)]


def whole_part(
    held: HeldPart,
    halo: Halo,
    replies: list[FeatureReply],
    book: PartitionBook,
    part: int,
    first_aggregation: str | None,
) -> WholePart | StreamedPart:
    """Build the first layer's input from the own block and the owners' replies.

    `replies` are the halo's rows in the order of its ids (by ascending owner).
    """
    block, features = held.adjacency, held.features
    ids = np.concatenate([block.original_ids, *(r.original_ids for r in replies)])
    weighted_degree = np.concatenate(
        [block.weighted_degree, *(r.weighted_degree for r in replies)]
    )
    if isinstance(features, RowReader):
        own_ids = np.arange(block.start, block.start + block.num_rows)
        nodes = np.concatenate([own_ids, halo.ids]).astype(np.int64)
        owner = book.owner(nodes).astype(np.int32)
        reader = features.of_graph(int(book.bounds[-1]))
        return StreamedPart(
            reader, nodes, owner, first_aggregation, ids, weighted_degree
        )
    if isinstance(features, SparseTable):
        pieces: list[Any] = [features, *(r.values for r in replies)]
        rows = np.arange(len(ids), dtype=np.int32)
        x = SparseInput(SparseTable.joined(pieces), rows)
        return WholePart(x, None, ids, weighted_degree)
    own = table(features)
    received = np.concatenate([own[:0], *(table(r.values) for r in replies)])
    if not first_aggregation:
        everything = np.concatenate([own, received]) if len(received) else own
        return WholePart(everything, None, ids, weighted_degree)
    count = block.num_rows
    owner = np.full(len(ids), part, np.int32)
    owner[count:] = book.owner(halo.ids)
    row = np.arange(len(ids))
    row[count:] -= count
    ends = block.indptr[:-1], block.indptr[1:]
    aggregated = aggregate_first(
        first_aggregation,
        LayerRows(*ends, halo.indices, halo.weights_of(block)),
        Sources.in_two_tables(owner, row, part, own, received),
        block.degree,
        weighted_degree,
        own,
        np.empty((count, own.shape[1]), np.float32),
    )
    return WholePart(own, aggregated, ids, weighted_degree)


def part_pieces(
    block: AdjacencyBlock, halo: Halo, whole: StreamedPart
) -> Iterator[Piece]:
    """Yield the first layer's input of all rows, as much at once as is to be held."""
    width = 4 * whole.reader.shape[1]
    most = max(PIECE_BYTES // max(width, 1), 1)
    # As if no two rows had a neighbour in common.
    rows_before = block.indptr + np.arange(len(block.indptr))
    first = 0
    while first < block.num_rows:
        fits = np.searchsorted(rows_before, rows_before[first] + most, side="right")
        last = min(max(int(fits) - 1, first + 1), block.num_rows)
        yield _piece(block, halo, whole, first, last)
        first = last


def _piece(
    block: AdjacencyBlock, halo: Halo, whole: StreamedPart, first: int, last: int
) -> Piece:
    """Return the first layer's input of rows `first` to ``last - 1``."""
    entries = slice(int(block.indptr[first]), int(block.indptr[last]))
    columns, count = halo.indices[entries], last - first
    inside = (columns >= first) & (columns < last)
    others = np.unique(columns[~inside])
    indices = np.where(
        inside, columns - first, count + np.searchsorted(others, columns)
    )
    sources = np.concatenate([np.arange(first, last), others.astype(np.int64)])
    indptr = block.indptr[first : last + 1] - block.indptr[first]
    weights = halo.weights_of(block)
    if weights is not None:
        weights = weights[entries]
    held = whole.reader.take(whole.nodes[sources])
    aggregated = None
    if whole.first_aggregation:
        owner = whole.owner[sources]
        aggregated = aggregate_first(
            whole.first_aggregation,
            LayerRows(indptr[:-1], indptr[1:], indices, weights),
            Sources.in_two_tables(owner, np.arange(len(sources)), -1, held, held),
            np.diff(indptr),
            whole.weighted_degree[sources],
            held,
            np.empty((count, held.shape[1]), np.float32),
        )
        held = held[:count]
    x = dense(held)
    return Piece(first, last, sources, indptr, indices, weights, x, aggregated)
