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
from daskgnn.kernels.features import (
    RowReader,
    SparseInput,
    SparseReader,
    SparseTable,
    dense,
    table,
)
from daskgnn.kernels.pieces import pieces
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.sampled import LayerRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply, HeldPart
    from daskgnn.kernels.pieces import Piece


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
    if isinstance(features, SparseReader):
        features = features.take(np.arange(block.num_rows))
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


def streamed_pieces(
    block: AdjacencyBlock, halo: Halo, whole: StreamedPart
) -> Iterator[tuple[Piece, np.ndarray, np.ndarray | None]]:
    """Yield all rows of a part, in runs, and the first layer's input for each.

    The input is float32 [n, F], for the piece's sources; where the model declares a
    first aggregation for the run's rows alone, and beside it the aggregates.
    """
    width = 4 * whole.reader.shape[1]
    for piece in pieces(block, halo, max(PIECE_BYTES // max(width, 1), 1)):
        yield piece, *_first_input(piece, whole)


def _first_input(
    piece: Piece, whole: StreamedPart
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the first layer's input for a run of rows."""
    sources, count = piece.sources, piece.last - piece.first
    held = whole.reader.take(whole.nodes[sources])
    if not whole.first_aggregation:
        return dense(held), None
    aggregated = aggregate_first(
        whole.first_aggregation,
        LayerRows(
            piece.indptr[:-1], piece.indptr[1:], piece.indices, piece.edge_weight
        ),
        Sources.in_two_tables(
            whole.owner[sources], np.arange(len(sources)), -1, held, held
        ),
        np.diff(piece.indptr),
        whole.weighted_degree[sources],
        held,
        np.empty((count, held.shape[1]), np.float32),
    )
    return dense(held[:count]), aggregated
