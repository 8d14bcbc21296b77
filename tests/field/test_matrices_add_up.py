"""A matrix means the same whatever holds it; repeats are added, as scipy adds them."""

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import daskgnn
from daskgnn.graph.readers.matrixmarket import read_matrix_market
from daskgnn.prepare import prepare

SIZE = 5
FORMATS = [sp.coo_array((1, 1)).format, "csr", "csc", "bsr", "lil", "dok", "dia"]


def dense(graph):
    """A[i, j] of a directed graph's edges i -> j."""
    weight = (
        np.ones(graph.num_edges) if graph.edge_weight is None else graph.edge_weight
    )
    rows = sp.csr_array((weight, graph.indices, graph.indptr), shape=(SIZE, SIZE))
    return rows.T.toarray()


def repeated():
    """A matrix with repeats."""
    row, column = [0, 0, 1, 3, 3, 3], [1, 1, 2, 4, 4, 0]
    values = [1.0, 2.0, 1.0, 0.5, 0.5, 3.0]
    return sp.coo_array((values, (row, column)), shape=(SIZE, SIZE))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_the_same_matrix(form):
    given = repeated().asformat(form)
    found = daskgnn.from_scipy(given, directed=True)
    np.testing.assert_array_equal(dense(found), repeated().toarray())


def test_the_users_matrix_stays_as_it_is():
    given = repeated()
    daskgnn.from_scipy(given)
    assert given.nnz == 6
    rows = sp.csr_array(
        (np.ones(2), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 2)
    )
    found = daskgnn.from_scipy(rows, directed=True)
    assert found.edge_weight.tolist() == [2]
    assert rows.nnz == 2


def test_undirected_graphs_do_not_depend_on_the_format_either():
    given = sp.coo_array(([3.0, 2.0], ([1, 0], [0, 1])), shape=(2, 2))
    found = [daskgnn.from_scipy(given.asformat(form)) for form in FORMATS]
    weights = {tuple(graph.edge_weight.tolist()) for graph in found}
    assert weights == {(2.0, 2.0)}


@pytest.mark.parametrize("symmetry", ["general", "symmetric"])
@pytest.mark.parametrize("field", ["real", "integer", "pattern"])
def test_repeats_in_matrix_market(field, symmetry, tmp_path):
    path = write(tmp_path, field, symmetry)
    expected = sp.coo_array(scipy.io.mmread(path)).toarray()
    found = read_matrix_market(path, directed=True, self_loops="keep")
    np.testing.assert_array_equal(dense(found), expected)
    other = daskgnn.from_scipy(sp.coo_array(expected))
    undirected = read_matrix_market(path)
    np.testing.assert_array_equal(undirected.indices, other.indices)
    np.testing.assert_array_equal(undirected.edge_weight, other.edge_weight)
    assert read_matrix_market(path, weighted=False).edge_weight is None


def write(folder, field, symmetry):
    """Write a matrix with repeats."""
    entries = ["2 1 1", "2 1 2", "3 2 1", "5 4 1", "5 4 1", "3 3 1", "3 3 4"]
    if field == "pattern":
        entries = [entry.rpartition(" ")[0] for entry in entries]
    head = f"%%MatrixMarket matrix coordinate {field} {symmetry}\n5 5 {len(entries)}\n"
    (folder / "m.mtx").write_text(head + "\n".join(entries) + "\n")
    return folder / "m.mtx"


def test_out_of_core(tmp_path):
    path = write(tmp_path, "real", "general")
    store = prepare(path, tmp_path / "m.zarr", method="range")
    data = daskgnn.open_graph(store).to_data()
    expected = daskgnn.from_scipy(sp.coo_array(scipy.io.mmread(path).toarray()))
    np.testing.assert_array_equal(data.indices, expected.indices)
    np.testing.assert_array_equal(data.edge_weight, expected.edge_weight)


def test_a_pattern_without_repeats_has_no_weights(tmp_path):
    path = tmp_path / "m.mtx"
    scipy.io.mmwrite(path, sp.coo_array(sp.eye_array(5, k=1)), field="pattern")
    assert read_matrix_market(path).edge_weight is None
    store = prepare(path, tmp_path / "m.zarr", method="range")
    assert daskgnn.open_graph(store).to_data().edge_weight is None


ENTRIES = st.lists(
    st.tuples(
        st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(1, 4)
    ).filter(lambda e: e[0] != e[1]),
    min_size=1,
    max_size=20,
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(ENTRIES, st.sampled_from(FORMATS), st.booleans())
def test_any_matrix(entries, form, directed):
    row, column, values = np.array(entries).T
    given = sp.coo_array((values.astype(float), (row, column)), shape=(SIZE, SIZE))
    expected = given.toarray()
    if not directed:
        upper = np.triu(expected)
        lower = np.triu(expected.T)
        expected = np.where(upper != 0, upper, lower)
        expected = expected + expected.T
    found = daskgnn.from_scipy(given.asformat(form), directed=directed)
    np.testing.assert_array_equal(dense(found), expected)
