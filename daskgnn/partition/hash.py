"""Equal clusters of nodes chosen by a hash: no locality, no memory, no surprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from daskgnn.graph.data import GraphData

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def hash_clusters(graph: GraphData, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N]: nodes in the order of a hash, cut into equal clusters."""
    num_nodes = graph.num_nodes
    order = np.argsort(hash_ids(num_nodes, seed), kind="stable")
    clusters = np.empty(num_nodes, np.int64)
    clusters[order] = np.arange(num_nodes) * num_clusters // num_nodes
    return clusters


def hash_ids(count: int, seed: int) -> np.ndarray:
    """Return uint64 [count], a hash of each id and the seed (SplitMix64's mixing)."""
    x = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    for key in (np.uint64(seed), np.uint64(0)):
        x ^= key
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
        x ^= x >> np.uint64(31)
    return x
