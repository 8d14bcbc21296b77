"""Readers and `open_graph` on anything: a typed error or a right result.

``pytest -m fuzz`` (part of make test-all) tries ten thousand inputs, the rest a few.
"""

import gzip
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskgnn
from daskgnn.errors import DaskGNNError
from daskgnn.graph.readers.open_file import read_graph

FEW, MANY = 40, 1700
QUIET = list(HealthCheck)

WHOLE = st.integers(-3, 40).map(str) | st.integers(-(2**70), 2**70).map(str)
WORDS = st.text("ab é'.#%", min_size=1, max_size=4)
FIELDS = WHOLE | WORDS | st.sampled_from(["", "nan", "1.5", '"', '"a"', "-", "0x1"])
SPLITTERS = st.sampled_from([",", "\t", " ", "  ", ";", " , "])


def lines_of(fields):
    """Text of lines whose fields come from a strategy."""
    rows = st.lists(st.lists(fields, min_size=1, max_size=4), max_size=12)
    ends = st.sampled_from(["\n", "\r\n", "\n\n"])
    heads = st.sampled_from(["", "# head\n", "source,target\n", "%%MatrixMarket\n"])
    return st.builds(
        lambda head, rows, splitter, end: head + end.join(map(splitter.join, rows)),
        heads,
        rows,
        SPLITTERS,
        ends,
    )


def whole_edges():
    """Right edge lists: text, and the pairs it holds."""
    ids = st.integers(-3, 30)
    pairs = st.lists(st.tuples(ids, ids), min_size=1, max_size=30)
    return st.tuples(pairs, st.sampled_from([",", "\t", " ", "   "]))


MATRIX = st.builds(
    lambda field, symmetry, size, rows: (
        f"%%MatrixMarket matrix coordinate {field} {symmetry}\n{size}\n" + rows
    ),
    st.sampled_from(["pattern", "real", "integer", "complex", "REAL"]),
    st.sampled_from(["general", "symmetric", "skew-symmetric", "x"]),
    st.sampled_from(["5 5 2", "5 4 1", "5 5", "0 0 0", "5 5 1", "x y z", ""]),
    lines_of(st.integers(-1, 6).map(str) | FIELDS),
)
XML_PIECES = st.sampled_from(
    [
        "<graph>",
        '<graph edgedefault="directed">',
        "</graph>",
        '<node id="a"/>',
        '<node id="b"/>',
        "<node/>",
        '<node id="c"><data key="k">1</data></node>',
        '<key id="k" for="node" attr.name="x" attr.type="int"/>',
        '<edge source="a" target="b"/>',
        '<edge source="a" target="z"/>',
        '<edge target="b"/>',
        '<edge source="a" target="b" directed="true"/>',
        "<hyperedge/>",
        "text",
        "<",
        "&lol;",
        "\x00",
    ]
)
XML = st.lists(XML_PIECES, max_size=9).map(lambda p: f"<graphml>{''.join(p)}</graphml>")


def attempt(name, data):
    """Read a file; return the graph, or None for a typed error of one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            return read_graph(path)
        except DaskGNNError as error:
            said = str(error)
    assert said
    assert "\n" not in said
    return None


def fuzzed(*strategies):
    """Run a test a few times, and with -m fuzz very often."""

    def decorate(check):
        def few():
            run(FEW)

        def many():
            run(MANY)

        def run(examples):
            profile = settings(
                max_examples=examples, deadline=None, suppress_health_check=QUIET
            )
            profile(given(*strategies)(check))()

        few.__name__, many.__name__ = check.__name__, f"{check.__name__}_often"
        few.__test__ = many.__test__ = True
        globals()[many.__name__] = pytest.mark.slow(
            pytest.mark.fuzz(pytest.mark.timeout(1800)(many))
        )
        return few

    return decorate


@fuzzed(lines_of(FIELDS), st.sampled_from([".csv", ".tsv", ".txt"]))
def test_any_text(text, suffix):
    graph = attempt("e" + suffix, text.encode())
    if graph is not None:
        # Every line that is no comment and not empty is an edge, but for a header.
        kept = [x for x in text.splitlines() if x.strip() and x.strip()[0] not in "#%"]
        assert graph.report["input_edges"] in (len(kept), len(kept) - 1)


@fuzzed(whole_edges(), st.booleans())
def test_right_text(given_edges, packed):
    pairs, splitter = given_edges
    text = "".join(f"{a}{splitter}{b}\n" for a, b in pairs).encode()
    data = gzip.compress(text) if packed else text
    graph = attempt("e.txt.gz" if packed else "e.txt", data)
    plain = {(a, b) for a, b in pairs if a != b}
    if not plain:
        assert graph is None
        return
    ids = graph.node_ids
    names = range(graph.num_nodes) if ids is None else ids.tolist()
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    found = {(names[u], names[v]) for u, v in zip(graph.indices, rows, strict=True)}
    assert found == plain | {(b, a) for a, b in plain}
    counts = graph.report
    assert counts["input_edges"] == len(pairs)
    assert counts["self_loops_dropped"] == sum(a == b for a, b in pairs)
    assert counts["duplicates_dropped"] == sum(a != b for a, b in pairs) - len(plain)


@fuzzed(
    st.binary(max_size=200),
    st.sampled_from(
        ["e.csv", "e.txt.gz", "e.npy", "e.npz", "e.parquet", "e.graphml", "e.mtx"]
    ),
)
def test_any_bytes(data, name):
    attempt(name, data)


@fuzzed(MATRIX)
def test_any_matrix(text):
    attempt("m.mtx", text.encode())


@fuzzed(XML)
def test_any_xml(text):
    graph = attempt("g.graphml", text.encode())
    if graph is not None:
        assert graph.num_nodes == len(set(re.findall(r'<node id="(.)"', text)))


COLUMN = st.one_of(
    st.lists(st.integers(-3, 40), min_size=4, max_size=4),
    st.lists(st.none() | st.integers(0, 5), min_size=4, max_size=4),
    st.lists(st.floats(), min_size=4, max_size=4),
    st.lists(st.text(max_size=3), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)


@fuzzed(st.lists(COLUMN, max_size=3), st.integers(0, 3))
def test_any_parquet(columns, cut):
    frame = pd.DataFrame({f"c{i}": column for i, column in enumerate(columns)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.parquet"
        frame.to_parquet(path)
        data = path.read_bytes()
    graph = attempt("e.parquet", data[: len(data) - 7 * cut])
    if graph is not None:
        assert cut == 0
        assert graph.report["input_edges"] == 4


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    edges = np.random.default_rng(0).integers(0, 60, (2, 200))
    graph = daskgnn.from_edge_index(edges, num_nodes=60, features=np.ones((60, 3)))
    path = graph.partition(4, "hash").save(tmp_path_factory.mktemp("g") / "g.zarr")
    STORE.append(Path(path))


STORE: list[Path] = []


@fuzzed(
    st.integers(0, 10**6), st.integers(0, 10**6), st.binary(max_size=6), st.booleans()
)
def test_any_store(file, place, patch, cut):
    """A store with bytes changed, put in or cut off opens right or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.zarr"
        shutil.copytree(STORE[0], path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        victim = files[file % len(files)]
        data = victim.read_bytes()
        at = place % (len(data) + 1)
        changed = data[:at] + patch + (b"" if cut else data[at + len(patch) :])
        victim.write_bytes(changed)
        try:
            found = daskgnn.open_graph(path, 2).to_data()
        except DaskGNNError as error:
            found, said = None, str(error)
    if found is None:
        assert "\n" not in said
        assert changed != data
        return
    right = daskgnn.open_graph(STORE[0], 2).to_data()
    np.testing.assert_array_equal(found.indices, right.indices)
    np.testing.assert_array_equal(found.features, right.features)
