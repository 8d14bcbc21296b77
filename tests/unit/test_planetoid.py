"""The Planetoid files: found, fetched, checked, and read without running anything."""

import functools
import hashlib
import http.server
import pickle
import struct
import threading
from collections import defaultdict

import numpy as np
import pytest
import scipy.sparse as sp

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets import planetoid
from daskgnn.graph.datasets.datasets import load_dataset
from daskgnn.graph.datasets.planetoid import load_pickle, load_planetoid
from daskgnn.graph.readers.memory import read_npz

NUM_NODES, NUM_REST, MISSING = 600, 560, (571, 590)


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def write_pickle(path, value):
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(value)
    data = path.read_bytes().replace(b"scipy.sparse._csr\n", b"scipy.sparse.csr\n")
    path.write_bytes(data.replace(b"numpy._core.multi", b"numpy.core.multi"))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a folder of files like Cora's, their checksums known, and the truth."""
    folder = tmp_path / "files"
    folder.mkdir()
    rng = np.random.default_rng(0)
    features = (rng.random((NUM_NODES, 7)) < 0.3).astype(np.float32)
    labels = rng.integers(0, 3, NUM_NODES)
    features[list(MISSING)], labels[list(MISSING)] = 0, -1
    test = rng.permutation(np.setdiff1d(np.arange(NUM_REST, NUM_NODES), MISSING))
    one_hot = np.eye(3, dtype=np.int32)[labels]
    graph = defaultdict(list)
    for node in rng.permutation(NUM_NODES).tolist():
        graph[node] = rng.integers(0, NUM_NODES, 3).tolist()
    parts = {
        "x": sp.csr_matrix(features[:20]),
        "y": one_hot[:20],
        "allx": sp.csr_matrix(features[:NUM_REST]),
        "ally": one_hot[:NUM_REST],
        "tx": sp.csr_matrix(features[test]),
        "ty": one_hot[test],
        "graph": graph,
    }
    for part, value in parts.items():
        write_pickle(folder / f"ind.cora.{part}", value)
    np.savetxt(folder / "ind.cora.test.index", test, fmt="%d")
    sums = {
        part: hashlib.sha256((folder / f"ind.cora.{part}").read_bytes()).hexdigest()
        for part in planetoid.CHECKSUMS["cora"]
    }
    monkeypatch.setitem(planetoid.CHECKSUMS, "cora", sums)
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    monkeypatch.setenv("DASKGNN_CACHE_DIR", str(tmp_path / "cache"))
    return folder, features, labels, test, graph


@pytest.fixture
def server(made):
    """Serve the files and return the address and what was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(made[0]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}", asked
        http_server.shutdown()
        thread.join()


def test_parts_are_put_together(made):
    folder, features, labels, test, lists = made
    graph = load_planetoid("cora", folder)
    assert np.array_equal(graph.features.toarray(), features)
    assert np.array_equal(graph.labels, labels)
    assert graph.splits["train"].tolist() == list(range(20))
    assert graph.splits["val"].tolist() == list(range(20, 520))
    assert graph.splits["test"].tolist() == sorted(test.tolist())
    pairs = {(u, v) for u, row in lists.items() for v in row if u != v}
    pairs |= {(v, u) for u, v in pairs}
    row = np.repeat(np.arange(NUM_NODES), np.diff(graph.indptr)).tolist()
    assert list(zip(row, graph.indices.tolist(), strict=True)) == sorted(pairs)


@pytest.mark.parametrize("below", ["raw/planetoid", "cora/raw", "Cora/raw"])
def test_folders_that_are_searched(made, tmp_path, monkeypatch, below):
    folder = made[0]
    (tmp_path / "data" / below).parent.mkdir(parents=True)
    folder.rename(tmp_path / "data" / below)
    assert load_planetoid("cora", tmp_path / "data").num_nodes == NUM_NODES
    monkeypatch.setenv("DASKGNN_DATA_DIR", str(tmp_path / "data"))
    assert load_dataset("Cora").num_nodes == NUM_NODES


def test_download_once_then_cache(made, server, monkeypatch, tmp_path, capsys):
    address, asked = server
    monkeypatch.setenv("DASKGNN_PLANETOID_URL", address + "/")
    (tmp_path / "other").mkdir()
    first = load_dataset("cora", data_dir=tmp_path / "other")
    assert len(asked) == 8
    assert capsys.readouterr().err.count("downloading") == 8
    second = load_dataset("cora")
    assert len(asked) == 8
    assert np.array_equal(first.indices, second.indices)
    assert len(list((tmp_path / "cache" / "planetoid").iterdir())) == 8


def test_a_damaged_file_in_the_cache_is_fetched_again(made, server, tmp_path):
    address, asked = server
    load_planetoid("cora", base_url=address)
    (tmp_path / "cache" / "planetoid" / "ind.cora.x").write_bytes(b"damage")
    load_planetoid("cora", base_url=address)
    assert len(asked) == 9


def test_a_download_that_is_not_the_file_is_refused(made, server, tmp_path):
    (made[0] / "ind.cora.x").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=r"cannot download .*ind\.cora\.x") as caught:
        load_planetoid("cora", base_url=server[0])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache" / "planetoid" / "ind.cora.x").exists()


def test_a_file_the_server_lacks_is_named(made, server):
    (made[0] / "ind.cora.ty").unlink()
    with pytest.raises(DatasetError, match=r"ind\.cora\.ty \(404"):
        load_planetoid("cora", base_url=server[0])


def test_no_network_is_said_in_one_line(made):
    with pytest.raises(DatasetError, match="DASKGNN_DATA_DIR") as caught:
        load_planetoid("cora", base_url="http://127.0.0.1:9")
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(made, tmp_path):
    folder = made[0]
    (folder / "ind.cora.ty").unlink()
    with pytest.raises(DatasetError, match=r"ind\.cora\.ty is missing"):
        load_planetoid("cora", folder)
    damaged = bytearray((folder / "ind.cora.x").read_bytes())
    damaged[-9] ^= 1
    (folder / "ind.cora.x").write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"ind\.cora\.x is damaged"):
        load_planetoid("cora", folder)
    with pytest.raises(DatasetError, match=r"data folder .*none does not exist"):
        load_planetoid("cora", tmp_path / "none")


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


class EvilEval:
    def __reduce__(self):
        return eval, ("print('this must not run')",)


@pytest.mark.parametrize("value", [Evil(), [EvilEval()], {1: sp.coo_matrix((2, 2))}])
def test_a_pickle_cannot_run_anything(tmp_path, capsys, value):
    (tmp_path / "evil").write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(DatasetError, match="is not allowed"):
        load_pickle(tmp_path / "evil")
    assert "this must not run" not in capsys.readouterr().out


def test_cut_pickles_are_named(made, tmp_path):
    whole = (made[0] / "ind.cora.x").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="cut is damaged"):
        load_pickle(tmp_path / "cut")


@pytest.mark.data
@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_the_original_files_give_the_published_graphs(data_dir, name):
    graph, expected = load_dataset(name), read_npz(data_dir / f"{name}.npz")
    for array in ("indptr", "indices", "labels"):
        found = getattr(graph, array)
        assert found.dtype == getattr(expected, array).dtype
        assert np.array_equal(found, getattr(expected, array))
    for array in ("indptr", "indices", "data"):
        assert np.array_equal(
            getattr(graph.features, array), getattr(expected.features, array)
        )
    assert graph.features.shape == expected.features.shape
    assert graph.num_classes == expected.num_classes
    assert graph.splits.keys() == expected.splits.keys() == {"train", "val", "test"}
    for split, ids in graph.splits.items():
        assert np.array_equal(ids, expected.splits[split])
    assert graph.report["isolated_nodes"] == expected.report["isolated_nodes"]


@pytest.mark.data
def test_citeseers_nodes_without_source_are_empty(data_dir):
    graph = load_dataset("citeseer", data_dir=data_dir)
    missing = np.flatnonzero(graph.labels == -1)
    assert len(missing) == 15
    assert np.diff(graph.features.indptr)[missing].sum() == 0
    assert graph.report["self_loops_dropped"] == 248
