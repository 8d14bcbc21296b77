"""The methods "hash" and "range", which look at the ids of nodes alone."""

from __future__ import annotations

import numpy as np

from daskgnn.kernels.counter import derive_key, keys_below
from daskgnn.partition.methods.structure import Structure, work_of


def hash_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N]: nodes in the order of a hash, cut into equal clusters.

    Cost: a sort of the nodes, 0.1 s a million. Memory: 32 bytes a node. When: to
    compare with, or where nothing but balance matters.
    """
    num_nodes = graph.num_nodes
    hashes = keys_below(np.uint64(derive_key(seed)), np.arange(num_nodes))
    order = np.argsort(hashes, kind="stable")
    clusters = np.empty(num_nodes, np.int64)
    clusters[order] = np.arange(num_nodes) * num_clusters // num_nodes
    return clusters


def range_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N]: runs of consecutive ids of about equal work.

    Cost: one pass over the nodes. Memory: 24 bytes a node. When: the ids come from a
    crawl in URL order, a mesh, a time line, or from another partitioner; on ids
    without meaning it is no better than hash.
    """
    work = work_of(graph)
    # The middle of a node's work decides, so that no node is cut.
    middle = np.cumsum(work) - work / 2
    clusters = (middle * (num_clusters / work.sum())).astype(np.int64)
    return np.minimum(clusters, num_clusters - 1)
