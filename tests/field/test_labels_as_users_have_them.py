"""Classes are the numbers that users see, whatever type or format holds them."""

from decimal import Decimal

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import daskgnn
from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.parquet import read_parquet

NUMBERS = [10, 2, 2, 0]
RING = pd.DataFrame({"source": [0, 1, 2, 3], "target": [1, 2, 3, 0]})


@pytest.fixture
def edges(tmp_path):
    RING.to_parquet(tmp_path / "e.parquet")
    return tmp_path / "e.parquet"


def labels_of(edges, nodes):
    return read_parquet(edges, nodes=nodes, ids="keep").labels.tolist()


@pytest.mark.parametrize("kind", ["integer", "int", "long", "string", "double"])
def test_graphml_numbers_are_class_numbers(kind, tmp_path):
    drawn = nx.cycle_graph(4)
    nx.set_node_attributes(drawn, dict(enumerate(NUMBERS)), "kind")
    path = tmp_path / "g.graphml"
    nx.write_graphml(drawn, path)
    text = path.read_text().replace('attr.type="long"', f'attr.type="{kind}"')
    path.write_text(text)
    back = nx.read_graphml(path)
    found = daskgnn.read_graphml(path, labels="kind")
    assert found.labels.tolist() == [int(back.nodes[v]["kind"]) for v in back]


@pytest.mark.parametrize(
    "values",
    [
        [str(n) for n in NUMBERS],
        [f"{n}.0" for n in NUMBERS],
        [Decimal(n) for n in NUMBERS],
        np.array(NUMBERS, object),
        np.array(NUMBERS, np.float32),
        pd.array(NUMBERS, "Int64"),
        pd.array([str(n) for n in NUMBERS], "category"),
        [str(n).encode() for n in NUMBERS],
    ],
    ids=lambda v: f"{type(v).__name__}-{type(v[0]).__name__}",
)
def test_numbers_of_any_type(values, edges, tmp_path):
    frame = pd.DataFrame({"id": range(4), "label": values})
    assert labels_of(edges, frame) == NUMBERS
    frame.to_parquet(tmp_path / "n.parquet")
    assert labels_of(edges, tmp_path / "n.parquet") == NUMBERS
    index = RING.to_numpy().T
    if not isinstance(values[0], bytes):
        found = daskgnn.from_edge_index(index, labels=values)
        assert found.labels.tolist() == NUMBERS


@pytest.mark.parametrize(
    "values",
    [
        ["10", None, "2", "0"],
        [Decimal(10), None, Decimal(2), Decimal(0)],
        np.array([10, None, 2, 0], object),
        pd.array([10, None, 2, 0], "Int64"),
        ["10", "NA", "2", "0"],
        [10, np.nan, 2, 0],
    ],
    ids=str,
)
def test_what_is_missing_is_not_given(values, edges, tmp_path):
    frame = pd.DataFrame({"id": range(4), "label": values})
    assert labels_of(edges, frame) == [10, -1, 2, 0]
    frame.to_csv(tmp_path / "n.csv", index=False)
    assert labels_of(edges, tmp_path / "n.csv") == [10, -1, 2, 0]


@pytest.mark.parametrize("word", ["NA", "nan", "null", "None", "n/a"])
def test_a_class_may_be_called_na(word, edges, tmp_path):
    frame = pd.DataFrame({"id": range(4), "label": [word, "SA", "", word]})
    said = frame["label"].replace("", None)
    codes = pd.Categorical(said, sorted([word, "SA"])).codes.tolist()
    for path in ("n.csv", "n.parquet"):
        if path.endswith("csv"):
            frame.to_csv(tmp_path / path, index=False)
        else:
            frame.to_parquet(tmp_path / path)
        assert labels_of(edges, tmp_path / path) == codes


def test_large_labels_do_not_wrap():
    edges = RING.to_numpy().T
    for largest in (2**64 - 1, 2**63):
        labels = np.array([largest, 0, 1, 2], np.uint64)
        with pytest.raises(GraphFormatError, match=str(largest)):
            daskgnn.from_edge_index(edges, labels=labels)
    with pytest.raises(GraphFormatError, match="0, 1 or NaN"):
        daskgnn.from_edge_index(edges, labels=np.full((4, 2), 1 + 1e-9))


@pytest.mark.parametrize("kind", [int, float, str, object])
def test_what_is_masked_is_not_given(kind):
    values = np.ma.array(np.array([0, 1, 2, 1], kind), mask=[1, 0, 0, 0])
    graph = daskgnn.from_edge_index([[0, 1, 2], [1, 2, 3]], labels=values)
    assert graph.labels.tolist() == [-1, 1, 2, 1]


def test_masked_labels_of_several_columns():
    values = np.ma.array([[0, 1], [1, 0], [1, 1]], mask=[[1, 0], [0, 0], [0, 0]])
    graph = daskgnn.from_edge_index([[0, 1], [1, 2]], labels=values)
    expected = values.astype(float).filled(np.nan)
    np.testing.assert_array_equal(graph.labels, expected)


@pytest.mark.parametrize("name", ["features", "train", "edge_weight"])
def test_masked_arrays_of_anything_else_are_refused(name):
    values = {
        "features": np.ma.array([[1.0], [2.0], [3.0]], mask=[[1], [0], [0]]),
        "train": np.ma.array([True, False, True], mask=[1, 0, 0]),
        "edge_weight": np.ma.array([1.0, 2.0], mask=[1, 0]),
    }
    with pytest.raises(GraphFormatError, match=f"{name} is a masked array with 1"):
        daskgnn.from_edge_index([[0, 1], [1, 2]], **{name: values[name]})


@pytest.mark.parametrize("sign", ["?", "-", "1,000"])
@pytest.mark.parametrize("form", ["csv", "parquet", "array"])
def test_signs_among_class_numbers_are_refused(sign, form, tmp_path):
    nodes = pd.DataFrame({"id": [0, 1, 2], "label": ["10", sign, "2"]})
    pd.DataFrame({"a": [0, 1], "b": [1, 2]}).to_csv(tmp_path / "e.csv", index=False)
    path = tmp_path / f"n.{form}"
    nodes.to_csv(path, index=False) if form == "csv" else nodes.to_parquet(path)
    edges = [[0, 1], [1, 2]]
    make = {"array": lambda: daskgnn.from_edge_index(edges, labels=[*nodes["label"]])}
    read = make.get(form, lambda: read_edge_list(tmp_path / "e.csv", nodes=path))
    with pytest.raises(GraphFormatError, match=r"hold '.+' in row 1 among numbers"):
        read()


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("words", [[" 10", "2 ", "0"], [" b", "a ", "a"]])
def test_spaces_beside_labels_are_no_part_of_them(form, words, tmp_path):
    nodes = pd.DataFrame({"id": [0, 1, 2], "label": words})
    pd.DataFrame({"a": [0, 1], "b": [1, 2]}).to_csv(tmp_path / "e.csv", index=False)
    path = tmp_path / f"n.{form}"
    nodes.to_csv(path, index=False) if form == "csv" else nodes.to_parquet(path)
    graph = read_edge_list(tmp_path / "e.csv", nodes=path)
    expected = [10, 2, 0] if words[2] == "0" else [1, 0, 0]
    assert graph.labels.tolist() == expected
