"""Graphs for the tests of storage, and their adjacency by SciPy."""

import numpy as np
import scipy.sparse as sp

from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.readers.memory import from_edge_index


def make_graph(num_nodes=60, num_edges=240, *, seed=0, **options) -> GraphData:
    """A graph with two halves that know each other little, and some lone nodes."""
    rng = np.random.default_rng(seed)
    active = num_nodes - num_nodes // 10
    ends = rng.integers(0, active, (2, num_edges))
    near = rng.random(num_edges) < 0.9
    ends[1] = np.where(near, ends[0] // (active // 2) * (active // 2), 0) + ends[
        1
    ] % np.where(near, active // 2, active)
    ends = rng.permutation(num_nodes)[np.minimum(ends, active - 1)]
    order = rng.permutation(num_nodes)
    third = num_nodes // 3
    values = {
        "features": rng.random((num_nodes, 5)).astype(np.float32),
        "labels": rng.integers(0, 3, num_nodes),
        "num_classes": 3,
        "train": order[:third],
        "val": order[third : 2 * third],
        "test": order[2 * third :],
        "name": "halves",
        **options,
    }
    return from_edge_index(ends, num_nodes=num_nodes, **values)


def matrix_of(graph: GraphData) -> sp.csr_array:
    """Rows = destinations, in original order."""
    data = graph.edge_weight
    if data is None:
        data = np.ones(graph.num_edges, np.float32)
    shape = (graph.num_nodes, graph.num_nodes)
    return sp.csr_array((data, graph.indices, graph.indptr), shape=shape)


def assert_same_graph(found: GraphData, expected: GraphData) -> None:
    """Compare everything a graph holds."""
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.indices.dtype == expected.indices.dtype
    for name in ("edge_weight", "labels"):
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
    for name in ("edge_attr", "splits"):
        left, right = getattr(found, name), getattr(expected, name)
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])
    assert (found.features is None) == (expected.features is None)
    if found.features is not None:
        np.testing.assert_array_equal(dense(found.features), dense(expected.features))
    for name in ("num_classes", "directed", "name", "metric", "report"):
        assert getattr(found, name) == getattr(expected, name)


def dense(features) -> np.ndarray:
    """Any kind of features as a plain array."""
    if isinstance(features, np.ndarray):
        return features
    return features.toarray() if sp.issparse(features) else features.todense()
