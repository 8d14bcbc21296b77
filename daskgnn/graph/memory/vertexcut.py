"""A graph in storage order whose rows of high degree are split: a stored vertex-cut.

N nodes, E entries, C clusters; R split rows with S slots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.graph.memory.ordered import ordered_slots, plain
from daskgnn.graph.memory.partitioned import PartitionedGraph
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.partition.methods.hierarchy import cluster_links, hierarchical_order
from daskgnn.partition.methods.vertexcut import VertexCut
from daskgnn.partition.traffic import Holdings

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.store.writer import ArraySource
    from daskgnn.partition.book import Clusters

LEAST_DEGREE = 32
"""Rows of a lower degree are never split."""
SLOTS_A_CLUSTER = 4
"""Slots that a split row has at least for each cluster: the master keeps four bytes a
row for each cluster, so this bounds them by one a slot."""
TIMES_MEAN = 2
"""Degree that a split row has at least, in mean degrees."""


def split_threshold(num_nodes: int, num_edges: int, num_clusters: int) -> int:
    """Return the degree from which on rows are split."""
    mean = num_edges / max(num_nodes, 1)
    return int(max(LEAST_DEGREE, SLOTS_A_CLUSTER * num_clusters, TIMES_MEAN * mean))


@dataclass(frozen=True, eq=False)
class _Split:
    """The rows that are split, and where their entries are stored."""

    rows: np.ndarray
    """int64 [R], storage ids, ascending."""
    indptr: np.ndarray
    """int64 [R + 1], where the slots of each begin."""
    holders: np.ndarray
    """uint8 or uint16 [S], the cluster of each slot."""
    counts: np.ndarray
    """int64 [R, C], entries of each row with each cluster."""
    slots: np.ndarray
    """int64 [S], where the entries stand in original order."""
    held: np.ndarray
    """int64 [S], the same in the order in which they are held."""
    kept: np.ndarray
    """int64 [N + 1], row pointers as if split rows were empty."""

    @property
    def bounds(self) -> np.ndarray:
        """int64 [C + 1], where the entries that each cluster holds begin."""
        return np.concatenate(([0], np.cumsum(self.counts.sum(axis=0))))


@dataclass(frozen=True, eq=False, repr=False)
class VertexCutGraph(PartitionedGraph):
    """A graph in storage order with split rows, whose edges are in many clusters."""

    holders: np.ndarray
    """int32 [E], the cluster that a vertex-cut gives each entry, in original order."""
    least: int
    """The degree from which on rows are split."""

    @classmethod
    def from_cut(
        cls, data: GraphData, cut: VertexCut, partitioner: dict[str, Any]
    ) -> PartitionedGraph:
        """Order a graph by its nodes' masters; clusters without any are left out.

        Their entries go to the master of the row. Where no row is of high degree (see
        `split_threshold`), the result is a plain `PartitionedGraph`.

        Raises
        ------
        PartitionError
            If what is to be stored cannot be, naming what can.
        """
        cut = _in_order(data, cut)
        plain_graph = PartitionedGraph.from_clusters(data, cut.masters, partitioner)
        names = plain_graph.cluster_names
        least = split_threshold(data.num_nodes, data.num_edges, len(names))
        degree = np.diff(data.indptr)
        check_splittable(data, int(degree[degree >= least].sum()), partitioner)
        if len(names) < 2 or not (degree >= least).any():
            return plain_graph
        number = np.full(_count(cut), -1, np.int32)
        number[names] = np.arange(len(names), dtype=np.int32)
        holders = number[cut.holders]
        gone = np.flatnonzero(holders < 0)
        rows = np.searchsorted(data.indptr, gone, side="right") - 1
        holders[gone] = number[cut.masters[rows]]
        return cls(
            data,
            plain_graph.original_ids,
            plain_graph.cluster_bounds,
            partitioner,
            names,
            holders,
            least,
        )

    @cached_property
    def _split(self) -> _Split:
        """The split rows."""
        degree, clusters = np.diff(self.indptr), self.num_clusters
        rows = np.flatnonzero(degree >= self.least)
        sizes = degree[rows]
        indptr = np.concatenate(([0], np.cumsum(sizes)))
        begin = self.data.indptr[self.original_ids[rows]]
        slots = np.repeat(begin - indptr[:-1], sizes) + np.arange(indptr[-1])
        kind = np.uint8 if clusters <= 256 else np.uint16
        holders = self.holders[slots].astype(kind)
        pairs = np.repeat(np.arange(len(rows)), sizes) * clusters + holders
        counts = np.bincount(pairs, minlength=len(rows) * clusters)
        degree[rows] = 0
        return _Split(
            rows=rows,
            indptr=indptr,
            holders=holders,
            counts=counts.reshape(-1, clusters),
            slots=slots,
            held=slots[np.argsort(holders, kind="stable")],
            kept=np.concatenate(([0], np.cumsum(degree))),
        )

    @cached_property
    def _counts(self) -> tuple[Clusters, int]:
        """What cutting the order needs: entries by the cluster that holds them."""
        clusters, cut = super()._counts
        kept = np.diff(self._split.kept[self.cluster_bounds])
        return replace(clusters, edges=kept + self._split.counts.sum(axis=0)), cut

    @cached_property
    def holdings(self) -> Holdings:
        """What the clusters hold."""
        kept, bounds = self._split.kept, self._split.bounds

        def stored(start: int, stop: int) -> np.ndarray:
            clusters = np.searchsorted(self.cluster_bounds, [start, stop])
            low, high = (int(b) for b in bounds[clusters] + kept[-1])
            own = self._stored_neighbours(int(kept[start]), int(kept[stop]))
            return np.concatenate([own, self._stored_neighbours(low, high)])

        counts = (self._split.counts, self.cluster_bounds)
        return Holdings(self._split.rows, *counts, stored)

    def _stored_slots(self, start: int, stop: int) -> np.ndarray:
        """Return where stored entries ``start`` to ``stop - 1`` stand originally."""
        kept = int(self._split.kept[-1])
        held = self._split.held[max(start - kept, 0) : max(stop - kept, 0)]
        if start >= kept:
            return held
        order = (self.data.indptr, self._split.kept, self.original_ids)
        own = ordered_slots(*order, start, min(stop, kept))
        return np.concatenate([own, held])

    def _edge_sources(self) -> list[ArraySource]:
        """List the arrays of the edges, and those of the split rows."""
        split = self._split
        before = np.cumsum(split.counts, axis=0) - split.counts + split.bounds[:-1]
        arrays = {
            "spread_rows": split.rows,
            "spread_indptr": split.indptr,
            "spread_holders": split.holders,
            "spread_starts": before.astype(self.data.indices.dtype),
            "spread_bounds": split.bounds,
        }
        if self.data.edge_weight is not None:
            nobody = np.zeros(len(split.rows), np.int64)
            values = self.data.edge_weight[split.slots]
            rows = AdjacencyBlock(0, split.indptr, values, nobody, values)
            arrays["spread_strength"] = rows.weighted_degree
        return super()._edge_sources() + [plain(*pair) for pair in arrays.items()]

    def _attributes(self, features: Any, feature_dtype: str) -> dict[str, Any]:
        """Return what the store says of the graph."""
        found = super()._attributes(features, feature_dtype)
        found["partitioner"] |= {
            "spread_from": self.least,
            "spread_rows": len(self._split.rows),
            "spread_entries": len(self._split.holders),
        }
        return found


def _in_order(data: GraphData, cut: VertexCut) -> VertexCut:
    """Renumber clusters so that runs of them share nodes."""
    count = _count(cut)
    links = cluster_links(data.indptr, data.indices, cut.masters, count)
    weights = np.bincount(cut.holders, minlength=count).astype(np.float64)
    number = np.argsort(hierarchical_order(links, weights)).astype(np.int32)
    return VertexCut(number[cut.masters].astype(np.int64), number[cut.holders])


def _count(cut: VertexCut) -> int:
    """Return how many numbers clusters have."""
    return int(max(cut.masters.max(), cut.holders.max(initial=0))) + 1


def check_splittable(data: GraphData, slots: int, partitioner: dict[str, Any]) -> None:
    """Raise `PartitionError` if a graph cannot be stored as a vertex-cut."""
    method = partitioner["method"]
    if data.edge_attr:
        raise PartitionError(
            f"method {method!r} splits rows, and edge attributes "
            f"({', '.join(data.edge_attr)}) cannot be split with them: use "
            "method='fennel', or leave edge_attr out"
        )
    if data.indices.dtype.itemsize < 8 and slots >= 2**31:
        raise PartitionError(
            f"method {method!r} would split {slots} entries, at most {2**31 - 1} can "
            "be: use method='cluster'"
        )
