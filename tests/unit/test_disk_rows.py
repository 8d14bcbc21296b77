"""Feature rows read from a store's files are those that are held in memory."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from stored_graphs import make_graph
from training import forking, planted_graph, small_sage, stored

import daskgnn
from daskgnn.errors import InputError, StoreError
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.graph.store import writer
from daskgnn.graph.store.store import open_store
from daskgnn.kernels.features import dense, normalize_rows, some_rows, table
from daskgnn.kernels.preads import read_rows


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def store(request, tmp_path, monkeypatch):
    """A store whose features lie in many chunks."""
    monkeypatch.setattr(writer, "CHUNK_BYTES", 200)
    path = tmp_path / "g.zarr"
    make_graph().partition(8).save(path, feature_dtype=request.param)
    return open_store(path)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_are_those_in_memory(store, dtype, normalize):
    rows = ZarrSource(store.path).row_reader(7, 51, dtype, normalize)
    if dtype == "float32":
        held = ZarrSource(store.path).load_features(7, 51)
        held = normalize_rows(held) if normalize else held
    else:
        held = ZarrSource(store.path).load_features(7, 51, dtype, normalize)
    assert rows.shape == held.shape
    assert rows.dtype == held.dtype
    np.testing.assert_array_equal(table(rows), held)
    for wanted in ([], [0], [43], [3, 4, 5, 9, 40], [5, 2, 2, 43, 0]):
        ids = np.array(wanted, np.int64)
        np.testing.assert_array_equal(some_rows(rows, ids), held[ids])
        read = dense(some_rows(rows, ids))
        np.testing.assert_array_equal(read, dense(some_rows(held, ids)))
    there = pickle.loads(pickle.dumps(rows))
    np.testing.assert_array_equal(table(there), held)


def test_rows_outside_the_part_are_refused(store):
    rows = ZarrSource(store.path).row_reader(7, 51, "float32", False)
    for wrong in (-1, 44):
        with pytest.raises(IndexError):
            rows.take(np.array([wrong]))


def test_a_chunk_that_is_cut_short_or_gone_is_named(store):
    rows = ZarrSource(store.path).row_reader(0, 60, "float32", False)
    chunk = Path(store.path, "features/c/1/0")
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:30])
    with pytest.raises(StoreError, match="chunk 'c/1/0' of array 'features'"):
        table(rows)
    with pytest.raises(StoreError, match="chunk 'c/1/0' of array 'features'"):
        ZarrSource(store.path).row_reader(0, 60, "float32", False)
    chunk.unlink()
    with pytest.raises(StoreError, match="chunk 'c/1/0' of array 'features'"):
        table(rows)


def test_runs_and_single_rows_are_read(tmp_path):
    values = np.arange(4000, dtype=np.int32).reshape(1000, 4)
    path = tmp_path / "rows"
    path.write_bytes(values.tobytes())
    wanted = np.array([0, 1, 2, 500, 501, 999])
    out = np.empty((6, 4), np.int32)
    with path.open("rb") as file:
        assert read_rows(file.fileno(), wanted * 16, out) == -1
        np.testing.assert_array_equal(out, values[wanted])
        assert read_rows(file.fileno(), np.array([0, 1000]) * 16, out[:2]) == 1


def test_only_dense_rows_stay_on_the_disk(tmp_path):
    few = sp.random_array((60, 200), density=0.02, rng=np.random.default_rng(0))
    sparse = make_graph(features=sp.csr_array(few.astype(np.float32)))
    sparse.partition(4).save(tmp_path / "sparse.zarr")
    with pytest.raises(InputError, match="are stored as CSR"):
        daskgnn.open_graph(tmp_path / "sparse.zarr", 2, features="disk")
    make_graph(features=None).partition(4).save(tmp_path / "none.zarr")
    with pytest.raises(InputError, match="are missing"):
        daskgnn.open_graph(tmp_path / "none.zarr", 2, features="disk")
    told = "features='tape', expected one of 'auto', 'memory'"
    with pytest.raises(InputError, match=told):
        daskgnn.open_graph(tmp_path / "none.zarr", 2, features="tape")


@pytest.mark.parametrize(
    ("dtype", "parts", "normalize"),
    [
        ("float32", 1, False),
        ("float32", 3, True),
        ("bfloat16", 3, False),
        ("bfloat16", 1, True),
    ],
)
def test_a_run_without_workers_has_the_same_bits(tmp_path, dtype, parts, normalize):
    path = stored(planted_graph(200), tmp_path / "g.zarr")
    found = []
    for where in ("memory", "disk"):
        graph = daskgnn.open_graph(path, parts, features=where)
        run = daskgnn.Trainer(
            small_sage(graph),
            graph,
            num_neighbors=[4, 3],
            batch_size=24,
            normalize_features=normalize,
            feature_dtype=dtype,
        )
        run.fit(2)
        found.append((run.params_sha256, run.summary()["test_accuracy"]))
    assert found[0] == found[1]


def tell_peak_memory(told, path, where):
    """Train, and tell the peak memory of this process, in bytes."""
    graph = daskgnn.open_graph(path, 2, features=where)
    run = daskgnn.Trainer(small_sage(graph), graph, num_neighbors=[2, 2], batch_size=8)
    run.fit(1)
    # Not ru_maxrss, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    told.put(int(status.split("VmHWM:")[1].split()[0]) * 1024)


def peak_memory(path, where):
    """Return the peak memory of a process of its own that trains."""
    told = forking().SimpleQueue()
    process = forking().Process(target=tell_peak_memory, args=(told, path, where))
    process.start()
    process.join()
    assert process.exitcode == 0
    return told.get()


def test_memory_does_not_grow_with_the_features(tmp_path):
    nodes, columns = 8000, 1500
    rng = np.random.default_rng(0)
    features = rng.standard_normal((nodes, columns), dtype=np.float32)
    graph = daskgnn.from_edge_index(
        rng.integers(0, nodes, (2, 2 * nodes)),
        num_nodes=nodes,
        features=features,
        labels=np.arange(nodes) % 3,
        train=np.arange(64),
    )
    path = graph.partition(8, "range").save(tmp_path / "g.zarr")
    held, left = (peak_memory(path, where) for where in ("memory", "disk"))
    # All but some windows' rows of the 48 MB.
    assert held - left > 0.8 * features.nbytes
