"""Ids are what users call their nodes: numbers, words, and nothing in between."""

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from graphs import pairs

import daskgnn
from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.arrays import from_dask
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.parquet import read_parquet


def read(text, folder, **options):
    (folder / "e.csv").write_text(text)
    return read_edge_list(folder / "e.csv", directed=True, **options)


def test_whole_floats_as_savetxt_writes_them(tmp_path):
    edges = np.array([[2, 0], [0, 1], [1, 3]])
    for form in ("%.18e", "%.1f", "%d", "%+d"):
        np.savetxt(tmp_path / "e.txt", edges, fmt=form)
        graph = read_edge_list(tmp_path / "e.txt", directed=True)
        assert graph.node_ids is None
        assert pairs(graph) == sorted(map(tuple, edges.tolist()))


def test_whole_floats_as_pandas_holds_them(tmp_path):
    frame = pd.DataFrame({"a": [2.0, 0.0], "b": [0, 1]})
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_parquet(tmp_path / "e.parquet")
    for graph in (
        read_edge_list(tmp_path / "e.csv", directed=True),
        read_parquet(tmp_path / "e.parquet", directed=True),
        from_dask(dd.from_pandas(frame, npartitions=1), directed=True),
    ):
        assert graph.node_ids is None
        assert pairs(graph) == [(0, 1), (2, 0)]
    frame["a"] += 2.0**53
    frame.to_parquet(tmp_path / "e.parquet")
    with pytest.raises(GraphFormatError, match=r"beyond 2\*\*53"):
        read_parquet(tmp_path / "e.parquet")


def test_leading_zeros(tmp_path):
    assert pairs(read("0,02\n02,1\n", tmp_path)) == [(0, 2), (2, 1)]
    graph = read("0,02\n2,1\n", tmp_path)
    assert pairs(graph) == [("0", "02"), ("2", "1")]
    assert pairs(read("0,0x1\n1,0\n", tmp_path)) == [("0", "0x1"), ("1", "0")]
    assert pairs(read("01234,a\na,1234\n", tmp_path)) == [("01234", "a"), ("a", "1234")]


@pytest.mark.parametrize("word", ["nan", "NA", "NaN", "null"])
def test_missing_among_numbers_is_refused_with_its_line(word, tmp_path):
    with pytest.raises(GraphFormatError, match=r"e.csv, line 4: id '.*' is missing"):
        read(f"# numbers\n0,1\n\n2,{word}\n", tmp_path)
    words = read(f"anna,{word}\n{word},bob\n", tmp_path)
    assert pairs(words) == sorted([("anna", word), (word, "bob")])


@pytest.mark.parametrize("head", ["", "source,target\n", "# x\n"])
@pytest.mark.parametrize("rows", ["0,1\n2,\n", "a,b\n,c\n", 'a,b\n"",c\n'])
def test_an_empty_field_is_a_missing_id(head, rows, tmp_path):
    line = 2 + bool(head)
    with pytest.raises(GraphFormatError, match=f"e.csv, line {line}: .* empty id"):
        read(head + rows, tmp_path)


def test_missing_ids_of_parquet_name_their_row(tmp_path):
    for column in ([0, None, 1], [0.0, np.nan, 1.0], ["a", None, "b"], ["a", "", "b"]):
        frame = pd.DataFrame({"a": column, "b": column[::-1]})
        frame.to_parquet(tmp_path / "e.parquet")
        with pytest.raises(GraphFormatError, match=r"e.parquet, row 1: .* no id"):
            read_parquet(tmp_path / "e.parquet")


def test_a_node_called_na_in_a_table(tmp_path):
    (tmp_path / "n.csv").write_text("id,label\nNA,0\nSA,1\n")
    graph = read("NA,SA\n", tmp_path, nodes=tmp_path / "n.csv")
    assert pairs(graph) == [("NA", "SA")]
    (tmp_path / "n.csv").write_text("id,label\n1,0\nNA,1\n")
    with pytest.raises(GraphFormatError, match=r"n.csv, line 3: id 'NA' is missing"):
        read("1,1\n1,0\n", tmp_path, nodes=tmp_path / "n.csv")


@pytest.mark.parametrize(
    ("edges", "table"),
    [
        ("2.0,0.0\n", "0\n2\n"),
        ("2,0\n", "0.0\n2.0\n"),
        ("02,0\n", "0\n02\n"),
        ("2,0\n", "+0\n+2\n"),
    ],
)
def test_ids_of_edges_and_table_are_read_together(edges, table, tmp_path):
    (tmp_path / "n.csv").write_text("id,x\n" + table.replace("\n", ",1\n"))
    graph = read(edges, tmp_path, nodes=tmp_path / "n.csv")
    assert graph.node_ids.tolist() == [0, 2]
    assert pairs(graph) == [(2, 0)]


def test_leading_zeros_across_edges_and_table(tmp_path):
    (tmp_path / "n.csv").write_text("id,x\n0,1\n02,1\n2,1\n")
    graph = read("02,0\n2,0\n", tmp_path, nodes=tmp_path / "n.csv")
    assert pairs(graph) == [("02", "0"), ("2", "0")]
    (tmp_path / "n.csv").write_text("id,x\n0,1\n02,1\n")
    with pytest.raises(GraphFormatError, match="names node 2, which the table"):
        read("2,0\n", tmp_path, nodes=tmp_path / "n.csv")


def test_bytes_are_text(tmp_path):
    ids = np.array([b"a", "ž".encode(), b"c"], object)
    frame = pd.DataFrame({"a": ids[[0, 1]], "b": ids[[1, 2]]})
    frame.to_parquet(tmp_path / "e.parquet")
    graph = read_parquet(tmp_path / "e.parquet", directed=True)
    assert pairs(graph) == [("a", "ž"), ("ž", "c")]
    nodes = pd.DataFrame({"id": ids, "x": [1, 2, 3]})
    graph = read_parquet(tmp_path / "e.parquet", directed=True, nodes=nodes)
    assert graph.node_ids.tolist() == ["a", "ž", "c"]
    frame["a"] = [b"\xff", b"a"]
    frame.to_parquet(tmp_path / "e.parquet")
    with pytest.raises(GraphFormatError, match="UTF-8"):
        read_parquet(tmp_path / "e.parquet")


@pytest.mark.parametrize("largest", [2**63, 2**64 - 1])
def test_ids_beyond_63_bits_do_not_wrap(largest, tmp_path):
    graph = read(f"{largest},1\n1,{largest - 1}\n", tmp_path)
    assert pairs(graph) == sorted([(str(largest), "1"), ("1", str(largest - 1))])
    nodes = pd.DataFrame({"id": np.array([largest, 1], np.uint64)})
    (tmp_path / "n.csv").write_text(f"id,x\n{largest},0\n1,0\n")
    graph = read(f"{largest},1\n", tmp_path, nodes=tmp_path / "n.csv")
    assert pairs(graph) == [(str(largest), "1")]
    with pytest.raises(GraphFormatError, match=f"id {largest} exceeds"):
        read(f"{largest},1\n", tmp_path, nodes=nodes)
    for name in ("train", "val"):
        ids = np.array([largest], np.uint64)
        with pytest.raises(GraphFormatError, match=str(largest)):
            daskgnn.from_edge_index([[0, 1], [1, 2]], **{name: ids})
    np.savez(tmp_path / "r.npz", indptr=[0, 1, 2], indices=[2**32 + 1, 0])
    with pytest.raises(GraphFormatError, match=str(2**32 + 1)):
        daskgnn.read_npz(tmp_path / "r.npz")


@pytest.mark.parametrize(
    "given",
    [
        {"features": np.ones((3, 2))},
        {"labels": [0, 1, 0]},
        {"train": [0, 1]},
        {"test": [True, False, False]},
    ],
    ids=str,
)
def test_arrays_by_node_number_are_refused_where_ids_were_mapped(given, tmp_path):
    (name,) = given
    for text, options in (("a,b\nb,c\n", {}), ("0,5\n5,9\n", {"ids": "map"})):
        with pytest.raises(GraphFormatError, match=f"{name} is given by node number"):
            read(text, tmp_path, **options, **given)
    nodes = pd.DataFrame({"id": ["c", "b", "a"]})
    if name == "train":  # which node is 0?
        with pytest.raises(GraphFormatError, match="by node number"):
            read("a,b\nb,c\n", tmp_path, nodes=nodes, **given)
    else:  # row i is the table's
        graph = read("a,b\nb,c\n", tmp_path, nodes=nodes, **given)
        assert graph.node_ids.tolist() == ["c", "b", "a"]
    assert read("0,1\n1,2\n", tmp_path, **given).num_nodes == 3


@pytest.mark.parametrize("name", ["features", "labels", "train"])
def test_a_column_without_a_table(name, tmp_path):
    with pytest.raises(GraphFormatError, match="names a column of a table of nodes"):
        read("0,1\n1,2\n", tmp_path, **{name: "kind"})


def test_words_as_labels_of_arrays(tmp_path):
    graph = read("0,1\n1,2\n", tmp_path, labels=["b", None, "a"])
    assert graph.labels.tolist() == [1, -1, 0]
