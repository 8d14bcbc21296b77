"""Edge lists to rows, against sets of pairs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daskgnn.graph.edges.assemble import to_rows
from daskgnn.graph.memory.checks import check_rows, is_symmetric


@st.composite
def edge_lists(draw):
    num_nodes = draw(st.integers(1, 9))
    node = st.integers(0, num_nodes - 1)
    pairs = draw(st.lists(st.tuples(node, node), min_size=1, max_size=60))
    dtype = draw(st.sampled_from([np.int8, np.int32, np.int64, np.uint16, np.uint64]))
    return np.array(pairs, dtype=dtype).T, num_nodes


def pairs_of(rows):
    counts = np.diff(rows.indptr)
    row = np.repeat(np.arange(len(counts)), counts)
    return list(zip(row.tolist(), rows.indices.tolist(), strict=True))


@settings(deadline=None)
@given(edge_lists(), st.booleans(), st.booleans(), st.booleans())
def test_rows_are_the_sorted_set_of_edges(case, directed, keep, track):
    edges, num_nodes = case
    rows = to_rows(
        edges, num_nodes, directed=directed, keep_self_loops=keep, track=track
    )
    given_pairs = [(v, u) for u, v in edges.T.tolist() if keep or u != v]
    expected = set(given_pairs)
    if not directed:
        expected |= {(u, v) for v, u in given_pairs}
    assert pairs_of(rows) == sorted(expected)
    report = rows.report
    assert report["input_edges"] == edges.shape[1]
    dropped = report["self_loops_dropped"] + report["duplicates_dropped"]
    added = report.get("reverse_edges_added", 0)
    assert report["input_edges"] - dropped + added == len(rows.indices)
    met = {node for pair in expected for node in pair}
    assert report["isolated_nodes"] == num_nodes - len(met)
    if track:
        ends = edges[:, rows.positions].T.tolist()
        for (row, column), (source, destination) in zip(
            pairs_of(rows), ends, strict=True
        ):
            straight = (destination, source) == (row, column)
            assert straight or (not directed and (source, destination) == (row, column))


@settings(deadline=None)
@given(edge_lists(), st.booleans())
def test_rows_pass_their_checks_and_know_their_symmetry(case, directed):
    edges, num_nodes = case
    rows = to_rows(edges, num_nodes, directed=directed, keep_self_loops=True)
    assert check_rows(rows.indptr, rows.indices) == num_nodes
    pairs = set(pairs_of(rows))
    expected = pairs == {(v, u) for u, v in pairs}
    assert is_symmetric(rows.indptr, rows.indices) == expected
    assert expected or directed


@settings(deadline=None)
@given(edge_lists(), st.randoms(use_true_random=False))
def test_the_order_of_edges_does_not_matter(case, random):
    edges, num_nodes = case
    order = list(range(edges.shape[1]))
    random.shuffle(order)
    first, second = to_rows(edges, num_nodes), to_rows(edges[:, order], num_nodes)
    assert np.array_equal(first.indptr, second.indptr)
    assert np.array_equal(first.indices, second.indices)
