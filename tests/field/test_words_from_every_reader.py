"""Ids and classes that are words mean the same from every reader, and are found again.

Oracles: the words themselves, networkx, pandas.
"""

import pickle

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import daskgnn
from daskgnn.graph.lookup import find_nodes
from daskgnn.train.persist.output import PredictionTable

IDS = ["zoë", "NA", "b" * 300, "02"]
KINDS = ["owl", None, "cat", "owl"]
NODES = pd.DataFrame({"id": IDS, "kind": KINDS, "x": [1.0, 2.0, 3.0, 4.0]})
EDGES = pd.DataFrame({"source": IDS[:3], "target": IDS[1:]})


def from_files(folder, form):
    for name, frame in (("nodes", NODES), ("edges", EDGES)):
        path = folder / f"{name}.{form}"
        (frame.to_csv if form == "csv" else frame.to_parquet)(path, index=False)
    read = daskgnn.read_edge_list if form == "csv" else daskgnn.read_parquet
    return read(
        folder / f"edges.{form}", nodes=str(folder / f"nodes.{form}"), labels="kind"
    )


def from_networkx(folder, form):
    origin = nx.from_pandas_edgelist(EDGES, "source", "target")
    for row in NODES.itertuples():
        origin.nodes[row.id].update({"kind": row.kind} if row.kind else {}, x=row.x)
    options = {"labels": "kind", "features": ["x"]}
    if form == "memory":
        return daskgnn.from_networkx(origin, **options)
    nx.write_graphml(origin, folder / "g.graphml")
    return daskgnn.read_graphml(folder / "g.graphml", **options)


def from_arrays(folder, form):
    ends = np.array([[0, 1, 2], [1, 2, 3]])
    given = {"features": NODES[["x"]].to_numpy(), "labels": KINDS, "node_ids": IDS}
    return daskgnn.from_edge_index(ends, **given)


READERS = {
    "csv": from_files,
    "parquet": from_files,
    "graphml": from_networkx,
    "memory": from_networkx,
    "arrays": from_arrays,
}


@pytest.mark.parametrize("form", READERS)
def test_words_are_ids_and_names_of_classes(form, tmp_path):
    graph = READERS[form](tmp_path, form)
    graph.partition(2).save(tmp_path / "g.zarr")
    opened = daskgnn.open_graph(tmp_path / "g.zarr")
    copy = pickle.loads(pickle.dumps(opened))
    for found in (graph, opened.to_data(), copy.to_data()):
        assert found.node_ids.tolist() == IDS
        assert found.class_names == ("cat", "owl")
        assert found.labels.tolist() == [1, -1, 0, 1]
        assert found.features.ravel().tolist() == [1, 2, 3, 4]
    assert copy.node_ids().tolist() == IDS
    table = PredictionTable.of(copy, 2).rows(np.array([3, 1]), np.eye(2, dtype="f4"))
    assert table["id"].to_pylist() == [IDS[3], IDS[1]]
    assert table["prediction"].to_pylist() == ["cat", "owl"]


def test_nodes_are_found_by_words_of_any_kind(tmp_path):
    opened = daskgnn.open_graph(from_arrays(tmp_path, "arrays").partition(2))
    asked = [IDS[3], IDS[0]]
    known = opened.node_ids()[[3, 0]]
    for nodes in (asked, np.array(asked), pd.Series(asked), pd.Index(asked), known):
        assert find_nodes(opened, nodes).tolist() == [3, 0]
    with pytest.raises(daskgnn.InputError, match=r"holds 'zoe', which no node"):
        find_nodes(opened, ["zoe"])
    with pytest.raises(daskgnn.InputError, match=r"holds 2, .* are words, such as 'zo"):
        find_nodes(opened, [2])


def test_words_as_labels_in_an_archive(tmp_path):
    path = tmp_path / "g.npz"
    np.savez(path, edge_index=[[0, 1], [1, 2]], y=["owl", "cat", "owl"])
    graph = daskgnn.read_numpy(path)
    assert graph.class_names == ("cat", "owl")
    np.savez(path, indptr=[0, 1, 3, 4], indices=[1, 0, 2, 1], y=["b", "a", "b"])
    assert daskgnn.read_npz(path).class_names == ("a", "b")


@pytest.mark.parametrize("missing", [None, float("nan"), ""])
def test_a_node_without_an_id_is_refused(missing):
    with pytest.raises(daskgnn.InputError, match=r"node 1 is called .* not an id"):
        daskgnn.from_edge_index([[0, 1], [1, 2]], node_ids=["a", missing, "b"])


def test_other_kinds_of_ids_of_nodes():
    ids = [[2.0, 3.0, 5.0], [b"x", b"y", "z"], [2**63, 1, 0]]
    read = [[2, 3, 5], ["x", "y", "z"], [str(2**63), "1", "0"]]
    for given, expected in zip(ids, read, strict=True):
        graph = daskgnn.from_edge_index([[0, 1], [1, 2]], node_ids=given)
        assert graph.node_ids.tolist() == expected
