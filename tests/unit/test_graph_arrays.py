"""The Dask arrays of a stored graph equal the permuted matrices, and travel well."""

import pickle
import subprocess
import sys
import threading

import dask
import numpy as np
import pytest
import scipy.sparse as sp
import sparse
from dask.sizeof import sizeof
from stored_graphs import dense, make_graph, matrix_of
from training import mostly_slow

from daskgnn.graph.opening import open_graph
from daskgnn.graph.sources.gcxs import csr_block, gcxs_bytes, ones, register_sizeof
from daskgnn.kernels.features import normalize_rows


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="sync"):
        yield


def bags():
    found = sp.random_array((60, 40), density=0.05, rng=0, dtype=np.float32)
    return sp.csr_array(found)


def weights_of(count=240):
    return np.random.default_rng(4).random(count).astype(np.float32)


GRAPHS = {
    "plain": make_graph,
    "weighted": lambda: make_graph(edge_weight=weights_of(), features=bags()),
    "directed": lambda: make_graph(directed=True),
}


@pytest.fixture(params=mostly_slow(GRAPHS, "plain", "directed"))
def pair(request, tmp_path):
    """A graph in memory, and the same one stored."""
    data = GRAPHS[request.param]()
    path = data.partition(8).save(tmp_path / "g.zarr")
    return data, open_graph(path, num_parts=3)


def permuted(data, graph):
    """The adjacency in storage order, by SciPy."""
    order = graph.original_ids.compute()
    return matrix_of(data)[order][:, order].toarray()


def test_normalizing_csr_rows_checks_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The constructor's checks would be compiled in each process."""
    values = np.array([[1, 3, 0], [0, 0, 0], [0, 2, 2]], np.float32)
    block = csr_block(
        np.array([0, 2, 2, 4]),
        np.array([0, 1, 1, 2], np.int32),
        np.array([1, 3, 2, 2], np.float32),
        (3, 3),
    )
    monkeypatch.delattr(sparse.GCXS, "__init__")
    found = normalize_rows(block)
    monkeypatch.undo()
    assert type(found) is sparse.GCXS
    assert found.dtype == np.float32
    assert found.fill_value == 0
    assert np.array_equal(found.todense(), normalize_rows(values))
    assert np.array_equal(block.todense(), values)


def test_adjacency_is_the_permuted_matrix(pair):
    data, graph = pair
    expected = permuted(data, graph)
    found = graph.adjacency.compute()
    np.testing.assert_array_equal(found.todense(), expected)
    assert found.dtype == graph.adjacency.dtype == np.float32
    assert graph.adjacency.shape == (60, 60)
    assert graph.adjacency.numblocks == (3, 1)
    assert isinstance(graph.adjacency._meta, sparse.GCXS)
    book = graph.partition_book
    assert graph.adjacency.chunks == (tuple(np.diff(book)), (60,))
    for p in range(3):
        block = graph.adjacency.blocks[p].compute()
        assert isinstance(block, sparse.GCXS)
        assert block.compressed_axes == (0,)
        np.testing.assert_array_equal(block.todense(), expected[book[p] : book[p + 1]])


@pytest.mark.slow  # sparse compiles what it adds up with
def test_adjacency_is_an_ordinary_dask_array(pair):
    data, graph = pair
    expected = permuted(data, graph)
    for axis in (0, 1):
        found = graph.adjacency.sum(axis=axis).compute()
        np.testing.assert_allclose(dense(found), expected.sum(axis=axis), rtol=1e-6)
    found = dense(graph.adjacency.sum().compute())
    assert found == pytest.approx(expected.sum(), rel=1e-6)
    for rows, columns in [
        (slice(None), slice(10, 30)),
        (slice(5, 50), slice(40, None)),
        (17, slice(None)),
    ]:
        found = graph.adjacency[rows, columns].compute()
        np.testing.assert_array_equal(dense(found), expected[rows, columns])


def test_columns_of_rows_are_sorted(pair):
    _, graph = pair
    for p in range(3):
        block = graph.adjacency.blocks[p].compute()
        for i in range(block.shape[0]):
            row = block.indices[block.indptr[i] : block.indptr[i + 1]]
            assert (np.diff(row) > 0).all()


def test_node_arrays(pair):
    data, graph = pair
    order = graph.original_ids.compute()
    np.testing.assert_array_equal(np.sort(order), np.arange(60))
    expected = dense(data.features)[order]
    np.testing.assert_array_equal(dense(graph.features.compute()), expected)
    found = graph.features[5:40, 1:4].compute()
    np.testing.assert_array_equal(dense(found), expected[5:40, 1:4])
    np.testing.assert_array_equal(graph.labels.compute(), data.labels[order])
    found = graph.features.sum(axis=0).compute()
    np.testing.assert_allclose(dense(found), expected.sum(axis=0), rtol=1e-5)
    for array in (graph.features, graph.labels, graph.original_ids):
        assert array.chunks[0] == graph.adjacency.chunks[0]
        for p in range(3):
            assert array.blocks[p].compute().dtype == array.dtype
    for name, ids in graph.splits.items():
        assert ids.dtype == np.int64
        assert (np.diff(ids) > 0).all()
        np.testing.assert_array_equal(np.sort(order[ids]), data.splits[name])
    ids = np.array([59, 0, 31, 31, 7])
    np.testing.assert_array_equal(graph.original_ids_of(ids), order[ids])


def test_yes_no_labels(tmp_path):
    labels = np.random.default_rng(1).integers(0, 2, (60, 4)).astype(np.float32)
    labels[50:] = np.nan
    data = make_graph(
        labels=labels, num_classes=4, train=np.arange(20), val=None, test=None
    )
    graph = open_graph(data.partition(8).save(tmp_path / "g.zarr"), 3)
    assert graph.multilabel
    assert graph.labels.shape == (60, 4)
    order = graph.original_ids.compute()
    np.testing.assert_array_equal(graph.labels.compute(), labels[order])


def test_facts(pair):
    data, graph = pair
    assert graph.num_nodes == data.num_nodes
    assert graph.num_edges == data.num_edges
    assert graph.num_features == data.num_features
    assert graph.num_classes == data.num_classes
    assert graph.max_degree == np.diff(data.indptr).max()
    assert graph.weighted == (data.edge_weight is not None)
    assert graph.directed == data.directed
    assert graph.report == data.report
    assert graph.index_dtype == np.int32
    assert graph.num_clusters == 8
    assert "halves" in repr(graph)
    assert "3 of at most 8 parts" in repr(graph)


def test_keys_name_the_store_and_the_parts(tmp_path):
    data = make_graph()
    metis = data.partition(8).save(tmp_path / "metis.zarr")
    hashed = data.partition(8, "hash").save(tmp_path / "hash.zarr")
    graphs = [open_graph(metis, 2), open_graph(metis, 3), open_graph(hashed, 2)]
    names = {graph.adjacency.name for graph in graphs}
    assert len(names) == 3
    again = open_graph(metis, 2)
    assert again.adjacency.name == graphs[0].adjacency.name
    keys = set(dict(graphs[0].adjacency.__dask_graph__()))
    assert keys == {(graphs[0].adjacency.name, p, 0) for p in range(2)}
    keys = set(dict(graphs[0].labels.__dask_graph__()))
    assert keys == {(graphs[0].labels.name, p) for p in range(2)}


def test_tasks_travel_and_run_in_threads(pair):
    data, graph = pair
    tasks = dict(graph.adjacency.__dask_graph__())
    travelled = pickle.loads(pickle.dumps(tasks))
    expected = permuted(data, graph)
    found = {}

    def run(key):
        found[key] = travelled[key]().todense()

    threads = [threading.Thread(target=run, args=(key,)) for key in travelled]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [found[key] for key in sorted(found, key=lambda key: key[1])]
    np.testing.assert_array_equal(np.concatenate(rows), expected)


def constant_block(count=100_000):
    indptr = np.array([0, count], np.int64)
    return csr_block(indptr, np.arange(count, dtype=np.int32), ones(count), (1, count))


def test_equal_weights_travel_as_one_number():
    block = constant_block()
    buffers = []
    head = pickle.dumps(block, protocol=5, buffer_callback=buffers.append)
    assert len(head) < 1000
    assert sum(b.raw().nbytes for b in buffers) == 400_000 + 16 + 4
    found = pickle.loads(head, buffers=buffers)
    assert found.data.strides == (0,)
    assert found.compressed_axes == (0,)
    assert found.shape == block.shape
    np.testing.assert_array_equal(found.indices, block.indices)
    assert (found.data == 1).all()
    assert len(pickle.dumps(found)) < 402_000


def test_a_receiver_needs_no_import():
    script = "import pickle, sys; b = pickle.load(sys.stdin.buffer); print(b.nnz)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(constant_block(7)),
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"7"]


@pytest.mark.parametrize("shape", [(), (4,), (4, 5), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("fill", [0, 2.5])
def test_any_block_travels(shape, fill):
    rng = np.random.default_rng(0)
    values = np.where(rng.random(shape) < 0.5, rng.random(shape), fill)
    block = sparse.GCXS.from_numpy(np.asarray(values), fill_value=fill)
    found = pickle.loads(pickle.dumps(block))
    assert type(found) is sparse.GCXS
    np.testing.assert_array_equal(found.todense(), values)
    assert found.fill_value == block.fill_value
    assert found.compressed_axes == block.compressed_axes
    assert found.dtype == block.dtype


def test_size_of_blocks():
    register_sizeof(sizeof)
    block = constant_block()
    assert 400_000 < sizeof(block) < 401_000
    weighted = csr_block(
        block.indptr, block.indices, np.ones(100_000, np.float32), block.shape
    )
    assert sizeof(weighted) == gcxs_bytes(weighted) > 800_000


def test_a_block_is_what_sparse_itself_makes_of_the_arrays():
    indptr, indices = np.array([0, 2, 2, 3]), np.array([1, 3, 0], np.int32)
    for data in (np.array([1.0, 2.0, 0.5], np.float32), ones(3)):
        block = csr_block(indptr, indices, data, (3, 4))
        own = sparse.GCXS((data, indices, indptr), shape=(3, 4), compressed_axes=(0,))
        assert vars(block).keys() == vars(own).keys()
        for name, value in vars(own).items():
            assert type(vars(block)[name]) is type(value)
            np.testing.assert_array_equal(vars(block)[name], value)
        np.testing.assert_array_equal((block + block).todense(), 2 * own.todense())
        copied = pickle.loads(pickle.dumps(block))
        np.testing.assert_array_equal(copied.todense(), own.todense())
