"""Numbers that float32 cannot tell apart are counted and warned of."""

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

import daskgnn
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.graphml import read_graphml
from daskgnn.graph.readers.matrixmarket import read_matrix_market
from daskgnn.graph.readers.parquet import read_parquet

EDGES = [[0, 1], [1, 2]]
ALIKE = [16777216, 16777217, 3]


def changed(values):
    """How many numbers are others as float32, by numpy's own exact types."""
    found = [int(np.float32(v)) != int(v) for v in values]
    return sum(found)


@pytest.mark.parametrize(
    "values",
    [
        np.array(ALIKE, float),
        np.array(ALIKE, np.int64),
        np.array([2**63 - 1, 2**62, 5]),
        np.array([2**64 - 1, 2**63, 5], np.uint64),
        np.array([1.7e9, 1.7e9 + 1, 1.7e9 + 2]),
    ],
    ids=str,
)
def test_features_that_become_others(values):
    assert changed(values.tolist())
    with pytest.warns(UserWarning, match="features lost digits"):
        graph = daskgnn.from_edge_index(EDGES, features=values[:, None])
    assert graph.report["features_rounded"] == changed(values.tolist())
    sparse = sp.csr_array(values[:, None])
    with pytest.warns(UserWarning, match="features lost digits"):
        daskgnn.from_edge_index(EDGES, features=sparse)
    nodes = pd.DataFrame({"id": [0, 1, 2], "time": values})
    frame = pd.DataFrame({"a": EDGES[0], "b": EDGES[1]})
    with pytest.warns(UserWarning, match="features lost digits"):
        graph = from_frame(frame, nodes)
    assert graph.report["features_rounded"] == changed(values.tolist())


def from_frame(frame, nodes):
    import dask.dataframe as dd

    return daskgnn.from_dask(dd.from_pandas(frame, npartitions=1), nodes=nodes)


def test_small_numbers_that_become_none():
    with pytest.warns(UserWarning, match="1 features lost digits"):
        daskgnn.from_edge_index(EDGES, features=[[1e-60], [0.0], [1.0]])


def test_ordinary_decimals_are_no_loss():
    features = np.random.default_rng(0).normal(size=(3, 50)) * 1e6
    graph = daskgnn.from_edge_index(EDGES, features=features)
    assert "features_rounded" not in graph.report


def test_weights_of_every_reader(tmp_path):
    frame = pd.DataFrame({"a": EDGES[0], "b": EDGES[1], "w": [16777217, 3]})
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_parquet(tmp_path / "e.parquet")
    matrix = sp.coo_array((frame["w"].to_numpy(float), EDGES), shape=(3, 3))
    scipy.io.mmwrite(tmp_path / "m.mtx", matrix)
    import networkx as nx

    drawn = nx.from_pandas_edgelist(frame, "a", "b", ["w"])
    nx.write_graphml(drawn, tmp_path / "g.graphml")
    np.savez(tmp_path / "g.npz", edge_index=EDGES, edge_weight=frame["w"])
    makers = [
        lambda: read_edge_list(tmp_path / "e.csv", weight="w"),
        lambda: read_parquet(tmp_path / "e.parquet", weight="w"),
        lambda: read_matrix_market(tmp_path / "m.mtx"),
        lambda: read_graphml(tmp_path / "g.graphml", weight="w"),
        lambda: daskgnn.read_numpy(tmp_path / "g.npz"),
        lambda: daskgnn.from_scipy(matrix),
        lambda: daskgnn.from_edge_index(EDGES, edge_weight=frame["w"]),
    ]
    for make in makers:
        with pytest.warns(UserWarning, match="1 weights lost digits"):
            assert make().report["weights_rounded"] == 1


def test_edge_attributes():
    attributes = {"time": np.array([1.7e9 + 1, 2.0])}
    with pytest.warns(UserWarning, match="edge_attr lost digits"):
        daskgnn.from_edge_index(EDGES, edge_attr=attributes)


@pytest.mark.parametrize("asked", [["time"], "time", ["vector"]])
def test_attributes_of_networkx(asked):
    import networkx as nx

    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, dict(enumerate(ALIKE)), "time")
    nx.set_node_attributes(graph, {i: [v, 1] for i, v in enumerate(ALIKE)}, "vector")
    with pytest.warns(UserWarning, match="1 features lost digits"):
        found = daskgnn.from_networkx(graph, features=asked)
    assert found.report["features_rounded"] == changed(ALIKE) == 1


@pytest.mark.parametrize("values", [[16777216, 1], [2**53 + 1]], ids=str)
def test_sums_of_matrix_market(values, tmp_path):
    lines = ["%%MatrixMarket matrix coordinate integer general"]
    lines += [f"3 3 {len(values) + 1}", *(f"1 2 {value}" for value in values), "2 3 4"]
    (tmp_path / "m.mtx").write_text("\n".join(lines) + "\n")
    exact = scipy.io.mmread(tmp_path / "m.mtx").tocsr()
    assert changed(exact.data.tolist()) == 1
    with pytest.warns(UserWarning, match="1 weights lost digits"):
        graph = read_matrix_market(tmp_path / "m.mtx", directed=True)
    assert graph.report["weights_rounded"] == 1


@pytest.mark.parametrize("value", [1e39, 1e300, np.inf])
def test_numbers_beyond_float32_are_not_called_nan(value):
    with pytest.raises(daskgnn.InputError, match="hold Inf, or a number too large"):
        daskgnn.from_edge_index(EDGES, features=[[value], [0.0], [1.0]])
    with pytest.raises(daskgnn.InputError, match="holds Inf, or a number too large"):
        daskgnn.from_edge_index(EDGES, edge_weight=[value, 1.0])
