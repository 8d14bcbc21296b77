"""Nodes, classes and columns keep the names that users gave them.

Oracles: pandas, networkx, PyG, scikit-learn.
"""

import json

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from sklearn.metrics import (
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)
from training import inside, invoked, small_sage

import daskgnn

KINDS = ["owl", "cat", "dog"]
IMPORTS_PYG = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table of nodes with words as ids and classes, and one of edges."""
    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    names = np.array([f"n{i}" for i in rng.permutation(60)])
    kind = rng.integers(0, 3, 60)
    nodes = pd.DataFrame(
        {
            "id": names,
            "kind": np.array(KINDS)[kind],
            "split": np.array(["train", "val", "test"])[rng.integers(0, 3, 60)],
            **{f"x{c}": (kind == c) + rng.normal(size=60) / 9 for c in range(3)},
        }
    )
    ends = rng.integers(0, 60, (2, 300))
    edges = pd.DataFrame({"source": names[ends[0]], "destination": names[ends[1]]})
    nodes.to_csv(folder / "nodes.csv", index=False)
    edges.to_csv(folder / "edges.csv", index=False)
    return folder, nodes


@pytest.fixture(scope="module")
def run(tables):
    """A run of the command line on them, and what ``partition`` printed."""
    folder, _ = tables
    edges, store = str(folder / "edges.csv"), str(folder / "g.zarr")
    nodes = str(folder / "nodes.csv")
    told = inside("partition", edges, store, "--nodes", nodes, "--labels", "kind")
    words = ["--workers", "0", "--epochs", "9", "--lr", "0.05"]
    out = str(folder / "run")
    inside("train", store, "--out", out, *words)
    return out, told


def test_predictions_have_the_users_ids_and_classes(tables, run, tmp_path):
    _, nodes = tables
    out = tmp_path / "x.parquet"
    inside("predict", run[0], "--out", str(out))
    found = pq.read_table(out).to_pandas()
    assert list(found.columns) == ["id", "prediction", *sorted(KINDS)]
    assert found["id"].tolist() == nodes["id"].tolist()
    best = found[sorted(KINDS)].idxmax(axis=1)
    assert found["prediction"].tolist() == best.tolist()
    both = nodes.merge(found, on="id")
    assert (both["kind"] == both["prediction"]).mean() > 0.8


def test_scores_of_each_class(tables, run, tmp_path):
    _, nodes = tables
    scores = json.loads(inside("evaluate", run[0], "--per-class"))
    out = tmp_path / "x.parquet"
    inside("predict", run[0], "--out", str(out))
    both = nodes.merge(pq.read_table(out).to_pandas(), on="id")
    both = both[both["split"] == "test"]
    expected = precision_recall_fscore_support(
        both["kind"], both["prediction"], labels=sorted(KINDS), zero_division=0
    )
    assert list(scores["classes"]) == sorted(KINDS)
    for name, *figures in zip(sorted(KINDS), *expected, strict=True):
        assert list(scores["classes"][name].values()) == pytest.approx(figures)


def test_scores_are_chosen_in_a_shell(tables, run, tmp_path):
    _, nodes = tables
    words = ["--metric", "f1_macro,roc_auc", "--split", "val"]
    scores = json.loads(inside("evaluate", run[0], *words))
    out = str(tmp_path / "x.parquet")
    inside("predict", run[0], "--nodes", "val", "--out", out)
    found = nodes.merge(pd.read_parquet(out), on="id")
    truth, chosen = found["kind"], found["prediction"]
    assert scores["f1_macro"] == pytest.approx(f1_score(truth, chosen, average="macro"))
    shares = softmax(found[sorted(KINDS)].to_numpy(), axis=1)
    expected = roc_auc_score(truth, shares, multi_class="ovr", labels=sorted(KINDS))
    assert scores["roc_auc"] == pytest.approx(expected, abs=1e-5)
    done = invoked("evaluate", run[0], "--metric", "bleu")
    assert (done.returncode, "--metric bleu" in done.stderr) == (2, True)


def test_some_nodes_are_predicted_in_a_shell(tables, run, tmp_path):
    """A split, ids, or a file of ids: rows in that order, as pandas selects them."""
    _, nodes = tables
    inside("predict", run[0], "--out", str(tmp_path / "all.parquet"))
    every = pd.read_parquet(tmp_path / "all.parquet").set_index("id")
    known = nodes["id"].tolist()
    (tmp_path / "ids.txt").write_text(f"{known[5]}\n\n{known[1]}\n")
    cases = {
        "test": nodes[nodes["split"] == "test"]["id"].tolist(),
        f"{known[3]}, {known[0]}": [known[3], known[0]],
        f"@{tmp_path / 'ids.txt'}": [known[5], known[1]],
    }
    for number, (text, ids) in enumerate(cases.items()):
        out = str(tmp_path / f"{number}.parquet")
        inside("predict", run[0], "--nodes", text, "--out", out)
        found = pd.read_parquet(out).set_index("id")
        pd.testing.assert_frame_equal(found, every.loc[ids], rtol=1e-4, atol=1e-5)
    for text, said in [("nobody", "'nobody'"), ("@none.txt", "none.txt"), ("", "''")]:
        words = ["--nodes", text, "--out", str(tmp_path / "x.parquet")]
        done = invoked("predict", run[0], *words)
        assert done.returncode == 2
        assert said in done.stderr


def test_class_names_stand_in_store_summary_and_report(tables, run):
    folder, _ = tables
    assert "classes: cat, dog, owl" in run[1]
    graph = daskgnn.open_graph(folder / "g.zarr")
    assert graph.class_names == ("cat", "dog", "owl")
    assert graph.to_data().class_names == graph.class_names
    summary = json.loads((folder / "run/summary.json").read_text())
    assert summary["class_names"] == ["cat", "dog", "owl"]
    assert "cat, dog, owl" in inside("info", str(folder / "g.zarr"))


def test_numbers_stay_numbers(tmp_path):
    out = str(tmp_path / "run")
    inside("train", "karate", "--out", out, "--workers", "0", "--epochs", "1")
    inside("predict", out, "--nodes", "33,4", "--out", str(tmp_path / "y.parquet"))
    assert pq.read_table(tmp_path / "y.parquet")["id"].to_pylist() == [33, 4]
    inside("predict", out, "--out", str(tmp_path / "x.parquet"))
    found = pq.read_table(tmp_path / "x.parquet").to_pandas()
    assert list(found.columns) == ["id", "prediction", "0", "1"]
    assert found["id"].tolist() == list(range(34))
    best = found[["0", "1"]].to_numpy().argmax(axis=1)
    assert found["prediction"].tolist() == best.tolist()


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (["b", "a", "c"], ["b", "a", "c"]),
        ([7, 3, 10**12], [7, 3, 10**12]),
        ([(0, 1), (1, 1), ("x", 2)], ["(0, 1)", "(1, 1)", "('x', 2)"]),
        ([1, "1", 2], ["1", "'1'", "2"]),
        ([0, 1, 2], None),
    ],
    ids=["words", "numbers", "tuples", "alike", "in order"],
)
def test_networkx_nodes_keep_their_names(nodes, expected):
    origin = nx.Graph()
    origin.add_nodes_from(nodes)
    origin.add_edge(nodes[0], nodes[2])
    graph = daskgnn.from_networkx(origin)
    ids = graph.node_ids
    assert (None if ids is None else ids.tolist()) == expected
    opened = daskgnn.open_graph(graph.partition(1)).node_ids()
    assert (None if opened is None else opened.tolist()) == expected


def test_networkx_attributes_are_a_table_of_nodes(tables):
    folder, nodes = tables
    columns = ["kind", "split", "x0", "x1", "x2"]
    origin = nx.from_pandas_edgelist(
        pd.read_csv(folder / "edges.csv"), "source", "destination"
    )
    origin.add_nodes_from(nodes["id"])
    for name in columns:
        nx.set_node_attributes(origin, nodes.set_index("id")[name].to_dict(), name)
    found = daskgnn.from_networkx(origin, labels="kind", features=["x0", "x1", "x2"])
    assert found.class_names == ("cat", "dog", "owl")
    order = nodes.set_index("id").loc[list(origin.nodes)]
    assert found.node_ids.tolist() == list(origin.nodes)
    names = np.array(found.class_names)
    assert names[found.labels].tolist() == order["kind"].tolist()
    for split in ("train", "val", "test"):
        expected = np.flatnonzero(order["split"] == split)
        assert found.splits[split].tolist() == expected.tolist()
    expected = order[["x0", "x1", "x2"]].to_numpy(np.float32)
    np.testing.assert_array_equal(found.features, expected)


def test_networkx_flags_and_usual_labels():
    origin = nx.path_graph(6)
    nx.set_node_attributes(origin, dict(enumerate("abcabc")), "label")
    nx.set_node_attributes(origin, {0: True, 3: True}, "train")
    nx.set_node_attributes(origin, {1: True, 2: False}, "val")
    graph = daskgnn.from_networkx(origin)
    assert graph.class_names == ("a", "b", "c")
    assert {n: ids.tolist() for n, ids in graph.splits.items()} == {
        "train": [0, 3],
        "val": [1],
    }
    nx.set_node_attributes(origin, dict(enumerate("abcdef")), "label")
    assert daskgnn.from_networkx(origin).labels is None  # names, not classes
    del origin.nodes[4]["label"]
    found = daskgnn.from_networkx(origin, labels="label")
    assert found.labels.tolist() == [0, 1, 2, 3, -1, 4]


@IMPORTS_PYG
def test_pyg_names_are_kept():
    import torch
    from torch_geometric.data import Data

    data = Data(
        x=torch.eye(4),
        edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]),
        y=torch.tensor([0, 1, 0, 1]),
        node_names=["w", "x", "y", "z"],
        label_names=["no", "yes"],
    )
    graph = daskgnn.from_pyg(data)
    assert graph.node_ids.tolist() == ["w", "x", "y", "z"]
    assert graph.class_names == ("no", "yes")
    words = Data(x=data.x, edge_index=data.edge_index, y=["a", "b", "a", "b"])
    assert daskgnn.from_pyg(words).class_names == ("a", "b")
    part = Data(edge_index=data.edge_index, n_id=torch.tensor([40, 10, 30, 20]))
    assert daskgnn.from_pyg(part).node_ids.tolist() == [40, 10, 30, 20]


def test_words_as_labels_and_ids_of_arrays():
    graph = daskgnn.from_edge_index(
        [[0, 1, 2], [1, 2, 3]],
        labels=np.array(["b", "a", None, "b"], object),
        node_ids=["p", "q", "r", "s"],
    )
    assert graph.labels.tolist() == [1, 0, -1, 1]
    assert graph.class_names == ("a", "b")
    assert graph.node_ids.tolist() == ["p", "q", "r", "s"]
    with pytest.raises(daskgnn.InputError, match="node_ids holds 'p' twice"):
        daskgnn.from_edge_index([[0, 1], [1, 2]], node_ids=["p", "q", "p"])


def test_several_labels_a_node_list_those_above_zero(tmp_path):
    rng = np.random.default_rng(0)
    graph = daskgnn.from_edge_index(
        rng.integers(0, 20, (2, 60)),
        num_nodes=20,
        features=rng.normal(size=(20, 12)),
        labels=rng.integers(0, 2, (20, 3)),
        train=np.arange(20),
        class_names=["red", "id", "blue"],
    )
    from daskgnn.train.persist.output import PredictionTable

    opened = daskgnn.open_graph(graph.partition(4))
    trainer = daskgnn.Trainer(
        small_sage(opened), opened, num_neighbors=[2, 2], client=None
    )
    scores = trainer.predict().compute()
    table = PredictionTable.of(opened, 3).rows(np.arange(20), scores).to_pandas()
    assert list(table.columns) == ["id", "prediction", "red", "class id", "blue"]
    expected = [list(np.array(["red", "id", "blue"])[row > 0]) for row in scores]
    assert [list(names) for names in table["prediction"]] == expected


def test_no_two_columns_have_one_name():
    from daskgnn.train.persist.output import PredictionTable

    names = ("id", "class id", "prediction")
    columns = PredictionTable(3, class_names=names, num_classes=3).columns
    assert columns == ["class class id", "class id", "class prediction"]
