"""One part with all its neighbours: what exact layer-wise evaluation works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import Sources
from daskgnn.kernels.batch import aggregate_first
from daskgnn.kernels.features import dense, table

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.exchange import FeatureRows
    from daskgnn.kernels.hops import Sampling


@dataclass(frozen=True)
class Halo:
    """A part's columns as local numbers: own rows first, then the halo nodes."""

    indices: np.ndarray
    """int32 [E]"""
    ids: np.ndarray
    """int [H], storage ids of the halo nodes, sorted: grouped by owner."""
    weights: np.ndarray | None = None
    """float32 [E], edge weights beside `indices`, where the block has not all of its
    rows' (`daskgnn.kernels.spread`)."""

    def weights_of(self, block: AdjacencyBlock) -> np.ndarray | None:
        """Return the weights of all entries of the rows of `block`."""
        return block.weights if self.weights is None else self.weights


@dataclass(frozen=True)
class WholePart:
    """The input of a model's first layer for all rows of a part."""

    x: np.ndarray
    """Feature table [own + halo, F], of half precision where the features are so;
    only the own rows with `aggregated`."""
    aggregated: np.ndarray | None
    """float32 [own, F], where the model declares a first aggregation."""
    original_ids: np.ndarray
    """int64 [own + halo]"""
    strength: np.ndarray
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


def halo_of_owner(halo: Halo, sampling: Sampling, part: int) -> np.ndarray:
    """Return the halo's nodes that `part` owns, sorted storage ids."""
    return halo.ids[sampling.owned(halo.ids, part)]


def whole_part(
    block: AdjacencyBlock,
    features: Any,
    halo: Halo,
    replies: list[FeatureRows],
    sampling: Sampling,
    part: int,
    first_aggregation: str | None,
) -> WholePart:
    """Build the first layer's input from the own block and the owners' replies.

    `replies` are the halo's rows in the order of its ids (by ascending owner).
    """
    own = table(features)
    ids = np.concatenate([block.original_ids, *(r.original_ids for r in replies)])
    strength = np.concatenate([block.strength, *(r.strength for r in replies)])
    received = np.concatenate([own[:0], *(table(r.values) for r in replies)])
    if not first_aggregation:
        everything = np.concatenate([own, received]) if len(received) else own
        return WholePart(everything, None, ids, strength)
    count = block.num_rows
    owner = np.full(len(ids), part, np.int32)
    owner[count:] = sampling.owner(halo.ids)
    row = np.arange(len(ids))
    row[count:] -= count
    aggregated = aggregate_first(
        first_aggregation,
        (block.indptr[:-1], block.indptr[1:], halo.indices),
        Sources.in_two_tables(owner, row, part, own, received),
        halo.weights_of(block),
        block.degree,
        strength,
        dense(own) if first_aggregation == "gcn" else own,
        np.empty((count, own.shape[1]), np.float32),
    )
    return WholePart(own, aggregated, ids, strength)
