"""Vertex-cuts: every edge has a cluster, by the papers' rules."""

import numpy as np
import pytest
from stored_graphs import make_graph

from daskgnn.graph.datasets.generate import rmat
from daskgnn.graph.memory.partitioning import compare
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS


def pairs_of(graph):
    """(row, column) of every entry."""
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return list(zip(rows.tolist(), graph.indices.tolist(), strict=True))


def count_copies(graph, masters, holders):
    """How many parts nodes are in, over all nodes."""
    where = [{int(m)} for m in masters]
    for (v, u), part in zip(pairs_of(graph), holders.tolist(), strict=True):
        where[v].add(part)
        where[u].add(part)
    return sum(map(len, where))


@pytest.mark.parametrize("method", VERTEX_CUTS)
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("count", [1, 5, 70])
def test_every_edge_is_once_and_both_ways_together(method, directed, count):
    graph = make_graph(80, 400, directed=directed)
    cut = VERTEX_CUTS[method](graph, count, 3)
    assert cut.masters.shape == (80,)
    assert cut.holders.shape == (graph.num_edges,)
    for clusters in (cut.masters, cut.holders):
        assert clusters.min() >= 0
        assert clusters.max() < count
    if not directed:
        held = dict(zip(pairs_of(graph), cut.holders.tolist(), strict=True))
        assert all(held[u, v] == part for (v, u), part in held.items())
    again = VERTEX_CUTS[method](graph, count, 3)
    np.testing.assert_array_equal(again.holders, cut.holders)


def test_dbh_follows_the_end_of_lower_degree():
    graph = make_graph(80, 400)
    cut = VERTEX_CUTS["dbh"](graph, 8, 0)
    degree = np.diff(graph.indptr)
    for (v, u), part in zip(pairs_of(graph), cut.holders, strict=True):
        lower = min((degree[v], v), (degree[u], u))[1]
        assert part == cut.masters[lower]


def naive_hdrf(graph, count):
    """HDRF edge by edge, as the paper writes it, with degrees known."""
    degree = np.diff(graph.indptr)
    where = [set() for _ in degree]
    loads, held = np.zeros(count), {}
    for v, u in pairs_of(graph):
        if (v, u) in held:
            continue
        share = degree[v] / (degree[v] + degree[u])
        split_rows = 1.0 + loads.max() - loads.min()
        worth = 1.1 * (loads.max() - loads) / split_rows
        for c in range(count):
            worth[c] += (2 - share) * (c in where[v]) + (1 + share) * (c in where[u])
        best = int(worth.argmax())
        held[v, u] = held[u, v] = best
        loads[best] += 2 if u != v else 1
        where[v].add(best)
        where[u].add(best)
    return [held[pair] for pair in pairs_of(graph)]


def test_hdrf_is_the_plain_rule():
    graph = make_graph(60, 300)
    cut = VERTEX_CUTS["hdrf"](graph, 6, 0)
    assert cut.holders.tolist() == naive_hdrf(graph, 6)


def test_hubs_are_spread_and_copies_fewer_than_by_random_edges():
    graph = rmat(scale=12, num_edges=40000, num_features=0, seed=1)
    rng = np.random.default_rng(0)
    masters = rng.integers(0, 8, graph.num_nodes)
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    low, high = np.minimum(rows, graph.indices), np.maximum(rows, graph.indices)
    mixed = ((low * 7919 + high * 104729) % 8).astype(np.int32)
    random_copies = count_copies(graph, masters, mixed)
    found = {}
    for method, make in VERTEX_CUTS.items():
        cut = make(graph, 8, 0)
        found[method] = count_copies(graph, cut.masters, cut.holders)
        edges = np.bincount(cut.holders, minlength=8)
        assert edges.max() < 1.3 * edges.mean()
    assert found["hdrf"] < found["dbh"] < random_copies


@pytest.mark.slow
def test_they_are_compared_with_the_others():
    graph = rmat(scale=10, num_edges=4000, num_features=4, seed=1)
    rows = compare(graph, ["hash", "dbh", "hdrf"], num_parts=4, num_clusters=8)
    by_name = {row.method: row for row in rows}
    assert by_name["dbh"].replication_factor < by_name["hash"].replication_factor
    assert by_name["hdrf"].replication_factor < by_name["dbh"].replication_factor
    assert by_name["hdrf"].edge_balance < 1.5
