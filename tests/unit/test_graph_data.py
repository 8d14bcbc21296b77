"""Graphs in memory, against NetworkX, scipy, PyG and brute force."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.memory.partitioned import PartitionedGraph
from daskgnn.graph.readers.memory import (
    from_edge_index,
    from_scipy,
    read_npz,
)
from daskgnn.graph.readers.networkx import from_networkx
from daskgnn.graph.readers.pyg import from_pyg

# torch_geometric compiles its helpers with a part of torch that is deprecated.
IMPORTS_PYG = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
EDGES = np.array([[0, 1, 2, 2], [1, 2, 3, 3]])


def dense(graph):
    values = graph.edge_weight
    if values is None:
        values = np.ones(graph.num_edges, np.float32)
    shape = (graph.num_nodes, graph.num_nodes)
    return sp.csr_array((values, graph.indices, graph.indptr), shape=shape).toarray()


def build(**options):
    options = {"num_nodes": 5, "labels": [0, 1, 1, 0, -1]} | options
    return from_edge_index(options.pop("edge_index", EDGES), **options)


def test_a_small_graph_is_symmetrised_and_counted():
    graph = from_edge_index([[0, 1, 1, 2, 2, 4], [1, 0, 2, 2, 1, 0]], num_nodes=6)
    assert graph.indptr.tolist() == [0, 2, 4, 5, 5, 6, 6]
    assert graph.indices.tolist() == [1, 4, 0, 2, 1, 0]
    assert graph.indptr.dtype == np.int64
    assert graph.indices.dtype == np.int32
    assert graph.report == {
        "input_edges": 6,
        "self_loops_dropped": 1,
        "self_loops_kept": 0,
        "duplicates_dropped": 0,
        "reverse_edges_added": 1,
        "isolated_nodes": 2,
    }
    assert (graph.num_nodes, graph.num_edges, graph.num_features) == (6, 6, 0)
    assert "6 nodes" in repr(graph)


def test_rows_of_a_directed_graph_are_destinations():
    graph = from_edge_index([[0, 0, 2, 2], [1, 2, 1, 1]], directed=True, num_nodes=4)
    matrix = np.zeros((4, 4))
    matrix[[1, 2, 1], [0, 0, 2]] = 1
    assert np.array_equal(dense(graph), matrix)
    assert graph.report["duplicates_dropped"] == 1
    assert graph.report["isolated_nodes"] == 1


def test_self_loops_are_kept_once_where_asked_for():
    graph = from_edge_index([[0, 0, 1], [0, 0, 0]], self_loops="keep")
    assert dense(graph).tolist() == [[1, 1], [1, 0]]
    assert graph.report["self_loops_kept"] == 2
    assert graph.report["duplicates_dropped"] == 1


@pytest.mark.parametrize("directed", [False, True])
def test_of_repeated_edges_the_first_gives_weight_and_attributes(directed):
    rng = np.random.default_rng(3)
    edges = rng.integers(0, 12, (2, 300))
    weight, attr = rng.random(300), rng.integers(0, 99, (300, 2))
    graph = from_edge_index(
        edges, num_nodes=12, edge_weight=weight, edge_attr=attr, directed=directed
    )
    expected = {}
    for k, (u, v) in enumerate(edges.T.tolist()):
        if u != v:
            expected.setdefault((v, u), k)
            if not directed:
                expected.setdefault((u, v), k)
    rows = np.repeat(np.arange(12), np.diff(graph.indptr)).tolist()
    assert list(zip(rows, graph.indices.tolist(), strict=True)) == sorted(expected)
    first = [expected[key] for key in sorted(expected)]
    assert np.array_equal(graph.edge_weight, weight[first].astype(np.float32))
    assert np.array_equal(graph.edge_attr["edge_attr"], attr[first])


def test_scipy_row_to_column_is_an_edge():
    matrix = sp.random_array((30, 30), density=0.1, rng=np.random.default_rng(0))
    graph = from_scipy(matrix, directed=True, self_loops="keep")
    assert np.allclose(dense(graph), matrix.toarray().T)
    plain = from_scipy((matrix != 0).astype(np.int8))
    both = (matrix != 0).toarray()
    both |= both.T
    np.fill_diagonal(both, False)
    assert np.array_equal(dense(plain), both)
    assert plain.edge_weight is None
    assert from_scipy(matrix, weighted=False).edge_weight is None


def test_networkx_agrees_on_a_weighted_graph():
    origin = nx.karate_club_graph()
    for node in origin:
        origin.nodes[node]["x"] = [node, 1.0]
        origin.nodes[node]["y"] = node % 3
    graph = from_networkx(origin, weight="weight", features="x", labels="y")
    assert np.array_equal(dense(graph), nx.to_numpy_array(origin))
    assert graph.features[:, 0].tolist() == list(range(34))
    assert graph.labels.tolist() == [i % 3 for i in range(34)]
    assert not graph.directed


def test_networkx_direction_and_node_names_are_kept():
    origin = nx.DiGraph([("b", "a"), ("a", "c")])
    graph = from_networkx(origin)
    assert graph.directed
    assert np.array_equal(dense(graph), nx.to_numpy_array(origin).T)
    with pytest.raises(GraphFormatError, match="2 of 2 edges have no attribute 'w'"):
        from_networkx(origin, weight="w")


@IMPORTS_PYG
def test_pyg_fields_are_taken_as_they_are_named():
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    rng = np.random.default_rng(1)
    edge_index = torch.tensor(rng.integers(0, 20, (2, 60)))
    data = Data(
        x=torch.rand(20, 4, requires_grad=True),
        y=torch.tensor(rng.integers(0, 3, 20)),
        edge_index=edge_index,
        train_mask=torch.arange(20) < 5,
        val_mask=(torch.arange(20) >= 5) & (torch.arange(20) < 9),
    )
    graph = from_pyg(data, num_classes=3, name="own")
    kept = edge_index[:, edge_index[0] != edge_index[1]]
    row, column = to_undirected(kept, num_nodes=20)
    assert np.array_equal(graph.indices, column.numpy())
    assert np.array_equal(np.diff(graph.indptr), np.bincount(row.numpy(), minlength=20))
    assert np.array_equal(graph.features, data.x.detach().numpy())
    assert {name: ids.tolist() for name, ids in graph.splits.items()} == {
        "train": [0, 1, 2, 3, 4],
        "val": [5, 6, 7, 8],
    }
    assert graph.name == "own"


@IMPORTS_PYG
def test_pyg_objects_of_several_types_are_refused():
    from torch_geometric.data import HeteroData

    with pytest.raises(GraphFormatError, match="to_homogeneous"):
        from_pyg(HeteroData())


def test_features_become_float32_and_stay_sparse():
    x = sp.coo_array(([1.0, 2.0, 3.0], ([0, 0, 4], [1, 1, 0])), shape=(5, 2))
    graph = build(features=x)
    assert graph.features.dtype == np.float32
    assert graph.features.toarray().tolist() == [[0, 3], [0, 0], [0, 0], [0, 0], [3, 0]]
    same = build(features=torch.tensor(x.toarray()).to_sparse())
    assert np.array_equal(same.features.toarray(), graph.features.toarray())
    half = build(features=torch.ones(5, 3, dtype=torch.bfloat16))
    assert half.features.dtype == np.float32


def test_the_users_sparse_matrix_is_left_alone():
    parts = (np.ones(3), np.array([1, 0, 1]), np.array([0, 3, 3, 3, 3, 3]))
    x = sp.csr_array(parts, shape=(5, 2), dtype=np.float32)
    assert build(features=x).features.nnz == 2
    assert x.indices.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1, 0, -1], [0, 1, 1, 0, -1]),
        ([[0.0], [1], [1], [0], [np.nan]], [0, 1, 1, 0, -1]),
        (np.array([True, False, False, True, True]), [1, 0, 0, 1, 1]),
    ],
)
def test_class_labels(labels, expected):
    graph = build(labels=labels)
    assert graph.labels.dtype == np.int64
    assert graph.labels.tolist() == expected
    assert graph.num_classes == 2
    assert not graph.multilabel


def test_yes_no_labels():
    table = np.array([[0, 1], [1, 1], [1, 0], [0, 0], [-1, 1]])
    graph = build(labels=table, train=[0, 3])
    assert graph.multilabel
    assert graph.num_classes == 2
    assert graph.labels.dtype == np.float32
    assert np.isnan(graph.labels[4, 0])
    with pytest.raises(GraphFormatError, match="node 4 whose label is not given"):
        build(labels=table, train=[0, 4])


def test_num_nodes_follows_features_labels_or_a_mask():
    assert from_edge_index(EDGES).num_nodes == 4
    assert from_edge_index(EDGES, features=np.ones((6, 1))).num_nodes == 6
    assert from_edge_index(EDGES, labels=np.zeros(7)).num_nodes == 7
    assert from_edge_index(EDGES, train=np.arange(8) < 3).num_nodes == 8


BARE = {"num_nodes": None, "labels": None}
INF = np.full((5, 2), np.inf)
NAN = np.array([[0.0], [0], [0], [np.nan], [0]])
BAD = {
    "negative": ({"edge_index": [[0, -3], [1, 2]]}, "node id -3, expected 0..N-1"),
    "too large": ({"edge_index": [[0, 5], [1, 2]]}, "id 5, expected below num_nodes=5"),
    "float": ({"edge_index": [[0.0], [1.0]]}, "float64, expected integers"),
    "nan": ({"edge_index": [[np.nan], [1.0]]}, "holds NaN"),
    "bool": ({"edge_index": [[True], [False]]}, "bool, expected integers"),
    "words": ({"edge_index": [["a"], ["b"]]}, "expected numbers"),
    "huge": ({"edge_index": [[2**31], [0]]}, "node id 2147483648, over the limit"),
    "huge open": ({"edge_index": [[2**40], [0]], "num_nodes": None}, "over the limit"),
    "stray": ({"edge_index": [[2**31 - 1], [0]], **BARE}, "but only 1 edges"),
    "huge N": ({"num_nodes": 2**31 + 1}, "over the limit of 2"),
    "beyond int64": ({"edge_index": [[2**70], [0]]}, "expected numbers"),
    "uint64": ({"edge_index": np.array([[2**63], [0]], np.uint64)}, "over the limit"),
    "transposed": ({"edge_index": np.zeros((4, 2), int)}, "pass edge_index.T"),
    "flat": ({"edge_index": [0, 1]}, "expected \\(2, E\\)"),
    "ragged": ({"edge_index": [[0, 1], [1]]}, "cannot be read as an array"),
    "no nodes": ({"num_nodes": 0, "edge_index": np.zeros((2, 0))}, "graph is empty"),
    "no edges": ({"edge_index": np.zeros((2, 0), int)}, "graph is empty"),
    "only loops": ({"edge_index": [[1, 2], [1, 2]]}, "graph is empty"),
    "num_nodes float": ({"num_nodes": 5.0}, "num_nodes is 5.0, expected an integer"),
    "feature rows": ({"features": np.ones((4, 2))}, "4 rows, expected 5"),
    "feature nan": ({"features": NAN}, "node 3 hold NaN"),
    "feature inf": ({"features": INF}, "node 0 hold Inf"),
    "feature overflow": ({"features": np.full((5, 1), 1e300)}, "too large for float32"),
    "sparse nan": ({"features": sp.csr_array(NAN)}, "node 3 hold NaN"),
    "feature shape": ({"features": np.ones(5)}, "expected \\(N, F\\)"),
    "feature words": ({"features": [["a"]] * 5}, "expected numbers"),
    "label high": ({"num_classes": 1}, "labels hold 1, expected 0..0"),
    "label low": ({"labels": [0, 1, -2, 0, 0]}, "labels hold -2"),
    "label float": ({"labels": [0, 1, 0.5, 0, 0]}, "labels hold 0.5"),
    "label inf": ({"labels": [0, 1, np.inf, 0, 0]}, "labels hold inf"),
    "label rows": ({"labels": [0, 1, 1]}, "expected 5 rows"),
    "label table": ({"labels": np.full((5, 2), 2)}, "labels hold 2.0, expected 0, 1"),
    "label columns": ({"labels": np.ones((5, 2)), "num_classes": 3}, "2 columns"),
    "label cube": ({"labels": np.ones((5, 2, 2))}, "expected \\(N,\\)"),
    "classes": ({"num_classes": 1.5}, "expected an integer"),
    "overlap": ({"train": [0, 1], "test": [1, 2]}, "train and test overlap.* node 1"),
    "empty split": ({"train": [0], "val": []}, "split val is empty"),
    "empty mask": ({"train": np.zeros(5, bool)}, "split train is empty"),
    "mask length": ({"train": np.ones(4, bool)}, "mask has shape \\(4,\\)"),
    "mask columns": ({"train": np.ones((5, 3), bool)}, "mask has shape \\(5, 3\\)"),
    "split range": ({"val": [0, 5]}, "split val holds node 5, expected 0..4"),
    "split negative": ({"val": [0, -1]}, "split val holds node -1"),
    "split float": ({"train": [0.5]}, "expected integer ids or a bool mask"),
    "split twice": ({"train": [1, 1]}, "names node 1 twice"),
    "0/1 mask": ({"train": [1, 1, 0, 0, 0]}, "for a mask train.astype\\(bool\\)"),
    "split shape": ({"train": [[0, 1]]}, "pass one column"),
    "unlabelled": (
        {"test": [0, 4]},
        "split test holds node 4 whose label is not given",
    ),
    "weight rows": (
        {"edge_weight": [1.0]},
        "edge_weight has shape \\(1,\\) for 4 edges",
    ),
    "weight nan": ({"edge_weight": [1, np.nan, 1, 1]}, "edge_weight holds NaN"),
    "weight negative": ({"edge_weight": [1, -1, 1, 1]}, "expected numbers >= 0"),
    "weight columns": ({"edge_weight": np.ones((4, 2))}, "as edge_attr"),
    "attr rows": ({"edge_attr": {"t": [1]}}, "edge_attr t has shape"),
    "attr nan": ({"edge_attr": {"t": [np.nan, 1, 2, 3]}}, "t holds NaN"),
    "loops": ({"self_loops": "add"}, "expected 'drop' or 'keep'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line(case):
    options, message = BAD[case]
    with pytest.raises(GraphFormatError, match=message) as caught:
        build(**options)
    assert "\n" not in str(caught.value)


DAMAGE = {
    "falls": ({"indptr": np.array([0, 3, 1, 6, 6, 6])}, "indptr falls after row 1"),
    "short": ({"indptr": np.array([0, 1, 3, 5, 5, 5])}, "runs from 0 to 5, expected 0"),
    "start": ({"indptr": np.array([1, 1, 3, 5, 6, 6])}, "runs from 1"),
    "float": ({"indptr": np.array([0.0, 6.0])}, "expected one dimension of int64"),
    "none": ({"indptr": np.array([0])}, "names no node"),
    "high": ({"indices": np.array([1, 0, 2, 1, 9, 2], np.int32)}, "node id 9"),
    "unsorted": (
        {"indices": np.array([1, 2, 0, 1, 3, 2], np.int32)},
        "row 1 of indices",
    ),
    "repeat": ({"indices": np.array([1, 0, 0, 1, 3, 2], np.int32)}, "row 1 of indices"),
    "split name": ({"splits": {"dev": np.array([0])}}, "split 'dev' is unknown"),
    "split order": ({"splits": {"val": np.array([2, 1])}}, "not sorted unique"),
    "weight type": ({"edge_weight": np.ones(6)}, "expected \\(E,\\) float32"),
    "feature type": ({"features": np.ones((5, 2))}, "float64, expected"),
    "label type": ({"labels": np.zeros(5, np.int32)}, "expected int64"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_arrays_that_are_no_graph_are_refused(case):
    changes, message = DAMAGE[case]
    with pytest.raises(GraphFormatError, match=message):
        replace(build(), **changes)


def test_from_scipy_refuses_what_is_not_square_or_sparse():
    with pytest.raises(GraphFormatError, match=r"shape \(2, 3\), expected \(N, N\)"):
        from_scipy(sp.csr_array((2, 3)))
    with pytest.raises(GraphFormatError, match="got ndarray"):
        from_scipy(np.eye(3))


def npz_arrays(**changes):
    graph = build()
    arrays = {
        "indptr": graph.indptr,
        "indices": graph.indices,
        "labels": graph.labels,
        "feat_indptr": np.array([0, 1, 1, 1, 1, 2]),
        "feat_indices": np.array([2, 0], np.int32),
        "feat_data": np.array([1.5, 2.5], np.float32),
        "feat_shape": np.array([5, 3]),
        "train_mask": np.arange(5) < 2,
    } | changes
    return {key: value for key, value in arrays.items() if value is not None}


def test_npz_round_trip(tmp_path):
    np.savez(tmp_path / "own.npz", **npz_arrays())
    graph = read_npz(tmp_path / "own.npz")
    assert isinstance(graph, GraphData)
    assert graph.name == "own"
    assert np.array_equal(graph.indices, build().indices)
    assert graph.features.toarray()[4].tolist() == [2.5, 0, 0]
    assert graph.splits["train"].tolist() == [0, 1]
    assert graph.report["isolated_nodes"] == 1


FILES = {
    "no indptr": ({"indptr": None}, "has no array indptr"),
    "features": ({"feat_indices": np.array([7, 0])}, "not a CSR matrix"),
    "half features": ({"feat_data": None}, "not a CSR matrix"),
    "mask": ({"train_mask": np.ones(3, bool)}, "mask has shape"),
    "one way": (
        {"indptr": np.array([0, 1, 1, 1, 1, 1]), "indices": np.array([1], np.int32)},
        "every edge both ways",
    ),
    "objects": ({"labels": np.array([None] * 5)}, "damaged or not an .npz of plain"),
    "float indices": ({"indices": np.ones(6)}, "expected one dimension of int32"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_npz_files_are_named(tmp_path, case):
    changes, message = FILES[case]
    np.savez(tmp_path / "bad.npz", **npz_arrays(**changes))
    with pytest.raises((DatasetError, GraphFormatError), match=message) as caught:
        read_npz(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_npz_files_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no file .*none\.npz"):
        read_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(DatasetError, match="damaged"):
        read_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "cut.npz", **npz_arrays())
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="damaged"):
        read_npz(tmp_path / "cut.npz")
    flipped = bytearray(whole)
    flipped[whole.index(b"indices.npy") + 150] ^= 1
    (tmp_path / "cut.npz").write_bytes(flipped)
    with pytest.raises(DatasetError, match="damaged"):
        read_npz(tmp_path / "cut.npz")


def test_partition_goes_to_the_partitioners():
    graph = build()
    assert type(graph.partition(2, method="hash")) is PartitionedGraph
    assert graph.partition(method="hash").num_clusters == 1
