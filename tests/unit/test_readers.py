"""Readers of files against networkx, scipy, pandas and plain counts."""

import bz2
import dataclasses
import gzip
import lzma
import os
from pathlib import Path

import dask.array as da
import dask.dataframe as dd
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from stored_graphs import matrix_of

import daskgnn
from daskgnn.cli import main
from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges.assemble import Spool, build_rows, limit_bytes, to_rows
from daskgnn.graph.readers.arrays import from_dask, read_numpy
from daskgnn.graph.readers.edgelist import find_layout, read_edge_list
from daskgnn.graph.readers.graphml import read_graphml
from daskgnn.graph.readers.matrixmarket import read_matrix_market
from daskgnn.graph.readers.open_file import read_graph
from daskgnn.graph.readers.parquet import read_parquet


def random_edges(num_nodes=50, num_edges=300, seed=0):
    """Edges with repeats, reverses and self-loops; the last node is met."""
    edges = np.random.default_rng(seed).integers(0, num_nodes, (2, num_edges))
    edges[:, 0] = num_nodes - 1, 0
    return edges


def expected(edges, num_nodes, directed=False, loops=False):
    """The adjacency by scipy: row = destination."""
    matrix = (
        sp.coo_array(
            (np.ones(edges.shape[1]), (edges[1], edges[0])),
            shape=(num_nodes, num_nodes),
        ).toarray()
        > 0
    )
    if not directed:
        matrix |= matrix.T
    if not loops:
        np.fill_diagonal(matrix, False)
    return matrix


def same(graph, edges, num_nodes, **options):
    """Assert that a graph has these edges."""
    found = matrix_of(graph).toarray() > 0
    np.testing.assert_array_equal(found, expected(edges, num_nodes, **options))


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("loops", ["drop", "keep"])
@pytest.mark.parametrize("limit", [10, 10**9])
def test_rows_are_those_of_sorting(directed, loops, limit):
    edges = random_edges()
    weight = np.random.default_rng(1).random(300).astype(np.float32)
    spool = Spool(limit, weighted=True)
    for start in range(0, 300, 37):
        part = slice(start, start + 37)
        spool.append(edges[0, part], edges[1, part], weight[part])
    keep = loops == "keep"
    rows, values = build_rows(spool, 50, directed=directed, keep_self_loops=keep)
    first = {}
    for place, (u, v) in enumerate(edges.T.tolist()):
        if keep or u != v:
            first.setdefault((v, u), place)
            if not directed:
                first.setdefault((u, v), place)
    places = np.array([first[entry] for entry in sorted(first)])
    row, column = np.array(sorted(first)).T
    np.testing.assert_array_equal(np.repeat(np.arange(50), np.diff(rows.indptr)), row)
    np.testing.assert_array_equal(rows.indices, column)
    np.testing.assert_array_equal(values, weight[places])
    other = to_rows(edges, 50, directed=directed, keep_self_loops=keep, track=True)
    np.testing.assert_array_equal(rows.indptr, other.indptr)
    np.testing.assert_array_equal(rows.indices, other.indices)
    np.testing.assert_array_equal(other.positions, places)
    assert rows.report == other.report


TEXTS = {
    "e.csv": ("{},{}", None),
    "e.tsv": ("{}\t{}", None),
    "e.txt": ("{}   {}", None),
    "e.el": (" {}\t {} ", None),
    "semi.csv": ("{};{};x", None),
    "e.csv.gz": ("{},{}", gzip.open),
    "e.txt.bz2": ("{} {}", bz2.open),
    "e.tsv.xz": ("{}\t{}", lzma.open),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("head", ["", "# SNAP\n# Nodes: 50\n", "source{0}target\n"])
def test_text(name, ending, head, tmp_path):
    line, opener = TEXTS[name]
    if "source" in head:
        head = line.format("source", "target") + "\n"
    edges = random_edges()
    body = "\n".join(line.format(*pair) for pair in edges.T)
    data = (head + body + "\n").replace("\n", ending).encode()
    with (opener or open)(tmp_path / name, "wb") as file:
        file.write(data)
    graph = read_edge_list(tmp_path / name)
    same(graph, edges, 50)
    assert graph.node_ids is None
    assert graph.report["input_edges"] == 300
    loops = int((edges[0] == edges[1]).sum())
    assert graph.report["self_loops_dropped"] == loops
    distinct = len({*map(tuple, edges.T)}) - len(
        {a for a, b in edges.T.tolist() if a == b}
    )
    assert graph.report["duplicates_dropped"] == 300 - loops - distinct
    assert graph.num_edges == distinct + graph.report["reverse_edges_added"]


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("loops", ["drop", "keep"])
def test_options_of_edges(directed, loops, tmp_path):
    edges = random_edges()
    np.savetxt(tmp_path / "e.txt", edges.T, "%d")
    graph = read_edge_list(tmp_path / "e.txt", directed=directed, self_loops=loops)
    same(graph, edges, 50, directed=directed, loops=loops == "keep")
    assert graph.directed == directed


def test_as_networkx_reads_it(tmp_path):
    drawn = nx.gnm_random_graph(40, 90, seed=3)
    nx.write_edgelist(drawn, tmp_path / "e.txt", data=False)
    graph = read_edge_list(tmp_path / "e.txt", num_nodes=40)
    assert (matrix_of(graph) != nx.to_scipy_sparse_array(drawn).astype(bool)).nnz == 0


def test_many_files_small_memory_and_blocks(tmp_path):
    edges = random_edges(3000, 200_000)
    for i, part in enumerate(np.array_split(edges, 3, axis=1)):
        np.savetxt(tmp_path / f"e-{i}.csv", part.T, "%d", delimiter=",")
    graph = read_edge_list(str(tmp_path / "e-*.csv"), memory_limit="1 MiB")
    same(graph, edges, 3000)
    listed = read_edge_list([tmp_path / f"e-{i}.csv" for i in range(3)])
    np.testing.assert_array_equal(graph.indices, listed.indices)


def test_weights_and_named_columns(tmp_path):
    text = "w,to,from\n0.5,1,0\n2,2,1\n9,1,0\n"
    (tmp_path / "e.csv").write_text(text)
    graph = read_edge_list(
        tmp_path / "e.csv", source="from", destination="to", weight="w", directed=True
    )
    assert matrix_of(graph).toarray().tolist() == [[0, 0, 0], [0.5, 0, 0], [0, 2, 0]]
    assert graph.edge_weight.tolist() == [0.5, 2]
    both = read_edge_list(tmp_path / "e.csv", source=2, destination=1, weight=0)
    assert both.edge_weight.tolist() == [0.5, 0.5, 2, 2]


@pytest.mark.parametrize("limit", [None, "1 MiB"])
def test_sparse_ids_are_numbered_in_order(limit, tmp_path):
    ids = np.array([-5, 7, 10**12, 2**62, 99])
    edges = np.array([[0, 1, 2, 3, 3], [1, 2, 3, 4, 0]])
    np.savetxt(tmp_path / "e.txt", ids[edges].T, "%d")
    graph = read_edge_list(tmp_path / "e.txt", memory_limit=limit)
    assert graph.node_ids.tolist() == sorted(ids.tolist())
    assert graph.report["ids_mapped"] == 5
    order = np.searchsorted(graph.node_ids, ids)
    same(graph, order[edges], 5)


def test_words_are_numbered_as_they_are_met(tmp_path):
    (tmp_path / "e.csv").write_text('anna,"bob"\nbob,čeněk\n1,anna\n')
    graph = read_edge_list(tmp_path / "e.csv", directed=True)
    named = {
        (graph.node_ids[u], graph.node_ids[v])
        for v in range(4)
        for u in graph.indices[graph.indptr[v] : graph.indptr[v + 1]]
    }
    assert named == {("anna", "bob"), ("bob", "čeněk"), ("1", "anna")}


def test_ids_keep_and_map(tmp_path):
    (tmp_path / "e.txt").write_text("0 100\n100 50\n")
    assert read_edge_list(tmp_path / "e.txt").node_ids.tolist() == [0, 50, 100]
    kept = read_edge_list(tmp_path / "e.txt", ids="keep")
    assert kept.num_nodes == 101
    assert kept.report["isolated_nodes"] == 98
    assert read_edge_list(tmp_path / "e.txt", num_nodes=200).num_nodes == 200
    features = np.zeros((101, 3))
    assert read_edge_list(tmp_path / "e.txt", features=features).num_nodes == 101


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "empty"),
        ("# only a comment\n", {}, "empty"),
        ("0 1\n1\n", {}, "does not fit"),
        ("0 1\n1 2 3\n", {}, "does not fit"),
        ("0\n1\n", {}, "no column 1"),
        ("a,\n", {}, "empty id"),
        ("0 1\n", {"weight": 2}, "no column 2"),
        ("0 1\n", {"weight": 0}, "one column twice"),
        ("0 1 x\n1 2 y\n", {"weight": 2}, "does not fit"),
        ("0 1 -1\n", {"weight": 2}, ">= 0"),
        ("0 1 nan\n", {"weight": 2}, "NaN"),
        ("0 1\n", {"source": "from"}, "no column 'from'"),
        ("0 1\n", {"num_nodes": 1}, "num_nodes=2"),
        ("-1 1\n", {"ids": "keep"}, "ids='map'"),
        ("0 9999999999\n", {"ids": "keep"}, "2\\*\\*31"),
        ("a b\n", {"ids": "keep"}, "words like 'a'"),
        ("0 1\n", {"ids": "perhaps"}, "ids is 'perhaps'"),
        ("0 1\n", {"self_loops": "no"}, "self_loops is 'no'"),
        ("0 1\n", {"memory_limit": "little"}, "memory_limit='little'"),
        ("0 1\n", {"memory_limit": 5}, "at least 1.00 MiB"),
        ("0 1\n", {"colour": 1}, "option 'colour'"),
        ("0 1\n", {"delimiter": "ab"}, "one character"),
        ("0 0\n", {}, "no edges"),
    ],
)
def test_wrong_text(text, options, said, tmp_path):
    (tmp_path / "e.txt").write_text(text)
    with pytest.raises(GraphFormatError, match=said) as error:
        read_edge_list(tmp_path / "e.txt", **options)
    assert "\n" not in str(error.value)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(DatasetError, match="no file"):
        read_edge_list(tmp_path / "x-*.csv")
    with pytest.raises(DatasetError, match="no files given"):
        read_edge_list([])
    whole = gzip.compress(b"0 1\n" * 10000)
    for name, data in [("cut.gz", whole[:-20]), ("bad.gz", b"0 1\n"), ("b.xz", b"0")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DatasetError, match="cannot be read"):
            read_edge_list(tmp_path / name)
    for name in ("e.parquet", "e.npy", "e.npz", "e.graphml", "e.mtx"):
        (tmp_path / name).write_bytes(b"\x00nothing of the kind")
        with pytest.raises(DatasetError) as error:
            read_graph(tmp_path / name)
        assert name in str(error.value)


def test_layouts():
    assert find_layout(b"a,b\n1,2\n", None, None).header
    assert not find_layout(b"a,b\nc,d\n", None, None).header
    assert find_layout(b"src dst\nc d\n", None, None).columns == ("src", "dst")
    assert find_layout(b"c d\n", None, True).header
    assert find_layout(b"1\t2\n", None, None).delimiter == " "
    assert not find_layout(b"1,2,0.5\n3,4,nan\n", None, None).header


def write_parquet(path, edges, **more):
    pd.DataFrame({"source": edges[0], "target": edges[1], **more}).to_parquet(path)


def test_parquet_edges_and_nodes(tmp_path):
    edges = random_edges(30, 100)
    rng = np.random.default_rng(0)
    names = np.array([f"n{i}" for i in rng.permutation(30)])
    for i, part in enumerate(np.array_split(np.arange(100), 2)):
        words = names[edges[:, part]]
        weight = part + 0.5
        write_parquet(tmp_path / f"e{i}.parquet", words, weight=weight)
    table = pd.DataFrame(
        {
            "id": names,
            "vector": list(rng.random((30, 4)).astype(np.float32)),
            "age": rng.integers(0, 9, 30),
            "label": rng.integers(0, 3, 30),
            "train": np.arange(30) < 10,
            "comment": "words are no features",
        }
    )
    table.iloc[:20].to_parquet(tmp_path / "n0.parquet")
    table.iloc[20:].to_parquet(tmp_path / "n1.parquet")
    with pytest.warns(UserWarning, match=r"not used: comment \(words\)$"):
        graph = read_parquet(
            str(tmp_path / "e*.parquet"),
            nodes=str(tmp_path / "n*.parquet"),
            weight="weight",
            memory_limit="1 MiB",
        )
    same(graph, edges, 30)
    assert graph.node_ids.tolist() == names.tolist()
    vectors = np.stack(table["vector"])
    np.testing.assert_array_equal(graph.features[:, :4], vectors)
    np.testing.assert_array_equal(graph.features[:, 4], table["age"])
    np.testing.assert_array_equal(graph.labels, table["label"])
    assert graph.splits["train"].tolist() == list(range(10))
    first = next(i for i in range(100) if edges[0, i] != edges[1, i])
    u, v = edges[:, first]
    row = graph.indices[graph.indptr[v] : graph.indptr[v + 1]].tolist()
    assert graph.edge_weight[graph.indptr[v] + row.index(u)] == first + 0.5


def test_node_tables(tmp_path):
    (tmp_path / "e.txt").write_text("30 10\n10 20\n")
    (tmp_path / "n.csv").write_text(
        "node_id,a,b,kind,split\n10,1,2,cat,train\n20,3,4,dog,valid\n30,5,6,cat,test\n"
    )
    graph = read_edge_list(tmp_path / "e.txt", nodes=tmp_path / "n.csv", labels="kind")
    assert graph.node_ids.tolist() == [10, 20, 30]
    assert graph.features.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert graph.labels.tolist() == [0, 1, 0]
    assert {k: v.tolist() for k, v in graph.splits.items()} == {
        "train": [0],
        "val": [1],
        "test": [2],
    }
    same(graph, np.array([[2, 0], [0, 1]]), 3)
    some = read_edge_list(tmp_path / "e.txt", nodes=tmp_path / "n.csv", features=["b"])
    assert some.features.tolist() == [[2], [4], [6]]


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ({"id": [0, 0]}, {}, "2 rows with id 0"),
        ({"id": [0, 5]}, {}, "names node 1"),
        ({"id": [0.5, None]}, {}, "without an id"),
        ({"a": [1, 2]}, {"labels": "b"}, "no column 'b'"),
        ({"a": [1, 2]}, {"features": ["b"]}, "no column 'b'"),
        ({"a": [[1], [1, 2]]}, {}, "equal length"),
        ({"train": ["x", "y"]}, {}, "true or false"),
        ({"a": []}, {}, "is empty"),
        ({"a": [1.0]}, {}, "num_nodes=2"),
    ],
)
def test_wrong_node_tables(table, options, said, tmp_path):
    (tmp_path / "e.txt").write_text("0 1\n")
    with pytest.raises(GraphFormatError, match=said):
        read_edge_list(tmp_path / "e.txt", nodes=pd.DataFrame(table), **options)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"a": [0.5], "b": [1.5]}, {}, "whole numbers or words"),
        ({"a": [0, None], "b": [1, 2]}, {}, "no id"),
        ({"a": pd.array([0, None], "Int64"), "b": [1, 2]}, {}, "no id"),
        ({"a": [0], "b": ["x"]}, {}, "same kind"),
        ({"a": [0]}, {}, "no column 1"),
        ({"a": [0], "b": [1]}, {"weight": "c"}, "no column 'c'"),
        ({"a": [0], "b": [1], "c": ["x"]}, {"weight": "c"}, "expected numbers"),
        ({"a": [0], "b": [1]}, {"source": "b"}, "one column twice"),
        ({"a": np.array([2**63], np.uint64), "b": [1]}, {}, "exceeds"),
    ],
)
def test_wrong_parquet(columns, options, said, tmp_path):
    pd.DataFrame(columns).to_parquet(tmp_path / "e.parquet")
    with pytest.raises(GraphFormatError, match=said):
        read_parquet(tmp_path / "e.parquet", **options)


@pytest.mark.parametrize("directed", [False, True])
def test_graphml_as_networkx_wrote_it(directed, tmp_path):
    drawn = nx.gnm_random_graph(20, 40, seed=1, directed=directed)
    rng = np.random.default_rng(0)
    for v in drawn:
        drawn.nodes[v].update(x=float(rng.random()), y=int(v % 3), first=v < 5)
    for u, v in drawn.edges:
        drawn.edges[u, v]["w"] = float(u + v + 1)
    nx.write_graphml(drawn, tmp_path / "g.graphml")
    graph = read_graphml(
        tmp_path / "g.graphml", weight="w", features=["x"], labels="y", train="first"
    )
    assert graph.directed == directed
    assert graph.node_ids.tolist() == [str(v) for v in drawn]
    back = nx.read_graphml(tmp_path / "g.graphml")
    dense = nx.to_numpy_array(back, nodelist=list(graph.node_ids), weight="w").T
    found = np.zeros((20, 20))
    rows = np.repeat(np.arange(20), np.diff(graph.indptr))
    found[rows, graph.indices] = graph.edge_weight
    np.testing.assert_allclose(found, dense)
    expect = [[back.nodes[v]["x"]] for v in graph.node_ids]
    np.testing.assert_allclose(graph.features, expect, rtol=1e-6)
    assert graph.labels.tolist() == [v % 3 for v in range(20)]
    assert graph.splits["train"].tolist() == list(range(5))


XML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}</graphml>'
NODES = '<node id="a"/><node id="b"/>'


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("", "no graph"),
        (f'<graph>{NODES}<edge source="a" target="c"/></graph>', "node 'c'"),
        (f'<graph>{NODES}<edge source="a"/></graph>', "without source or target"),
        (f'<graph>{NODES}<node id="a"/></graph>', "'a' twice"),
        (f"<graph>{NODES}<graph/></graph>", "more than one graph"),
        (f"<graph>{NODES}<hyperedge/></graph>", "hyperedge"),
        (
            f'<graph>{NODES}<edge source="a" target="b" directed="true"/></graph>',
            "directed and undirected",
        ),
        ('<graph><node id="a"><data key="k">1</data></node></graph>', "key 'k'"),
        (
            '<key id="k" for="node" attr.name="x" attr.type="int"/>'
            '<graph><node id="a"><data key="k">1.5</data></node></graph>',
            "the int '1.5'",
        ),
        (f"<graph>{NODES}</graph>", "empty"),
    ],
)
def test_wrong_graphml(inner, said, tmp_path):
    (tmp_path / "g.graphml").write_text(XML.format(inner))
    with pytest.raises(GraphFormatError, match=said):
        read_graphml(tmp_path / "g.graphml")


@pytest.mark.parametrize("symmetry", ["general", "symmetric"])
@pytest.mark.parametrize("field", ["pattern", "real", "integer"])
@pytest.mark.parametrize("directed", [False, True])
def test_matrix_market_as_scipy_wrote_it(symmetry, field, directed, tmp_path):
    rng = np.random.default_rng(0)
    dense = (rng.random((20, 20)) < 0.2) * rng.integers(1, 9, (20, 20)).astype(float)
    if symmetry == "symmetric":
        dense = np.maximum(dense, dense.T)
    path = tmp_path / "m.mtx"
    scipy.io.mmwrite(path, sp.coo_array(dense), field=field, symmetry=symmetry)
    back = sp.coo_array(scipy.io.mmread(path))
    graph = read_matrix_market(path, directed=directed)
    other = daskgnn.from_scipy(back, directed=directed)
    np.testing.assert_array_equal(graph.indptr, other.indptr)
    np.testing.assert_array_equal(graph.indices, other.indices)
    assert (graph.edge_weight is None) == (field == "pattern")
    if field != "pattern" and (directed or symmetry == "symmetric"):
        np.testing.assert_array_equal(graph.edge_weight, other.edge_weight)
    assert read_matrix_market(path, weighted=False).edge_weight is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%%MatrixMarket matrix array real general\n2 2\n1\n", "matrix array"),
        ("%%MatrixMarket matrix coordinate complex general\n1 1 0\n", "complex"),
        ("%%MatrixMarket matrix coordinate real general\n2 3 1\n1 1 1\n", "2 x 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 9\n1 2 1\n", "1 entries"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 3 1\n", "column 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n0 1 1\n", "column 0"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 2\n", "not fit"),
        ("%%MatrixMarket matrix coordinate real general\n2 2\n1 2\n", "three whole"),
        ("%%MatrixMarket matrix coordinate real general\n", "a size"),
        ("1 2 3\n", "begins with"),
    ],
)
def test_wrong_matrix_market(text, said, tmp_path):
    (tmp_path / "m.mtx").write_text(text)
    with pytest.raises((GraphFormatError, DatasetError), match=said):
        read_matrix_market(tmp_path / "m.mtx")


def test_numpy_files(tmp_path):
    edges = random_edges()
    np.save(tmp_path / "a.npy", edges)
    np.save(tmp_path / "b.npy", edges.T.astype(np.int32))
    np.savez(tmp_path / "c.npz", edge_index=edges)
    np.savez_compressed(tmp_path / "d.npz", src=edges[0], dst=edges[1])
    for name in "abcd":
        file = next(tmp_path.glob(f"{name}.*"))
        same(read_numpy(file, memory_limit="1 MiB"), edges, 50)
    np.savez(tmp_path / "d.npz", src=edges[0], dst=edges[1], extra=1)
    with pytest.warns(UserWarning, match=r"not used: extra"):
        same(read_numpy(tmp_path / "d.npz"), edges, 50)
    halves = np.array_split(edges, 2, axis=1)
    for i, half in enumerate(halves):
        np.save(tmp_path / f"part{i}.npy", half)
    same(read_numpy(str(tmp_path / "part*.npy")), edges, 50)
    matrix = sp.coo_array((np.ones(300), (edges[0], edges[1])), shape=(50, 50))
    sp.save_npz(tmp_path / "m.npz", sp.csr_matrix(matrix))
    same(read_numpy(tmp_path / "m.npz"), edges, 50)
    graph = daskgnn.from_edge_index(edges)
    np.savez(tmp_path / "r.npz", indptr=graph.indptr, indices=graph.indices)
    same(read_numpy(tmp_path / "r.npz"), edges, 50)


def test_a_graph_is_named_after_its_file(tmp_path):
    edges, name = np.array([[0, 1], [1, 2]]), "web.2024-05"
    np.save(tmp_path / f"{name}.npy", edges)
    np.savez(tmp_path / f"{name}.npz", edge_index=edges)
    frame = pd.DataFrame(edges.T, columns=["src", "dst"])
    frame.to_parquet(tmp_path / f"{name}.parquet")
    frame.to_csv(tmp_path / f"{name}.csv.gz", index=False)
    nx.write_graphml(nx.path_graph(3), tmp_path / f"{name}.graphml")
    scipy.io.mmwrite(tmp_path / f"{name}.mtx", sp.eye_array(3, k=1))
    for file in tmp_path.iterdir():
        assert read_graph(file).name == name, file


@pytest.mark.parametrize("kind", ["edges", "matrix", "rows"])
def test_an_npz_is_read_once(kind, tmp_path, monkeypatch):
    """Reading it twice would take its memory twice."""
    graph = daskgnn.from_edge_index(random_edges())
    if kind == "edges":
        np.savez(tmp_path / "x.npz", edge_index=random_edges())
    elif kind == "matrix":
        sp.save_npz(tmp_path / "x.npz", matrix_of(graph).tocsr())
    else:
        np.savez(tmp_path / "x.npz", indptr=graph.indptr, indices=graph.indices)
    read = []
    take = np.lib.npyio.NpzFile.__getitem__

    def taken(file, key):
        read.append(key)
        return take(file, key)

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", taken)
    assert read_numpy(tmp_path / "x.npz").num_edges == graph.num_edges
    assert len(read) == len(set(read))


def test_other_files_called_npz(tmp_path):
    path = tmp_path / "x.npz"
    with path.open("wb") as file:
        np.save(file, random_edges())
    with pytest.raises(DatasetError, match="is damaged or not"):
        read_numpy(path)
    np.savez_compressed(path, edge_index=random_edges())
    content = bytearray(path.read_bytes())
    content[80:100] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is damaged or not"):
        read_numpy(path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"edge_index": np.zeros((3, 5), int)}, r"\(2, E\)"),
        ({"edge_index": np.zeros((2, 5))}, "float64"),
        ({"src": np.zeros(3, int), "dst": np.zeros(2, int)}, "expected both"),
        ({"edge_index": np.zeros((2, 3), int), "weight": np.zeros(2)}, "weights are"),
    ],
)
def test_wrong_numpy_files(arrays, said, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(GraphFormatError, match=said):
        read_numpy(tmp_path / "x.npz")


def test_dask_collections():
    edges = random_edges()
    for array in (edges, edges.T):
        chunks = (2, 70) if array is edges else (70, 1)
        same(from_dask(da.from_array(array, chunks=chunks)), edges, 50)
    frame = pd.DataFrame({"w": np.ones(300), "a": edges[0], "b": edges[1]})
    parts = dd.from_pandas(frame, npartitions=4)
    graph = from_dask(parts, source="a", destination="b", weight="w")
    same(graph, edges, 50)
    assert (graph.edge_weight == 1).all()
    words = frame.assign(a="n" + frame["a"].astype(str), b="n" + frame["b"].astype(str))
    named = from_dask(dd.from_pandas(words, npartitions=3), source=1, destination=2)
    number = {name: i for i, name in enumerate(named.node_ids)}
    same(named, np.vectorize(lambda i: number[f"n{i}"])(edges), 50)
    with pytest.raises(GraphFormatError, match="expected a Dask array"):
        from_dask(edges)
    for column in ("z", True):
        with pytest.raises(GraphFormatError, match=f"no column {column!r}"):
            from_dask(parts, source=column)
    with pytest.raises(GraphFormatError, match="one column twice"):
        from_dask(parts, source="a", destination=1)
    named = dd.from_pandas(frame.assign(w="far"), npartitions=1)
    with pytest.raises(GraphFormatError, match="'w' has weights that are not numbers"):
        from_dask(named, source="a", destination="b", weight="w")
    gap = frame.assign(w=pd.array([None, *[1.0] * 299], "Float64"))
    with pytest.raises(GraphFormatError, match="NaN"):
        from_dask(
            dd.from_pandas(gap, npartitions=2), source=1, destination=2, weight="w"
        )


def test_memory_limits():
    assert limit_bytes("2 GiB") == 2 << 30
    assert limit_bytes(5_000_000) == 5_000_000


@pytest.mark.data
def test_snap_as_it_is_published(data_dir, tmp_path):
    path = Path(os.fspath(data_dir)) / "soc_epinions1.npz"
    stored = daskgnn.load_dataset(os.fspath(path))
    rows = np.repeat(np.arange(stored.num_nodes), np.diff(stored.indptr))
    upper = rows < stored.indices
    with gzip.open(tmp_path / "soc.txt.gz", "wt", compresslevel=1) as file:
        file.write("# Directed graph\n# FromNodeId\tToNodeId\n")
        np.savetxt(file, np.stack([rows, stored.indices])[:, upper].T, "%d\t%d")
    graph = read_edge_list(tmp_path / "soc.txt.gz", memory_limit="4 MiB")
    np.testing.assert_array_equal(graph.indptr, stored.indptr)
    np.testing.assert_array_equal(graph.indices, stored.indices)


@pytest.mark.parametrize("ids", [["a", "ž", "", "b c"], [-3, 10**15, 7, 0]])
def test_ids_are_kept_in_the_store(ids, tmp_path):
    ids = np.array(ids)
    graph = daskgnn.from_edge_index(np.array([[0, 1, 2], [1, 2, 3]]))
    graph = dataclasses.replace(graph, node_ids=ids)
    path = graph.partition(2, "hash").save(tmp_path / "g.zarr")
    opened = daskgnn.open_graph(path, num_parts=2)
    np.testing.assert_array_equal(opened.node_ids(), ids)
    np.testing.assert_array_equal(opened.to_data().node_ids, ids)
    assert daskgnn.validate(path)
    with pytest.raises(GraphFormatError, match="node_ids have shape"):
        dataclasses.replace(graph, node_ids=ids[:2])


def test_the_command_reads_files(tmp_path, capsys):
    (tmp_path / "e-1.csv").write_text("who,whom,w\nanna,bob,2\n")
    (tmp_path / "e-2.csv").write_text("who,whom,w\nbob,bob,1\nbob,carl,3\n")
    (tmp_path / "n.csv").write_text("id,x,kind\nanna,1,p\nbob,2,q\ncarl,3,p\n")
    words = ["partition", str(tmp_path / "e-*.csv"), str(tmp_path / "g.zarr")]
    words += ["--source", "who", "--destination", "whom", "--weight", "w"]
    words += ["--nodes", str(tmp_path / "n.csv"), "--labels", "kind", "--directed"]
    words += ["--memory-limit", "1 MiB", "--num-clusters", "2", "--method", "hash"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert "self loops dropped: 1" in capsys.readouterr().out
    graph = daskgnn.open_graph(tmp_path / "g.zarr").to_data()
    assert graph.directed
    assert graph.node_ids.tolist() == ["anna", "bob", "carl"]
    assert graph.edge_weight.tolist() == [2, 3]
    assert graph.labels.tolist() == [0, 1, 0]


def test_options_that_do_not_fit_the_file(tmp_path, capsys):
    graph = daskgnn.from_edge_index(np.array([[0, 1, 2], [1, 2, 3]]))
    path = graph.partition(2, "hash").save(tmp_path / "g.zarr")
    np.savez(tmp_path / "r.npz", indptr=graph.indptr, indices=graph.indices)
    for name in (path, str(tmp_path / "r.npz"), "karate"):
        with pytest.raises(SystemExit) as end:
            main(["partition", name, str(tmp_path / "x.zarr"), "--directed"])
        assert end.value.code == 2
        assert "no option 'directed'" in capsys.readouterr().err
