"""The partition book: where the order of the nodes is cut into parts.

N nodes, C clusters, P parts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.partition.methods.structure import NODE_SHARE
from daskgnn.values import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_CLUSTERS = 64
TOLERANCE = 0.1
"""Largest distance of a cut from equal work, as a fraction of a part (older stores)."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """What is known of the clusters when the order is cut."""

    bounds: np.ndarray
    """int64 [C+1], storage ids; none of the clusters is empty."""
    edges: np.ndarray
    """int64 [C], entries in the rows of each cluster."""
    crossing: np.ndarray | None = None
    """int64 [C+1], entries whose ends lie on different sides of each bound: of older
    stores, whose runs resume with the parts that they began with."""

    def __len__(self) -> int:
        """C."""
        return len(self.edges)


def count_clusters(
    block: Callable[[int, int], tuple[np.ndarray, np.ndarray]], bounds: np.ndarray
) -> tuple[Clusters, int]:
    """Count the entries of clusters and between them, a cluster at a time.

    Parameters
    ----------
    block
        (start, stop) -> row pointers and storage ids of the neighbours.
    bounds
        int64 [C+1], bounds of the clusters.

    Returns
    -------
    Clusters, int
        The counts, and how many entries join different clusters.
    """
    counts = (
        count_entries(block(int(first), int(last))[1], int(first), int(last))
        for first, last in itertools.pairwise(bounds)
    )
    return add_clusters(bounds, counts)


def count_entries(indices: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return int64 [2]: how many neighbours there are, and how many lie outside.

    Parameters
    ----------
    indices
        Storage ids of the neighbours of nodes of a cluster.
    first, last
        The cluster's bounds.
    """
    outside = np.count_nonzero((indices < first) | (indices >= last))
    return np.array([len(indices), outside], np.int64)


def add_clusters(
    bounds: np.ndarray, counts: Iterable[np.ndarray]
) -> tuple[Clusters, int]:
    """Return what `count_clusters` does, from the `count_entries` of each cluster."""
    edges, outside = np.array(list(counts)).T
    return Clusters(bounds, np.ascontiguousarray(edges)), int(outside.sum())


def default_clusters(num_nodes: int) -> int:
    """Return the default number of clusters for a graph of N nodes."""
    # METIS does not work well for clusters of one or two nodes.
    return max(1, min(DEFAULT_CLUSTERS, num_nodes // 4))


def equal_clusters(num_nodes: int) -> np.ndarray:
    """Return int64 [C+1], bounds of equal runs of N nodes, the default."""
    count = default_clusters(num_nodes)
    return np.arange(count + 1) * num_nodes // count


def cut_clusters(
    clusters: Clusters, seeds: np.ndarray | None, num_parts: int
) -> np.ndarray:
    """Cut the order of the nodes into parts of whole clusters, balanced by work.

    A part ends at the cluster bound that is nearest to an equal share of the work;
    of an older store, near it where the fewest edges cross.

    Parameters
    ----------
    clusters
        What is known of them.
    seeds
        Sorted storage ids of the training nodes, or None.

    Returns
    -------
    np.ndarray
        int64 [num_parts + 1], the row bounds of the parts.

    Raises
    ------
    PartitionError
        If `num_parts` is not in 1..C.
    """
    check_num_parts(num_parts, len(clusters))
    work = np.concatenate(([0.0], np.cumsum(_cluster_work(clusters, seeds))))
    part = work[-1] / num_parts
    cuts = [0]
    for p in range(1, num_parts):
        # Every part gets at least one cluster.
        first, last = cuts[-1] + 1, len(clusters) - (num_parts - p)
        stray = np.abs(work[first : last + 1] - p * part)
        near = np.flatnonzero(stray <= TOLERANCE * part)
        best = int(stray.argmin())
        if clusters.crossing is not None and len(near):
            # A tenth of a part out of balance must save a tenth of the crossing edges.
            price = clusters.crossing[first + near] * (1 + stray[near] / part)
            best = int(near[np.lexsort((stray[near], price))[0]])
        cuts.append(first + best)
    return clusters.bounds[[*cuts, len(clusters)]].astype(np.int64)


def check_num_parts(num_parts: int, clusters: int) -> None:
    """Raise `PartitionError` unless `num_parts` is in 1..clusters."""
    if not is_whole(num_parts) or num_parts < 1:
        raise PartitionError(
            f"num_parts={num_parts!r}: give a whole number in 1..{clusters}"
        )
    if num_parts > clusters:
        raise PartitionError(
            f"num_parts={num_parts} exceeds the {clusters} clusters of the "
            f"graph: use num_parts <= {clusters} or partition it into more clusters"
        )


def _cluster_work(clusters: Clusters, seeds: np.ndarray | None) -> np.ndarray:
    """Return float64 [C], the work of each cluster (see `node_work`)."""
    bounds = clusters.bounds
    work = clusters.edges / max(int(clusters.edges.sum()), 1)
    if seeds is not None and len(seeds):
        work = work + np.diff(np.searchsorted(seeds, bounds)) / len(seeds)
    return work + NODE_SHARE * np.diff(bounds) / bounds[-1]
