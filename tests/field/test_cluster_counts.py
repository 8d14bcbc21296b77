"""Every way to partition gives the clusters asked for, or says so when it does."""

import warnings

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from training import planted_graph

import daskgnn
from daskgnn.partition import PARTITIONERS
from daskgnn.partition.methods.exactly import fill_empty, inner_links

METHODS = [*(name for name in PARTITIONERS if name != "terapart"), "dbh", "hdrf"]


def few_training_nodes():
    """Nine nodes weigh as much as a cluster each: METIS leaves others empty."""
    graph = planted_graph(1200)
    return graph.split(train=9, val=100, seed=1)


def sizes_of(partitioned):
    """Count nodes by cluster with numpy alone."""
    number = np.searchsorted(
        partitioned.cluster_bounds, partitioned.storage_ids, side="right"
    )
    return np.unique(number, return_counts=True)[1]


@pytest.mark.parametrize("method", METHODS)
def test_as_many_clusters_as_asked_for(method):
    lollipop = daskgnn.from_networkx(nx.lollipop_graph(25, 10))
    lonely = nx.empty_graph(9)
    lonely.add_edge(2, 5)
    for graph, asked in (
        (few_training_nodes(), 64),
        (lollipop, 7),
        (lollipop, 35),
        (daskgnn.from_networkx(lonely), 4),
    ):
        partitioned = graph.partition(asked, method)
        sizes = sizes_of(partitioned)
        assert (len(sizes), sizes.sum()) == (asked, graph.num_nodes)
        assert daskgnn.open_graph(partitioned, num_parts=asked).num_parts == asked


def test_filled_clusters_are_halves_of_heavy_ones():
    graph = daskgnn.from_networkx(nx.barbell_graph(8, 0))
    clusters = fill_empty(graph, np.zeros(16, np.int64), 2)
    assert len({*clusters[:8]}) == len({*clusters[8:]}) == 1
    assert clusters[0] != clusters[15]
    whole = np.arange(16) % 4
    assert fill_empty(graph, whole, 4) is whole


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(0, 10_000), st.data())
def test_filling_only_divides_clusters(num_nodes, seed, data):
    """All numbers occur then, and nobody comes together who was apart."""
    count = data.draw(st.integers(1, num_nodes))
    rng = np.random.default_rng(seed)
    edges = np.stack([np.arange(num_nodes), rng.integers(0, num_nodes, num_nodes)])
    edges[1, 0] = num_nodes - 1  # one edge at least is no self-loop
    graph = daskgnn.from_edge_index(edges, num_nodes=num_nodes)
    clusters = rng.integers(0, data.draw(st.integers(1, count)), num_nodes)
    found = fill_empty(graph, clusters, count)
    assert np.unique(found).tolist() == list(range(count))
    pairs = np.unique(np.stack([found, clusters]), axis=1)
    assert pairs.shape[1] == count


def test_inner_links_are_those_of_the_subgraph():
    rng = np.random.default_rng(0)
    drawn = nx.gnp_random_graph(30, 0.2, seed=1, directed=True)
    graph = daskgnn.from_networkx(drawn, self_loops="keep")
    ids = np.sort(rng.choice(30, 12, replace=False))
    adjacency = csr_array(nx.to_scipy_sparse_array(drawn.subgraph(ids), ids.tolist()))
    expected = (adjacency + adjacency.T).toarray()
    np.testing.assert_array_equal(inner_links(graph, ids).toarray(), expected)


def halves(adjacency, num_clusters, seed):
    return np.arange(adjacency.shape[0]) % 2


def test_clusters_of_ones_own_that_are_fewer_are_told_of():
    graph = daskgnn.load_dataset("karate")
    with pytest.warns(UserWarning, match=r"halves gave 2 clusters.*asked for were 5"):
        assert graph.partition(5, halves).num_clusters == 2
    with pytest.warns(UserWarning, match="the assignment has 2.*at most 2 parts"):
        graph.partition(5, [0] * 17 + [1] * 17)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph.partition(method=[0] * 17 + [1] * 17)
        graph.partition(2, halves)
