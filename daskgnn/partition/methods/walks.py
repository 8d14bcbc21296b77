"""Clusters of an embedding that random walks give (DeepWalk), by k-means.

Perozzi et al. ("DeepWalk", KDD 2014) with negative sampling. Walks are drawn and used
at once, never kept; randomness is counter-based and one thread does the sums, so the
same seed gives the same clusters. N nodes, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from daskgnn.kernels.counter import below, combine, derive_key, draw, uniform
from daskgnn.partition.methods.embedding import bisect_points
from daskgnn.partition.methods.hierarchy import order_clusters
from daskgnn.partition.methods.propagation import Level, finest_level, refine

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

DIMENSIONS = 32
WALKS = 5
"""Walks that begin at each node."""
LENGTH = 20
"""Nodes of a walk."""
REACH = 4
"""Steps of a walk over which two nodes count as near."""
NEGATIVES = 2
"""Nodes drawn against each near pair."""
_FIRST_RATE = 0.05


def walk_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N] by random-walk embedding and k-means; single nodes then move.

    Cost: linear in the nodes, about 200 s a million. Memory: 600 bytes a node and 30 an
    entry. When: communities overlap or degrees differ widely, on up to a million
    nodes, or to compare with.
    """
    if num_clusters == 1:
        return np.zeros(graph.num_nodes, np.int64)
    level = finest_level(graph)
    points = walk_embedding(level, seed)
    clusters = bisect_points(points, level.weights, num_clusters, seed)
    refine(level, clusters, num_clusters)
    return order_clusters(graph, clusters, num_clusters, level.weights)


def walk_embedding(level: Level, seed: int) -> np.ndarray:
    """Return float32 [N, D]: nodes that walks meet together point the same way."""
    indptr, indices = level.indptr, level.indices
    rng = np.random.default_rng(seed)
    points = (rng.random((level.num_nodes, DIMENSIONS)) - 0.5).astype(np.float32)
    points /= DIMENSIONS
    others = np.zeros_like(points)
    for walk in range(WALKS):
        order = rng.permutation(level.num_nodes)
        rates = _FIRST_RATE * (1 - np.array([walk, walk + 1]) / WALKS)
        key = np.uint64(derive_key(seed, walk))
        _walk_all(indptr, indices, order, points, others, key, rates[0], rates[1])
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    return points


@njit(cache=True, nogil=True, fastmath=False)
def _walk_all(
    indptr: Any,
    indices: Any,
    order: Any,
    points: Any,
    others: Any,
    key: Any,
    first_rate: float,
    last_rate: float,
) -> None:
    """Walk once from every node in `order`, and learn from each walk."""
    path = np.empty(LENGTH, np.int64)
    push = np.empty(points.shape[1], points.dtype)
    for i in range(len(order)):
        own = combine(key, np.uint64(order[i]))
        length = _walk(indptr, indices, order[i], own, path)
        rate = np.float32(first_rate + (last_rate - first_rate) * i / len(order))
        counter = np.uint64(LENGTH)
        for centre in range(length):
            lo, hi = max(0, centre - REACH), min(length, centre + REACH + 1)
            for near in range(lo, hi):
                if near == centre:
                    continue
                push[:] = 0
                _learn(points, others, path[centre], path[near], 1, rate, push)
                for _ in range(NEGATIVES):
                    # The end of a random edge: nodes are chosen by their degree.
                    at = np.int64(uniform(draw(own, counter)) * len(indices))
                    counter += np.uint64(1)
                    _learn(points, others, path[centre], indices[at], 0, rate, push)
                points[path[centre]] += push


@njit(cache=True, nogil=True)
def _walk(indptr: Any, indices: Any, start: int, key: Any, path: Any) -> int:
    """Fill a path from a node on; return its length, 1 for a node without edges."""
    path[0] = start
    for step in range(1, len(path)):
        begin = indptr[path[step - 1]]
        degree = indptr[path[step - 1] + 1] - begin
        if degree == 0:
            return 1
        path[step] = indices[begin + below(draw(key, np.uint64(step)), degree)]
    return len(path)


@njit(cache=True, nogil=True, inline="always")
def _learn(
    points: Any, others: Any, one: Any, two: Any, near: Any, rate: Any, push: Any
) -> None:
    """Move `two` to `one` or away, and add to `push` what moves `one`."""
    score = np.float32(0)
    for d in range(points.shape[1]):
        score += points[one, d] * others[two, d]
    score = min(max(score, np.float32(-8)), np.float32(8))
    step = rate * np.float32(near - 1 / (1 + np.exp(-score)))
    for d in range(points.shape[1]):
        push[d] += step * others[two, d]
        others[two, d] += step * points[one, d]
