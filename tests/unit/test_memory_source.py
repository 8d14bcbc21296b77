"""A partitioned graph in memory is opened as a store written from it would be."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from stored_graphs import dense
from training import hub_graph, hub_weights, planted_graph, small_sage

import daskgnn
from daskgnn.errors import InputError

BAGS = sp.random_array((400, 40), density=0.05, rng=0, dtype=np.float32)
GRAPHS = {
    "plain": (planted_graph, "metis"),
    "weighted": (lambda: hub_graph(edge_weight=hub_weights()), "metis"),
    "sparse": (lambda: planted_graph(features=sp.csr_array(BAGS)), "metis"),
    "spread": (lambda: hub_graph(edge_weight=hub_weights()), "hdrf"),
}


@pytest.fixture(params=GRAPHS)
def pair(request, tmp_path):
    """The same graph opened from memory and from a store."""
    make, method = GRAPHS[request.param]
    partitioned = make().partition(8, method)
    path = partitioned.save(tmp_path / "g.zarr")
    return daskgnn.open_graph(partitioned, 2), daskgnn.open_graph(path, 2)


def fitted(graph, client=None, **options):
    given = {"num_neighbors": [4, 3], "batch_size": 48, **options}
    run = daskgnn.Trainer(small_sage(graph), graph, client=client, **given)
    run.fit(2)
    return run


def test_what_there_is_is_the_same(pair):
    memory, stored = pair
    for name in vars(memory.schema):
        if name not in ("version", "splits"):
            one, other = getattr(memory.schema, name), getattr(stored.schema, name)
            np.testing.assert_array_equal(one, other, name)
    assert memory.splits.keys() == stored.splits.keys()
    np.testing.assert_array_equal(memory.partition_book, stored.partition_book)
    for name in ("adjacency", "features", "labels", "original_ids"):
        one, other = getattr(memory, name), getattr(stored, name)
        assert one.chunks == other.chunks
        np.testing.assert_array_equal(dense(one.compute()), dense(other.compute()))
    assert memory.quality().to_dict() == stored.quality().to_dict()
    np.testing.assert_array_equal(memory.to_data().indices, stored.to_data().indices)
    assert memory.path is None
    copy = pickle.loads(pickle.dumps(memory.source))
    assert copy.schema.version == memory.checksum


def test_training_gives_the_same_bits(pair):
    memory, stored = (fitted(graph) for graph in pair)
    assert memory.params_sha256 == stored.params_sha256
    assert memory.evaluate("test") == stored.evaluate("test")
    predictions = memory.predict().compute()
    np.testing.assert_array_equal(predictions, stored.predict().compute())


@pytest.mark.parametrize("sample_by", ["degree", "edge_weight"])
def test_weighted_draws_give_the_same_bits(tmp_path, sample_by):
    partitioned = hub_graph(edge_weight=hub_weights()).partition(8)
    path = partitioned.save(tmp_path / "g.zarr", feature_dtype="float16")
    graphs = [daskgnn.open_graph(partitioned, 2), daskgnn.open_graph(path, 2)]
    given = {"sample_by": sample_by, "feature_dtype": "float16"}
    one, other = (fitted(graph, **given) for graph in graphs)
    assert one.params_sha256 == other.params_sha256


def test_a_run_on_a_store_goes_on_in_memory(tmp_path):
    partitioned = planted_graph().partition(8)
    path = partitioned.save(tmp_path / "g.zarr")
    whole = fitted(daskgnn.open_graph(path, 2))
    out = tmp_path / "run"
    graph = daskgnn.open_graph(path, 2)
    given = {"num_neighbors": [4, 3], "batch_size": 48, "out": out}
    daskgnn.Trainer(small_sage(graph), graph, client=None, **given).fit(1)
    graph = daskgnn.open_graph(partitioned, 2)
    run = daskgnn.Trainer(small_sage(graph), graph, client=None, **given)
    run.fit(2, resume=True)
    assert run.params_sha256 == whole.params_sha256


def test_another_order_is_another_version():
    data = planted_graph()
    one, same, other = (
        daskgnn.open_graph(data.partition(8, method), 2)
        for method in ("metis", "metis", "hash")
    )
    assert one.checksum == same.checksum != other.checksum
    assert one.graph_hash == other.graph_hash


def test_what_is_no_partitioned_graph_is_refused():
    data = planted_graph()
    with pytest.raises(InputError, match=r"GraphData, expected .*graph\.partition\(\)"):
        daskgnn.open_graph(data, 2)
    with pytest.raises(InputError, match="this process's memory"):
        daskgnn.open_graph(data.partition(8), 2, features="disk")
