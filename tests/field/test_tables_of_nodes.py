"""Tables of nodes: an index is ids, and what is not understood is said."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import daskgnn
from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.arrays import from_dask
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.parquet import read_parquet

IDS = [30, 10, 20]
NODES = pd.DataFrame({"id": IDS, "x": [3.0, 1.0, 2.0], "label": [0, 1, 2]})


@pytest.fixture
def edges(tmp_path):
    (tmp_path / "e.txt").write_text("10 20\n20 30\n")
    return tmp_path / "e.txt"


def by_id(graph):
    """What each id has, as pandas has it."""
    found = {"x": graph.features[:, 0], "label": graph.labels}
    return pd.DataFrame(found, pd.Index(graph.node_ids, name="id")).sort_index()


EXPECTED = NODES.set_index("id").sort_index().astype({"x": np.float32})


def written(frame, folder, form):
    if form == "frame":
        return frame
    path = folder / f"n.{form}"
    frame.to_parquet(path) if form == "parquet" else frame.to_csv(path)
    return path


@pytest.mark.parametrize("form", ["frame", "parquet", "csv"])
@pytest.mark.parametrize("name", ["id", "paper", None])
def test_an_index_of_ids(form, name, edges, tmp_path):
    frame = NODES.set_index("id").rename_axis(name)
    if (form, name) == ("csv", "paper"):
        pytest.skip("a CSV file has no index: the column is a feature")
    graph = read_edge_list(edges, nodes=written(frame, tmp_path, form))
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)


def test_an_index_in_several_files(edges, tmp_path):
    frame = NODES.set_index("id")
    frame.iloc[:1].to_parquet(tmp_path / "n0.parquet")
    frame.iloc[1:].to_parquet(tmp_path / "n1.parquet")
    graph = read_edge_list(edges, nodes=str(tmp_path / "n*.parquet"))
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)


@pytest.mark.parametrize("form", ["frame", "parquet", "csv"])
def test_an_index_that_only_counts_is_none(form, tmp_path):
    (tmp_path / "e.txt").write_text("0 1\n1 2\n")
    frame = NODES.drop(columns="id")
    graph = read_edge_list(tmp_path / "e.txt", nodes=written(frame, tmp_path, form))
    assert graph.node_ids is None
    assert graph.features.tolist() == [[3], [1], [2]]
    # Of rows that were chosen from a table, or shuffled, the index is what they are.
    frame = frame.iloc[[2, 0, 1]]
    graph = read_edge_list(tmp_path / "e.txt", nodes=written(frame, tmp_path, form))
    assert graph.node_ids.tolist() == [2, 0, 1]


def test_an_index_beside_ids_is_no_feature(edges):
    frame = NODES.rename_axis("row")
    with pytest.warns(UserWarning, match=r"row \(pandas' index\)"):
        graph = read_edge_list(edges, nodes=frame)
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)


def test_an_index_of_edges_is_not_lost(tmp_path):
    frame = pd.DataFrame({"src": [0, 1], "dst": [1, 2], "w": [3, 4]})
    held = frame.set_index("src")
    held.to_parquet(tmp_path / "e.parquet")
    with pytest.raises(GraphFormatError, match="'src' as pandas' index"):
        read_parquet(tmp_path / "e.parquet")
    named = {"source": "src", "destination": "dst", "directed": True}
    graph = read_parquet(tmp_path / "e.parquet", **named)
    assert graph.indices.tolist() == [0, 1]
    import dask.dataframe as dd

    parts = dd.from_pandas(held, npartitions=1)
    with pytest.raises(GraphFormatError, match="'src' as pandas' index"):
        from_dask(parts)
    assert from_dask(parts, **named).indices.tolist() == [0, 1]
    frame.to_csv(tmp_path / "e.csv")  # with the rows' numbers as a column
    graph = read_edge_list(tmp_path / "e.csv", directed=True)
    assert graph.indices.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["features", "labels", "train"])
def test_arrays_with_an_index_are_not_taken_by_place(name):
    values = {"features": [[1.0], [2.0], [3.0]], "labels": [0, 1, 2]}
    given = values.get(name, [True, False, False])
    make = pd.DataFrame if name == "features" else pd.Series
    with pytest.raises(GraphFormatError, match=f"{name} has an index"):
        daskgnn.from_edge_index([[0, 1], [1, 2]], **{name: make(given, [2, 0, 1])})
    daskgnn.from_edge_index([[0, 1], [1, 2]], **{name: make(given)})


UNUSED = [
    ("price", ["1", "?", "3"], r"price \('\?' in row 1 among numbers\)"),
    ("price", ["1", "1,000", "3"], r"price \('1,000' in row 1 among numbers\)"),
    ("town", ["Ulm", "Bonn", "Kiel"], r"town \(words\)"),
    ("day", pd.to_datetime(["2020-01-01"] * 3), "day"),
]


@pytest.mark.parametrize(("name", "values", "said"), UNUSED, ids=lambda v: str(v)[:9])
@pytest.mark.parametrize("form", ["frame", "parquet", "csv"])
def test_columns_that_are_not_used_are_named(name, values, said, form, edges, tmp_path):
    frame = NODES.assign(**{name: values}).set_index("id")
    with pytest.warns(UserWarning, match=said):
        graph = read_edge_list(edges, nodes=written(frame, tmp_path, form))
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)


def test_a_list_column_whose_first_row_is_null(edges):
    nodes = NODES.assign(vector=[None, [1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(GraphFormatError, match=r"'vector' .* no list in row 0"):
        read_edge_list(edges, nodes=nodes)


@pytest.mark.parametrize("form", ["frame", "parquet"])
def test_decimals_and_nullable_columns_are_features(form, edges, tmp_path):
    nodes = NODES.assign(
        x=[Decimal("3"), Decimal("1"), Decimal("2")],
        y1=pd.array([1, 2, 3], "Int64"),
        y2=[Decimal("0.5"), Decimal("1.5"), Decimal("2.5")],
        train=pd.array([True, None, False], "boolean"),
    )
    graph = read_edge_list(edges, nodes=written(nodes, tmp_path, form))
    assert graph.features.tolist() == [[3, 1, 0.5], [1, 2, 1.5], [2, 3, 2.5]]
    assert graph.splits["train"].tolist() == [0]
    nodes = nodes.assign(y1=pd.array([1, None, 3], "Int64"))
    with pytest.raises(GraphFormatError, match=r"features of node 10 .*column 'y1'"):
        read_edge_list(edges, nodes=written(nodes, tmp_path, form))


@pytest.mark.parametrize("kind", ["boolean", object])
def test_a_mask_with_nulls_is_false_there(kind):
    mask = pd.Series([True, None, False], dtype=kind)
    for given in (mask, mask.array, mask.to_numpy()):
        graph = daskgnn.from_edge_index([[0, 1], [1, 2]], num_nodes=3, train=given)
        assert graph.splits["train"].tolist() == [0]


@pytest.mark.parametrize("sign", [",", ";", "\t", " ", "|"])
def test_the_delimiter_is_found(sign, edges, tmp_path):
    NODES.to_csv(tmp_path / "n.csv", sep=sign, index=False)
    graph = read_edge_list(edges, nodes=tmp_path / "n.csv")
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)


@pytest.mark.parametrize("sign", [",", ";", "\t", " ", "|"])
def test_a_table_of_ids_alone_has_one_column(sign, tmp_path):
    """Its header holds no delimiter, so the ids may hold any."""
    ids = ["New York", "a;b", "c,d e", 'say "x"', "f|g", "Ulm"]
    ends = pd.DataFrame({"source": ids, "target": ids[1:] + ids[:1]})
    ends.to_parquet(tmp_path / "e.parquet")
    pd.DataFrame({"id": ids}).to_csv(tmp_path / "n.csv", sep=sign, index=False)
    known = pd.read_csv(tmp_path / "n.csv", sep=sign)["id"].tolist()
    graph = read_parquet(tmp_path / "e.parquet", nodes=tmp_path / "n.csv")
    assert graph.node_ids.tolist() == known == ids


@pytest.mark.parametrize("word", ["dev", "valid", "validation", "VAL"])
def test_words_for_validation(word, edges):
    graph = read_edge_list(edges, nodes=NODES.assign(split=["train", word, None]))
    assert graph.splits["val"].tolist() == [1]
    assert graph.splits["train"].tolist() == [0]


def test_an_unknown_split_is_refused(edges, tmp_path):
    NODES.assign(split=["train", "tset", ""]).to_csv(tmp_path / "n.csv", index=False)
    with pytest.raises(GraphFormatError, match=r"n.csv, line 3: split is 'tset'"):
        read_edge_list(edges, nodes=tmp_path / "n.csv")


def test_a_table_that_says_nothing_is_refused(edges, tmp_path):
    text = "id^x\n10^1\n20^2\n30^3\n"
    (tmp_path / "n.csv").write_text(text)
    with (
        pytest.raises(GraphFormatError, match="no id, label or feature"),
        pytest.warns(UserWarning, match="not used"),
    ):
        read_edge_list(edges, nodes=tmp_path / "n.csv")
    (tmp_path / "n.csv").write_text("10,0.5,a\n20,0.5,b\n30,1.5,c\n")
    with pytest.raises(GraphFormatError, match="names of columns"):
        read_edge_list(edges, nodes=tmp_path / "n.csv")


@pytest.mark.parametrize("names", ["ID,X,Label", "Id,x,Class", "Node_ID,x,Y"])
def test_capitals_do_not_matter(names, edges, tmp_path):
    frame = NODES.set_axis(names.split(","), axis=1)
    frame.to_csv(tmp_path / "n.csv", index=False)
    frame.to_parquet(tmp_path / "n.parquet")
    for nodes in (frame, tmp_path / "n.csv", tmp_path / "n.parquet"):
        pd.testing.assert_frame_equal(
            by_id(read_edge_list(edges, nodes=nodes)), EXPECTED
        )


SPLIT_NAMES = [
    ("train_mask", "val_mask", "test_mask"),
    ("Train", "Valid", "Test"),
    ("train", "validation", "test"),
    ("TRAIN_MASK", "dev_mask", "test"),
]


@pytest.mark.parametrize("names", SPLIT_NAMES, ids=str)
@pytest.mark.parametrize("form", ["frame", "csv", "parquet"])
def test_masks_by_the_names_that_archives_have(names, form, edges, tmp_path):
    masks = dict(zip(names, np.eye(3, dtype=int), strict=True))
    nodes = NODES.assign(**masks).set_index("id")
    graph = read_edge_list(edges, nodes=written(nodes, tmp_path, form))
    splits = {name: ids.tolist() for name, ids in graph.splits.items()}
    assert splits == {"train": [0], "val": [1], "test": [2]}
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)


KNOWN_TWICE = [
    ("y", "column 'label' is taken instead"),
    ("Label", "column 'label' is taken instead"),
    ("node_id", "column 'id' is taken instead"),
]


@pytest.mark.parametrize(("name", "said"), KNOWN_TWICE)
def test_what_is_known_by_another_column_is_no_feature(name, said, edges):
    nodes = NODES.assign(**{name: [1, 0, 1]})
    with pytest.warns(UserWarning, match=rf"{name} \({said}\)"):
        graph = read_edge_list(edges, nodes=nodes)
    pd.testing.assert_frame_equal(by_id(graph), EXPECTED)
    assert graph.report["columns_unused"] == 1


def test_a_label_beside_the_one_asked_for_is_no_feature(edges):
    nodes = NODES.assign(kind=[2, 0, 1])
    with pytest.warns(UserWarning, match=r"label \(column 'kind' is taken instead\)"):
        graph = read_edge_list(edges, nodes=nodes, labels="kind")
    assert graph.labels.tolist() == [2, 0, 1]
    assert graph.features.tolist() == [[3], [1], [2]]
    graph = read_edge_list(edges, nodes=nodes, labels="kind", features=["x", "label"])
    assert graph.num_features == 2


@pytest.mark.parametrize("name", ["edge_weight", "node_ids"])
def test_other_series_with_an_index_are_not_taken_by_place(name):
    values = [1.0, 2.0] if name == "edge_weight" else ["a", "b", "c"]
    shuffled = pd.Series(values, [*range(1, len(values)), 0])
    with pytest.raises(GraphFormatError, match=f"{name} has an index"):
        daskgnn.from_edge_index([[0, 1], [1, 2]], **{name: shuffled})
    daskgnn.from_edge_index([[0, 1], [1, 2]], **{name: pd.Series(values)})


@pytest.mark.parametrize("form", ["networkx", "graphml"])
@pytest.mark.parametrize("name", ["split", "train", "train_mask"])
def test_splits_among_attributes(form, name, tmp_path):
    import networkx as nx

    graph = nx.path_graph(["a", "b", "c"])
    values = ["train", "dev", "test"] if name == "split" else [True, False, False]
    nx.set_node_attributes(graph, dict(zip("abc", values, strict=True)), name)
    expected = {"train": [0], "val": [1], "test": [2]}
    if form == "graphml":
        nx.write_graphml(graph, tmp_path / "g.graphml")
        found = daskgnn.read_graphml(tmp_path / "g.graphml")
    else:
        found = daskgnn.from_networkx(graph)
    splits = {name: ids.tolist() for name, ids in found.splits.items()}
    assert splits == (expected if name == "split" else {"train": [0]})


def test_messages_name_the_users_node():
    import networkx as nx

    graph = nx.path_graph(["a", "b", "m5"])
    nx.set_node_attributes(graph, {"a": "train", "m5": "tset"}, "split")
    with pytest.raises(GraphFormatError, match="node 'm5': split is 'tset'"):
        daskgnn.from_networkx(graph)
    nx.set_node_attributes(graph, {"a": 1.0, "b": 2.0}, "f")
    with pytest.raises(GraphFormatError, match=r"'f' \(the first is 'm5'\)"):
        daskgnn.from_networkx(graph, features=["f"], train=[0])
    graph.nodes["m5"]["val"] = "maybe"
    with pytest.raises(GraphFormatError, match="node 'm5': val holds 'maybe'"):
        daskgnn.from_networkx(graph, train=[0])
