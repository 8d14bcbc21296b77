"""Data sets by name."""

import networkx as nx
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets.datasets import load_dataset, resolve
from daskgnn.graph.datasets.known import DatasetInfo, list_datasets


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    monkeypatch.setenv("DASKGNN_CACHE_DIR", str(tmp_path / "cache"))


def pairs_of(graph):
    row = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return set(zip(row.tolist(), graph.indices.tolist(), strict=True))


def test_karate_is_the_club_networkx_knows():
    graph, club = load_dataset("karate"), nx.karate_club_graph()
    assert pairs_of(graph) == {(u, v) for u in club for v in club[u]}
    clubs = [club.nodes[node]["club"] != "Mr. Hi" for node in club]
    assert np.array_equal(graph.labels, clubs)
    assert np.array_equal(graph.features, np.eye(34))
    assert sum(map(len, graph.splits.values())) == 34


def test_digits_are_joined_to_their_nearest():
    graph = load_dataset("digits")
    pixels, labels = load_digits(return_X_y=True)
    assert np.array_equal(graph.labels, labels)
    assert np.array_equal(graph.features, (pixels / 16).astype(np.float32))
    finder = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(pixels)
    tenth = finder.kneighbors(pixels)[0][:, -1] ** 2
    pairs = pairs_of(graph)
    assert pairs == {(v, u) for u, v in pairs}
    row, column = np.array(sorted(pairs)).T
    squared = ((pixels[row] - pixels[column]) ** 2).sum(axis=1)
    assert (squared <= np.maximum(tenth[row], tenth[column]) + 0.5).all()
    assert np.diff(graph.indptr).min() >= 10


def test_equally_near_digits_are_chosen_by_number():
    pixels, _ = load_digits(return_X_y=True)
    graph = load_dataset("digits")
    whole = pixels.astype(np.int64)
    chosen = set()
    for node, image in enumerate(whole):
        squared = ((whole - image) ** 2).sum(axis=1)
        order = [i for i in np.argsort(squared, kind="stable").tolist() if i != node]
        chosen |= {(node, near) for near in order[:10]}
    assert pairs_of(graph) == chosen | {(v, u) for u, v in chosen}


def test_digits_split_is_fixed():
    splits = load_dataset("digits").splits
    assert [len(splits[name]) for name in ("train", "val", "test")] == [1078, 359, 360]
    assert splits["train"][:5].tolist() == [1, 2, 4, 5, 6]
    assert splits["test"][:5].tolist() == [11, 23, 24, 25, 28]
    assert len(np.unique(np.concatenate(list(splits.values())))) == 1797


def test_the_list_tells_the_truth():
    rows = {row.name: row for row in list_datasets()}
    assert all(isinstance(row, DatasetInfo) for row in rows.values())
    for name in ("digits", "karate"):
        check_row(rows[name], load_dataset(name))


@pytest.mark.data
@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_the_list_tells_the_truth_of_files(data_dir, name):
    row = next(row for row in list_datasets() if row.name == name)
    check_row(row, load_dataset(name, data_dir=data_dir))


def check_row(row, graph):
    assert row.nodes == graph.num_nodes
    assert 2 * row.edges == graph.num_edges
    assert row.features == graph.num_features
    assert row.classes == graph.num_classes


@pytest.mark.parametrize(
    ("text", "nodes", "edges"),
    [
        ("planted:nodes=200,edges=500,classes=4,seed=2", 200, 500),
        ("planted:num_nodes=200,edges=500,shuffle=false,leave=0.5", 200, 500),
        ("rmat:scale=7,edges=300", 128, 300),
        ("RMAT:scale=7,edges=3e2,classes=0,features=0", 128, 300),
    ],
)
def test_drawn_graphs_by_specification(text, nodes, edges):
    graph = resolve(text)
    assert graph.num_nodes == nodes
    assert graph.report["input_edges"] == edges


def test_drawn_graphs_by_options():
    graph = load_dataset("planted", nodes=100, edges=200, classes=3, seed=1)
    same = resolve("planted:nodes=100,edges=200,classes=3,seed=1")
    assert np.array_equal(graph.indices, same.indices)
    assert np.array_equal(graph.features, same.features)


def save_npz(path):
    graph = load_dataset("karate")
    np.savez(path, indptr=graph.indptr, indices=graph.indices, labels=graph.labels)


def test_npz_files_by_path_and_by_name(tmp_path, monkeypatch):
    save_npz(tmp_path / "mine.npz")
    assert resolve(str(tmp_path / "mine.npz")).num_nodes == 34
    assert resolve(tmp_path / "mine.npz").name == "mine"
    assert load_dataset("mine", data_dir=tmp_path).num_nodes == 34
    assert (
        load_dataset("mine", data_dir=tmp_path, metric="f1_micro").metric == "f1_micro"
    )
    monkeypatch.setenv("DASKGNN_DATA_DIR", str(tmp_path))
    assert resolve("mine").num_classes == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coraa", "unknown data set 'coraa': did you mean cora"),
        ("digit", "did you mean digits"),
        ("pubmd", "did you mean pubmed"),
        ("plantd:nodes=3", "did you mean planted"),
        ("qqqq", "one of digits, karate, cora"),
        ("ogbn-arxv", "did you mean ogbn-arxiv"),
        ("no/such", "no file no/such"),
        ("none.npz", r"no file none\.npz"),
        ("planted:nodes=10", "needs edges: give e.g. 'planted:nodes="),
        ("planted:nodes=10,edges=12,foo=1", "no option 'foo', expected num_nodes"),
        ("planted:nodes", "cannot read 'nodes'"),
        ("planted:nodes=ten,edges=5", "nodes is 'ten', expected a number"),
        ("planted:nodes=10.5,edges=5", "nodes is 10.5, expected a whole number"),
        ("planted:nodes=10,edges=12,seed=-1", "seed is -1"),
        ("planted:nodes=1,edges=12", "num_nodes is 1"),
        ("planted:nodes=10,edges=46", "num_edges is 46, expected 1 to 45"),
        ("planted:nodes=10,edges=12,classes=11", "num_classes is 11"),
        ("planted:nodes=10,edges=12,leave=2", "leave is 2"),
        ("planted:nodes=99,edges=120,exponent=2", "exponent is 2"),
        ("planted:nodes=99,edges=990,max_degree=3", "below the mean degree"),
        ("planted:nodes=99,edges=120,train=0.9,val=0.9", r"train \+ val \+ test"),
        ("planted:nodes=99,edges=120,features=-1", "num_features is -1"),
        ("rmat:scale=40,edges=5", "scale is 40"),
        ("rmat:scale=4,edges=5,a=0.9,b=0.9", "expected 0 to 1"),
    ],
)
def test_bad_names_get_one_line(text, message):
    with pytest.raises(DatasetError, match=message) as caught:
        resolve(text)
    assert "\n" not in str(caught.value)


def test_options_that_a_data_set_does_not_take_are_named():
    with pytest.raises(
        DatasetError, match="'karate' has no option 'split', expected no"
    ):
        load_dataset("karate", split=3)


def test_paths_of_other_things_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=r"neither a graph file .*nor a store"):
        resolve(tmp_path / "folder")


def test_a_folder_named_like_a_data_set_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "karate").mkdir()
    assert resolve("karate").num_nodes == 34


def test_a_data_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        load_dataset("cora", data_dir=tmp_path / "none")
