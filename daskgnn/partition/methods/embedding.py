"""The methods "spectral" and "random-walk": k-means on an embedding of the nodes.

Spectral: Ng, Jordan and Weiss ("On spectral clustering", NIPS 2001), regularised as by
Amini et al. ("Pseudo-likelihood methods for community detection", 2013): a little link
between all pairs keeps small pieces from taking the eigenvectors for themselves.

Random walks: Perozzi et al. ("DeepWalk", KDD 2014) with negative sampling. Walks are
drawn and used at once, never kept; randomness is counter-based and one thread does the
sums, so the same seed gives the same clusters.

Points are clustered by two-means, again and again, balanced by weight. N nodes, D
dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.kernels.counter import below, combine, derive_key, draw, uniform
from daskgnn.kernels.jit import njit
from daskgnn.partition.methods.hierarchy import order_clusters
from daskgnn.partition.methods.propagation import Level, finest_level, refine

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

MOST_VECTORS = 32
_DENSE = 512
"""Nodes up to which all is computed as dense matrices."""
_TOLERANCE = 1e-2
_RESTARTS = 20

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

_ROUNDS = 12
_STRAY = 0.1
"""Weight, in clusters, by which a cut may miss equal halves."""


def spectral_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N] by spectral clustering, balanced; single nodes then move.

    Cost: some hundred products with the adjacency, about 150 s a million nodes.
    Memory: 1000 bytes a node and 30 an entry. When: up to some hundred thousand nodes,
    where communities are wanted rather than the smallest cut, or to compare with.
    """
    if num_clusters == 1 or graph.num_nodes < 4:
        return np.arange(graph.num_nodes) * num_clusters // graph.num_nodes
    level = finest_level(graph)
    points = spectral_embedding(level, min(num_clusters, MOST_VECTORS), seed)
    return _clusters_of_points(graph, level, points, num_clusters, seed)


def spectral_embedding(level: Level, num_vectors: int, seed: int) -> np.ndarray:
    """Return float64 [N, D]: rows of the eigenvectors, each of length 1.

    They belong to the largest eigenvalues of the regularised, normalised adjacency: the
    smallest of the Laplacian.
    """
    num_nodes, indptr, indices = level.num_nodes, level.indptr, level.indices
    shape = (num_nodes, num_nodes)
    matrix = sp.csr_array((np.ones(len(indices)), indices, indptr), shape=shape)
    degree = np.diff(indptr).astype(float)
    little = max(degree.mean(), 1.0)
    scale = 1 / np.sqrt(degree + little)

    count = min(num_vectors, num_nodes - 2)
    if num_nodes <= _DENSE:
        full = scale[:, None] * (matrix.toarray() + little / num_nodes) * scale
        import scipy.linalg

        _, vectors = scipy.linalg.eigh(
            full, subset_by_index=[num_nodes - count, num_nodes - 1]
        )
    else:
        vectors = _largest_vectors(matrix, scale, little, count, seed)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def _largest_vectors(
    matrix: sp.csr_array, scale: np.ndarray, little: float, count: int, seed: int
) -> np.ndarray:
    """Return float64 [N, D], by Lanczos; what has converged after some restarts."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    def product(vector: np.ndarray) -> np.ndarray:
        scaled = scale * vector.ravel()
        return scale * (matrix @ scaled + little * scaled.mean())

    operator = LinearOperator(matrix.shape, matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).normal(size=len(scale))
    options = {"v0": start, "tol": _TOLERANCE, "ncv": 2 * count + 8}
    try:
        _, vectors = eigsh(operator, count, which="LA", maxiter=_RESTARTS, **options)
    except ArpackNoConvergence as error:
        # The converged ones separate the large pieces.
        vectors = error.eigenvectors
    return np.asarray(vectors)


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
    return _clusters_of_points(graph, level, points, num_clusters, seed)


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
        _walk_all((indptr, indices), order, points, others, key, rates)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    return points


@njit(cache=True, nogil=True, fastmath=False)
def _walk_all(
    graph: Any, order: Any, points: Any, others: Any, key: Any, rates: Any
) -> None:
    """Walk once from every node in `order`, and learn from each walk."""
    indptr, indices = graph
    first_rate, last_rate = rates[0], rates[1]
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


def _clusters_of_points(
    graph: Structure, level: Level, points: np.ndarray, num_clusters: int, seed: int
) -> np.ndarray:
    """Return int64 [N], clusters of points after single nodes have moved."""
    clusters = bisect_points(points, level.weights, num_clusters, seed)
    refine(level, clusters, num_clusters)
    return order_clusters(graph, clusters, num_clusters, level.weights)


def bisect_points(
    points: np.ndarray, weights: np.ndarray, num_clusters: int, seed: int
) -> np.ndarray:
    """Cut points into balanced clusters by two-means, each half again.

    Each half gets clusters in proportion to the weight that two-means gave it; the cut
    then moves along the line between the two means until the weight fits.

    Parameters
    ----------
    points
        float [N, D].
    weights
        float or int [N].

    Returns
    -------
    np.ndarray
        int64 [N], numbers in 0..C-1.
    """
    clusters = np.zeros(len(points), np.int64)
    rng = np.random.default_rng(seed)
    todo = [(np.arange(len(points)), 0, num_clusters)]
    while todo:
        ids, first, count = todo.pop()
        clusters[ids] = first
        if count < 2 or len(ids) < 2:
            continue
        place = _along(points[ids], weights[ids], rng)
        order = np.argsort(place, kind="stable")
        share = np.cumsum(weights[ids][order])
        share = share / share[-1]
        cut = int(np.searchsorted(place[order], 0.0))
        before = share[cut - 1] if cut else 0.0
        left = int(np.clip(round(before * count), 1, count - 1))
        if abs(before - left / count) > _STRAY / count:
            cut = int(np.searchsorted(share, left / count - 1e-9)) + 1
        cut = int(np.clip(cut, 1, len(ids) - 1))
        todo.append((ids[order[:cut]], first, left))
        todo.append((ids[order[cut:]], first + left, count - left))
    return clusters


def _along(
    points: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return float [N], places along the line between two means; 0 is the middle."""
    middle = np.average(points, axis=0, weights=weights)
    start = points[rng.choice(len(points), min(len(points), 32), replace=False)]
    # The first mean is far from the middle, the second far from the first.
    one = start[((start - middle) ** 2).sum(axis=1).argmax()]
    two = start[((start - one) ** 2).sum(axis=1).argmax()]
    place = np.zeros(len(points))
    for _ in range(_ROUNDS):
        place = points @ (two - one) - (two - one) @ (one + two) / 2
        side = place > 0
        if side.all() or not side.any():
            break
        means = [
            np.average(points[half], axis=0, weights=weights[half])
            for half in (~side, side)
        ]
        if np.array_equal(means, (one, two)):
            break
        one, two = means
    return place
