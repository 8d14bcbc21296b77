"""What pandas and networkx write is read back as the same graph of arrays.

``pytest -m slow`` tries ten thousand graphs, the rest a few, always the same ones.
"""

import csv
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from graphs import pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskgnn
from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.graphml import read_graphml
from daskgnn.graph.readers.parquet import read_parquet

FEW, MANY = 30, 10_000
WORD = st.one_of(
    st.text("abAN é,;'\"#%.-_|", min_size=1, max_size=4).map(str.strip).filter(len),
    st.sampled_from(["NA", "nan", "null", "N/A", "New York", "a,b", 'say "x"', "#1"]),
    st.sampled_from(["10a", "0x1", "1,000", "?", "1-2", "a" * 300]),
).filter(lambda word: word[:1] not in "#%" and word not in (".", "-"))
FEATURE = st.one_of(
    st.integers(-(2**24), 2**24),
    st.floats(-1e6, 1e6, width=32),
    st.booleans(),
)


@dataclass
class Drawn:
    """A graph as a user has it."""

    ids: list
    edges: np.ndarray
    labels: list | None
    features: np.ndarray
    kind: str
    """What ids are."""


def ids_of(kind, count):
    """Different ids of one kind."""
    values = {
        "ints": st.integers(-(2**62), 2**62) | st.integers(0, 20),
        "floats": st.integers(-(2**40), 2**40),
        "padded": st.integers(1, 99),
        "words": WORD,
        "bytes": WORD,
    }[kind]
    return st.lists(values, min_size=count, max_size=count, unique=True)


def labels_of(count):
    """Labels as a list, None where they are not given."""
    ints = st.none() | st.integers(0, 12)
    words = st.none() | WORD.filter(lambda word: word != "10a")
    return st.one_of(
        st.none(),
        st.lists(ints, min_size=count, max_size=count),
        st.lists(ints.map(lambda n: n and Decimal(n)), min_size=count, max_size=count),
        st.lists(
            ints.map(lambda n: None if n is None else str(n)),
            min_size=count,
            max_size=count,
        ),
        st.lists(words, min_size=count, max_size=count),
    )


@st.composite
def graphs(draw):
    """A graph of a few nodes with an edge or more."""
    count = draw(st.integers(2, 6))
    kind = draw(st.sampled_from(["ints", "floats", "padded", "words", "bytes"]))
    nodes = st.integers(0, count - 1)
    apart = st.tuples(nodes, nodes).filter(lambda pair: pair[0] != pair[1])
    edges = np.array(draw(st.lists(apart, min_size=1, max_size=8))).T
    width = draw(st.integers(0, 2))
    columns = [
        draw(st.lists(FEATURE, min_size=count, max_size=count)) for _ in range(width)
    ]
    features = np.array(columns, np.float32).reshape(width, count).T
    return Drawn(
        draw(ids_of(kind, count)), edges, draw(labels_of(count)), features, kind
    )


def classes(labels):
    """The class numbers of labels, by pandas."""
    if labels is None:
        return None
    said = pd.Series(labels, dtype=object)
    numbers = pd.to_numeric(said.map(str, na_action="ignore"), errors="coerce")
    if (numbers.notna() == said.notna()).all():
        return numbers.fillna(-1).astype(int).to_numpy()
    return pd.Categorical(said, sorted({v for v in labels if v is not None})).codes


def expected(drawn):
    """The same graph of arrays."""
    return daskgnn.from_edge_index(
        drawn.edges,
        num_nodes=len(drawn.ids),
        features=drawn.features if drawn.features.shape[1] else None,
        labels=classes(drawn.labels),
        directed=True,
    )


def assert_same(graph, drawn, names):
    """Assert that a graph is the one that was drawn, with these ids."""
    right = expected(drawn)
    assert (
        range(len(names)) if graph.node_ids is None else graph.node_ids.tolist()
    ) == (range(len(names)) if graph.node_ids is None else names)
    if graph.node_ids is None:
        assert names == list(range(len(names)))
    np.testing.assert_array_equal(graph.indptr, right.indptr)
    np.testing.assert_array_equal(graph.indices, right.indices)
    for name in ("features", "labels"):
        found, value = getattr(graph, name), getattr(right, name)
        assert (found is None) == (value is None)
        if value is not None:
            np.testing.assert_array_equal(found, value)


def column_of(drawn, form):
    """The ids as pandas holds them, and as they are read."""
    ids, kind = drawn.ids, drawn.kind
    if kind == "padded":  # "02", where there is no "2"
        return pd.Series([f"{n:03d}" for n in ids]), ids if form == "csv" else None
    if kind == "floats":
        return pd.Series(ids, dtype=float), ids
    if kind == "bytes" and form != "csv":
        return pd.Series([word.encode() for word in ids], dtype=object), ids
    return pd.Series(ids), ids


def table_of(drawn, column, nullable):
    """A DataFrame of the nodes."""
    frame = pd.DataFrame({"id": column})
    for i, values in enumerate(drawn.features.T):
        frame[f"x{i}"] = values.astype(float)
    if drawn.labels is not None:
        said = [value for value in drawn.labels if value is not None]
        whole = bool(said) and all(isinstance(value, int) for value in said)
        kind = "Int64" if nullable and whole else object
        frame["label"] = pd.Series(drawn.labels, dtype=kind)
    return frame


@dataclass
class Form:
    """How tables are written."""

    kind: str
    index: str | None
    """What the index of ids is called; "" is a column."""
    nullable: bool
    sign: str
    quoting: int
    end: str
    mark: bool
    missing: int | None
    """Which node has no id."""


FORMS = st.builds(
    Form,
    st.sampled_from(["csv", "parquet", "frame"]),
    st.sampled_from(["", "", "id", "paper", None]),
    st.booleans(),
    st.sampled_from([",", ";", "\t", " "]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.none() | st.none() | st.none() | st.integers(0, 1),
)


def write(frame, path, form, index):
    """Write a table; return its path."""
    if form.kind == "parquet":
        frame.to_parquet(path, index=index)
        return path
    quoting = csv.QUOTE_ALL if form.sign == " " else form.quoting
    how = {"sep": form.sign, "quoting": quoting, "lineterminator": form.end}
    encoding = "utf-8-sig" if form.mark else "utf-8"
    frame.to_csv(path, index=index, encoding=encoding, **how)
    return path


def read_back(drawn, form, folder):
    """Write a graph's edges and nodes, read them, and return the graph and its ids."""
    column, names = column_of(drawn, form.kind)
    if names is None:
        names = column.tolist()
    ends = {
        name: column.to_numpy()[e] for name, e in zip("ab", drawn.edges, strict=True)
    }
    edges = pd.DataFrame(ends).rename(columns={"a": "source", "b": "target"})
    if form.missing is not None:
        column = column.astype(object)
        column[form.missing] = None
    nodes = table_of(drawn, column, form.nullable)
    if form.index != "":
        # In a CSV file an index with another name is a column like others.
        name = "id" if (form.kind, form.index) == ("csv", "paper") else form.index
        nodes = nodes.set_index("id").rename_axis(name)
    if form.kind == "frame":
        edges.to_parquet(folder / "edges")
        found = read_parquet(folder / "edges", nodes=nodes, directed=True)
        return found, names
    suffix = "pq" if form.kind == "parquet" else "csv"
    write(edges, folder / f"edges.{suffix}", form, False)
    write(nodes, folder / f"nodes.{suffix}", form, form.index != "")
    read = read_parquet if form.kind == "parquet" else read_edge_list
    return (
        read(
            folder / f"edges.{suffix}", nodes=folder / f"nodes.{suffix}", directed=True
        ),
        names,
    )


def check_tables(drawn, form):
    """Tables come back, or a missing id is refused."""
    with tempfile.TemporaryDirectory() as folder:
        if form.missing is None:
            graph, names = read_back(drawn, form, Path(folder))
            assert_same(graph, drawn, names)
            return
        with pytest.raises(GraphFormatError, match="id"):
            read_back(drawn, form, Path(folder))


def check_edges(drawn, form):
    """Edges without a table of nodes come back with their ids."""
    column, names = column_of(drawn, form.kind)
    names = column.tolist() if names is None else names
    ends = {
        name: column.to_numpy()[e] for name, e in zip("uv", drawn.edges, strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        suffix = "csv" if form.kind == "csv" else "pq"
        path = Path(folder) / f"e.{suffix}"
        form.kind = "csv" if suffix == "csv" else "parquet"
        write(pd.DataFrame(ends), path, form, False)
        read = read_edge_list if suffix == "csv" else read_parquet
        graph = read(path, directed=True, source="u", destination="v", **options(path))
    known = np.array(names, object)
    assert pairs(graph) == sorted({*map(tuple, known[drawn.edges].T.tolist())})


def options(path):
    """Whether the first line is a header need not be guessed."""
    return {"header": True} if path.suffix == ".csv" else {}


def check_graphml(drawn):
    """GraphML of networkx comes back; it has no ids but text."""
    names = [str(name) for name in drawn.ids]
    known = nx.DiGraph()
    known.add_nodes_from(names)
    known.add_edges_from(np.array(names, object)[drawn.edges].T.tolist())
    columns = [f"x{i}" for i in range(drawn.features.shape[1])]
    for name, row in zip(names, drawn.features, strict=True):
        known.nodes[name].update(zip(columns, map(float, row), strict=True))
    labels = drawn.labels
    if labels is not None and any(value is not None for value in labels):
        for name, value in zip(names, labels, strict=True):
            if value is not None:
                plain = int(value) if isinstance(value, Decimal) else value
                known.nodes[name]["kind"] = plain
    else:
        drawn.labels = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.graphml"
        nx.write_graphml(known, path)
        named = {"features": columns or None, "labels": drawn.labels and "kind"}
        assert_same(read_graphml(path, **named), drawn, names)


def rounds(examples, check, *strategies):
    """Run a check on so many graphs, always the same ones."""
    profile = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    profile(given(*strategies)(check))()


def test_tables():
    rounds(FEW, check_tables, graphs(), FORMS)


def test_edges():
    rounds(FEW, check_edges, graphs(), FORMS)


def test_graphml():
    rounds(FEW, check_graphml, graphs())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_graphs():
    rounds(MANY // 2, check_tables, graphs(), FORMS)
    rounds(MANY // 4, check_edges, graphs(), FORMS)
    rounds(MANY // 4, check_graphml, graphs())
