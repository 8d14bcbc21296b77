"""Ranges of the given node order, for ids that already follow the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.partition.methods.weights import work_of

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure


def range_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N]: runs of consecutive ids of about equal work.

    Cost: one pass over the nodes. Memory: 24 bytes a node. When: the ids come from a
    crawl in URL order, a mesh, a time line, or from another partitioner; on ids
    without meaning it is no better than hash.
    """
    work = work_of(graph)
    # The middle of a node's work decides, so that no node is cut.
    middle = np.cumsum(work) - work / 2
    clusters: np.ndarray = (middle * (num_clusters / work.sum())).astype(np.int64)
    return np.minimum(clusters, num_clusters - 1)
