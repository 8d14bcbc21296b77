"""Spectral clusters: eigenvectors of the normalised Laplacian, then k-means.

Ng, Jordan and Weiss ("On spectral clustering", NIPS 2001), regularised as by Amini et
al. ("Pseudo-likelihood methods for community detection", 2013): a little link between
all pairs keeps small pieces from taking the eigenvectors for themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from daskgnn.partition.methods.embedding import bisect_points
from daskgnn.partition.methods.hierarchy import order_clusters
from daskgnn.partition.methods.propagation import Level, finest_level, refine

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

MOST_VECTORS = 32
_DENSE = 512
"""Nodes up to which all is computed as dense matrices."""
_TOLERANCE = 1e-2
_RESTARTS = 20


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
    clusters = bisect_points(points, level.weights, num_clusters, seed)
    refine(level, clusters, num_clusters)
    return order_clusters(graph, clusters, num_clusters, level.weights)


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
        _, vectors = scipy.linalg.eigh(
            full, subset_by_index=[num_nodes - count, num_nodes - 1]
        )
    else:
        vectors = _largest_vectors(matrix, scale, little, count, seed)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    points: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return points


def _largest_vectors(
    matrix: sp.csr_array, scale: np.ndarray, little: float, count: int, seed: int
) -> np.ndarray:
    """Return float64 [N, D], by Lanczos; what has converged after some restarts."""

    def product(vector: np.ndarray) -> np.ndarray:
        scaled = scale * vector.ravel()
        found: np.ndarray = scale * (matrix @ scaled + little * scaled.mean())
        return found

    operator = LinearOperator(matrix.shape, matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).normal(size=len(scale))
    options = {"v0": start, "tol": _TOLERANCE, "ncv": 2 * count + 8}
    try:
        _, vectors = eigsh(operator, count, which="LA", maxiter=_RESTARTS, **options)
    except ArpackNoConvergence as error:
        # The converged ones separate the large pieces.
        vectors = error.eigenvectors
    return np.asarray(vectors)
