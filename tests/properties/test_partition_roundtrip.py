"""Any graph, any partition, any number of parts: the same graph comes back."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskgnn.graph.opening import open_graph
from daskgnn.graph.readers.memory import from_edge_index
from daskgnn.graph.store import writer
from daskgnn.graph.validate import validate


@st.composite
def graphs(draw):
    """Graphs of all shapes, with and without everything that may be left out."""
    num_nodes = draw(st.integers(2, 25))
    num_edges = draw(st.integers(1, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ends = rng.integers(0, num_nodes, (2, num_edges))
    ends[:, 0] = (0, 1)
    options = {"directed": draw(st.booleans())}
    if draw(st.booleans()):
        options["edge_weight"] = rng.random(num_edges).astype(np.float32)
    if draw(st.booleans()):
        options["edge_attr"] = {"time": rng.integers(0, 99, (num_edges, 2))}
    features = draw(st.sampled_from(["none", "dense", "sparse", "few"]))
    if features == "dense":
        options["features"] = rng.random((num_nodes, 3)).astype(np.float32)
    elif features != "none":
        density = 0.05 if features == "few" else 0.5
        found = sp.random_array((num_nodes, 30), density=density, rng=rng)
        options["features"] = sp.csr_array(found.astype(np.float32))
    if draw(st.booleans()):
        options["labels"] = rng.integers(0, 4, num_nodes)
        options["num_classes"] = 4
        nodes = rng.permutation(num_nodes)
        options["train"] = nodes[: draw(st.integers(1, num_nodes))]
    return from_edge_index(
        ends,
        num_nodes=num_nodes,
        self_loops=draw(st.sampled_from(["keep", "drop"])),
        **options,
    )


def neighbours_by_slot(graph):
    """Original ids of each original node's neighbours, in the order of slots."""
    order = graph.original_ids.compute(scheduler="sync")
    found = {}
    for p in range(graph.num_parts):
        start, stop = (int(b) for b in graph.partition_book[p : p + 2])
        block = graph.source.load_rows(start, stop)
        for row, node in enumerate(block.original_ids):
            ids = block.indices[block.indptr[row] : block.indptr[row + 1]]
            assert int(node) not in found
            found[int(node)] = order[ids].tolist()
    return found


@pytest.fixture(scope="module", autouse=True)
def _several_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK_BYTES", 200)
        yield


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), graph=graphs(), method=st.sampled_from(["hash", "metis"]))
def test_partition_roundtrip(data, graph, method):
    num_clusters = data.draw(st.integers(1, graph.num_nodes), "clusters")
    partitioned = graph.partition(
        num_clusters, method, seed=data.draw(st.integers(0, 9))
    )
    num_parts = data.draw(st.integers(1, partitioned.num_clusters), "parts")
    with tempfile.TemporaryDirectory() as folder:
        path = partitioned.save(Path(folder) / "g.zarr")
        opened = open_graph(path, num_parts=num_parts)
        assert opened.num_parts == num_parts == len(opened.partition_book) - 1
        slots = neighbours_by_slot(opened)
        expected = np.split(graph.indices, graph.indptr[1:-1])
        assert slots == {v: ids.tolist() for v, ids in enumerate(expected)}
        found = opened.to_data()
        report = validate(path, num_parts=num_parts)
    np.testing.assert_array_equal(found.indptr, graph.indptr)
    np.testing.assert_array_equal(found.indices, graph.indices)
    assert report.num_edges == graph.num_edges
    for name in ("edge_weight", "labels"):
        assert_equal(getattr(found, name), getattr(graph, name))
    for name in ("edge_attr", "splits"):
        left, right = getattr(found, name), getattr(graph, name)
        assert left.keys() == right.keys()
        for key in right:
            assert_equal(left[key], right[key])
    assert_equal(dense(found.features), dense(graph.features))


def dense(features):
    """Features as a plain array, or None."""
    return features.toarray() if sp.issparse(features) else features


def assert_equal(left, right):
    """Compare arrays that may both be absent."""
    assert (left is None) == (right is None)
    if right is not None:
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
