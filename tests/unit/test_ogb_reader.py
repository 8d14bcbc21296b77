"""OGB's data sets, from files in OGB's own layout."""

import functools
import http.server
import importlib.util
import socket
import subprocess
import sys
import threading
import types
import zipfile

import numpy as np
import pandas as pd
import pytest

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets import ogb
from daskgnn.graph.datasets.datasets import load_dataset
from daskgnn.graph.datasets.known import list_datasets
from daskgnn.graph.datasets.ogb import _master, from_ogb

EDGES = np.array([[0, 1, 2, 4, 0], [1, 2, 3, 0, 1]])
FEATURES = np.arange(12, dtype=np.float32).reshape(6, 2) / 4
LABELS = np.array([[3], [39], [0], [1], [2], [5]])
SPLITS = {"train": [0, 3], "valid": [1], "test": [2, 5]}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    monkeypatch.setenv("DASKGNN_CACHE_DIR", str(tmp_path / "cache"))


def write_csv(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(values).to_csv(path, header=False, index=False, compression="gzip")


def write_splits(folder, kind):
    for name, ids in SPLITS.items():
        write_csv(folder / "split" / kind / f"{name}.csv.gz", ids)


def write_arxiv(folder):
    raw = folder / "raw"
    write_csv(raw / "edge.csv.gz", EDGES.T)
    write_csv(raw / "node-feat.csv.gz", FEATURES)
    write_csv(raw / "node-label.csv.gz", LABELS)
    write_csv(raw / "node_year.csv.gz", np.full((6, 1), 2017))
    write_csv(raw / "num-node-list.csv.gz", [6])
    write_csv(raw / "num-edge-list.csv.gz", [5])
    write_csv(folder / "mapping" / "nodeidx2paperid.csv.gz", np.arange(6))
    (folder / "processed").mkdir()
    (folder / "RELEASE_v1.txt").write_text("# Release note for ogbn-arxiv\n\n### v1\n")
    write_splits(folder, "time")


def write_papers(folder):
    raw = folder / "raw"
    raw.mkdir(parents=True)
    np.savez(
        raw / "data.npz",
        edge_index=EDGES,
        node_feat=FEATURES.astype(np.float16),
        node_year=np.full((6, 1), 2017),
        num_nodes_list=np.array([6]),
        num_edges_list=np.array([5]),
    )
    labels = LABELS.astype(np.float32)
    labels[4] = np.nan
    np.savez_compressed(raw / "node-label.npz", node_label=labels)
    (folder / "RELEASE_v1.txt").write_text("v1")
    write_splits(folder, "time")


def write_proteins(folder):
    raw = folder / "raw"
    write_csv(raw / "edge.csv.gz", EDGES.T[:4])
    write_csv(raw / "edge-feat.csv.gz", np.arange(32).reshape(4, 8) / 32)
    write_csv(raw / "node-label.csv.gz", np.arange(6 * 112).reshape(6, 112) % 2)
    write_csv(raw / "num-node-list.csv.gz", [6])
    write_csv(raw / "num-edge-list.csv.gz", [4])
    write_csv(raw / "species.csv.gz", [[9606], [3702], [9606], [7227], [3702], [9606]])
    (folder / "RELEASE_v1.txt").write_text("v1")
    write_splits(folder, "species")


def pairs_of(graph):
    row = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return set(zip(row.tolist(), graph.indices.tolist(), strict=True))


def check_arxiv(graph):
    pairs = set(zip(*EDGES.tolist(), strict=True))
    assert pairs_of(graph) == pairs | {(v, u) for u, v in pairs}
    assert np.array_equal(graph.features, FEATURES)
    assert graph.labels.tolist() == LABELS[:, 0].tolist()
    assert graph.num_classes == 40
    assert graph.metric == "ogb:ogbn-arxiv"
    assert {name: ids.tolist() for name, ids in graph.splits.items()} == {
        "train": [0, 3],
        "val": [1],
        "test": [2, 5],
    }
    assert graph.report["duplicates_dropped"] == 1
    assert graph.report["isolated_nodes"] == 1


@pytest.mark.parametrize("below", ["ogbn_arxiv", "arxiv", "ogb/ogbn_arxiv"])
def test_arxiv_loads_a_first_and_a_second_time(tmp_path, below):
    write_arxiv(tmp_path / below)
    before = sorted(tmp_path.rglob("*"))
    check_arxiv(from_ogb("ogbn-arxiv", tmp_path))
    check_arxiv(load_dataset("OGBN-arxiv", data_dir=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_copy_that_ogb_has_processed_loads_too(tmp_path):
    write_arxiv(tmp_path / "ogbn_arxiv")
    saved = tmp_path / "ogbn_arxiv" / "processed" / "data_processed"
    saved.write_bytes(b"what ogb saved with another torch")
    check_arxiv(from_ogb("ogbn-arxiv", tmp_path))


def test_the_direction_of_citations_can_be_kept(tmp_path):
    write_arxiv(tmp_path / "ogbn_arxiv")
    graph = load_dataset("ogbn-arxiv", data_dir=tmp_path, directed=True)
    assert pairs_of(graph) == {(v, u) for u, v in EDGES.T.tolist()}


def test_the_files_are_as_ogb_reads_them(tmp_path, monkeypatch):
    """What we wrote is OGB's layout: its own reader finds the same arrays."""
    monkeypatch.setitem(sys.modules, "ogb.utils.url", ogb._ogb_module("utils/url.py"))
    for name in ("ogb", "ogb.utils"):
        package = types.ModuleType(name)
        package.__spec__ = importlib.util.find_spec("ogb")
        monkeypatch.setitem(sys.modules, name, package)
    reader = ogb._ogb_module("io/read_graph_raw.py")
    write_arxiv(tmp_path / "arxiv")
    write_papers(tmp_path / "papers")
    graph = reader.read_csv_graph_raw(str(tmp_path / "arxiv" / "raw"))[0]
    assert np.array_equal(graph["edge_index"], EDGES)
    assert np.array_equal(graph["node_feat"], FEATURES)
    graph = reader.read_binary_graph_raw(str(tmp_path / "papers" / "raw"))[0]
    assert np.array_equal(graph["edge_index"], EDGES)
    assert graph["num_nodes"] == 6


def test_papers_load_from_the_binary_layout(tmp_path):
    write_papers(tmp_path / "papers100M-bin")
    for _ in range(2):
        graph = from_ogb("ogbn-papers100m", tmp_path)
        assert graph.features.dtype == np.float32
        assert np.array_equal(graph.features, FEATURES)
        assert graph.labels.tolist() == [3, 39, 0, 1, -1, 5]
        assert graph.num_classes == 172
        assert graph.metric == "ogb:ogbn-papers100M"


def test_proteins_load_with_edge_features_and_yes_no_targets(tmp_path):
    write_proteins(tmp_path / "ogbn_proteins")
    graph = from_ogb("ogbn-proteins", tmp_path)
    assert graph.multilabel
    assert graph.num_classes == 112
    assert graph.features is None
    values = graph.edge_attr["edge_feat"]
    assert values.shape == (8, 8)
    row = np.repeat(np.arange(6), np.diff(graph.indptr))
    for k, (u, v) in enumerate(EDGES.T[:4].tolist()):
        for ends in ((u, v), (v, u)):
            entry = (row == ends[0]) & (graph.indices == ends[1])
            assert np.array_equal(values[entry][0], np.arange(8 * k, 8 * k + 8) / 32)
    graph = from_ogb("ogbn-proteins", tmp_path, features="species")
    assert graph.features.argmax(axis=1).tolist() == [2, 0, 2, 1, 0, 2]
    with pytest.raises(DatasetError, match="features='kind' is unknown"):
        from_ogb("ogbn-proteins", tmp_path, features="kind")
    with pytest.raises(DatasetError, match="ogbn-proteins is undirected"):
        from_ogb("ogbn-proteins", tmp_path, directed=True)


@pytest.mark.parametrize("name", ["raw/edge", "raw/node-label", "split/time/valid"])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    folder = tmp_path / "ogbn_arxiv"
    write_arxiv(folder)
    path = folder / f"{name}.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DatasetError, match=r"csv\.gz is damaged") as caught:
        from_ogb("ogbn-arxiv", tmp_path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"csv\.gz is damaged"):
        from_ogb("ogbn-arxiv", tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"is missing|pass yes=True"):
        from_ogb("ogbn-arxiv", tmp_path)


def test_arrays_that_are_not_needed_are_not_read(tmp_path):
    folder = tmp_path / "ogbn_papers100M"
    write_papers(folder)
    path = folder / "raw" / "data.npz"
    with np.load(path) as file:
        arrays = dict(file)
    # An array of objects could not be read.
    arrays["node_year"] = np.array([{}], dtype=object)
    np.savez(path, **arrays)
    assert from_ogb("ogbn-papers100M", tmp_path).num_nodes == 6


def test_damaged_binary_files_are_named(tmp_path):
    folder = tmp_path / "ogbn_papers100M"
    write_papers(folder)
    (folder / "raw" / "node-label.npz").unlink()
    with pytest.raises(DatasetError, match=r"node-label\.npz is missing"):
        from_ogb("ogbn-papers100M", tmp_path)
    whole = (folder / "raw" / "data.npz").read_bytes()
    (folder / "raw" / "data.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="is damaged"):
        from_ogb("ogbn-papers100M", tmp_path)


def test_edges_that_are_not_all_there_are_noticed(tmp_path):
    write_arxiv(tmp_path / "ogbn_arxiv")
    write_csv(tmp_path / "ogbn_arxiv" / "raw" / "num-edge-list.csv.gz", [7])
    with pytest.raises(DatasetError, match="holds 5 edges, expected 7"):
        from_ogb("ogbn-arxiv", tmp_path)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ogbn-arxiv", "0.08 GB"),
        ("ogbn-products", "1.38 GB"),
        ("ogbn-papers100M", "56 GB"),
    ],
)
def test_without_yes_the_size_is_said_and_nothing_fetched(
    tmp_path, monkeypatch, name, size
):
    def refuse(*args, **kwargs):
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("builtins.input", refuse)
    with pytest.raises(DatasetError, match=f"{size}.*pass yes=True") as caught:
        load_dataset(name, data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert f"{size}: give --yes" in caught.value.in_shell
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a zip in OGB's form in place of ogbn-arxiv's; return the served folder."""
    write_arxiv(tmp_path / "made" / "arxiv")
    folder = tmp_path / "served"
    folder.mkdir()
    with zipfile.ZipFile(folder / "arxiv.zip", "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "made"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{http_server.server_port}/arxiv.zip"
        table = ogb.ogb_table("ogbn-arxiv") | {"url": url}
        monkeypatch.setattr(ogb, "ogb_table", lambda name: table)
        yield folder
        http_server.shutdown()
        thread.join()


@pytest.mark.usefixtures("server")
def test_yes_downloads_without_a_question(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    (tmp_path / "data").mkdir()
    check_arxiv(from_ogb("ogbn-arxiv", tmp_path / "data", yes=True))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ogbn_arxiv"]
    check_arxiv(from_ogb("ogbn-arxiv", tmp_path / "data"))


def test_a_damaged_download_leaves_nothing(tmp_path, server):
    archive = server / "arxiv.zip"
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="cannot download"):
        from_ogb("ogbn-arxiv", yes=True)
    assert list((tmp_path / "cache" / "ogb").iterdir()) == []


def test_a_server_that_lacks_the_file_is_named(server):
    (server / "arxiv.zip").unlink()
    with pytest.raises(DatasetError, match=r"cannot download http.*404"):
        from_ogb("ogbn-arxiv", yes=True)


def test_unknown_and_typed_graphs_are_refused():
    with pytest.raises(DatasetError, match="did you mean ogbn-products"):
        from_ogb("ogbn-product")
    with pytest.raises(DatasetError, match="several types of nodes"):
        from_ogb("ogbn-mag")


def test_all_sets_with_one_type_are_listed():
    listed = {row.name for row in list_datasets() if row.source == "OGB"}
    assert listed == set(_master()) - {"ogbn-mag"}


@pytest.mark.slow
def test_nothing_of_ogb_starts_a_thread_or_asks_the_network(tmp_path):
    write_arxiv(tmp_path / "ogbn_arxiv")
    code = (
        "import socket, sys, threading\n"
        "def refuse(*args, **kwargs): raise SystemExit('the network was asked')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from daskgnn.graph.datasets import ogb\n"
        "before = threading.active_count()\n"
        f"ogb.from_ogb('ogbn-arxiv', {str(tmp_path)!r})\n"
        "ogb._ogb_module('utils/url.py')\n"
        "assert threading.active_count() == before\n"
        "assert 'ogb' not in sys.modules and 'outdated' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
