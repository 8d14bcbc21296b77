"""Label propagation, spectral and random-walk clusters against known communities."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from stored_graphs import make_graph

from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.graph.readers.networkx import from_networkx
from daskgnn.partition import PARTITIONERS
from daskgnn.partition.methods.embedding import (
    bisect_points,
    spectral_embedding,
    walk_embedding,
)
from daskgnn.partition.methods.propagation import (
    IMBALANCE,
    Level,
    coarse_labels,
    contract,
    finest_level,
    propagation_clusters,
    refine,
)
from daskgnn.partition.methods.structure import work_of

FINDERS = ["cluster", "spectral", "random-walk"]


def agreement(found, truth):
    """Share of the nodes whose cluster's most common community is their own."""
    table = np.zeros((found.max() + 1, truth.max() + 1))
    np.add.at(table, (found, truth), 1)
    return table.max(axis=1).sum() / len(truth)


def blocks(sizes, inside, between, seed):
    """A stochastic block model under shuffled numbers, and its communities."""
    chances = np.full((len(sizes), len(sizes)), between)
    np.fill_diagonal(chances, inside)
    drawn = nx.stochastic_block_model(sizes, chances, seed=seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(seed).permutation(len(truth))
    mixed = nx.Graph()
    mixed.add_nodes_from(order.tolist())
    mixed.add_edges_from(drawn.edges)
    # Node i of the graph is the i-th of the shuffled order.
    return from_networkx(mixed), truth[order]


@pytest.mark.parametrize("method", FINDERS)
@pytest.mark.parametrize("size", [8, 30])
def test_two_cliques(method, size):
    cliques = nx.barbell_graph(size, 0)
    found = PARTITIONERS[method](from_networkx(cliques), 2, 0)
    assert len({*found[:size]}) == len({*found[size:]}) == 1
    assert found[0] != found[-1]


@pytest.mark.parametrize("method", FINDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_are_found(method, seed):
    graph, truth = blocks([100] * 5, 0.2, 0.01, seed)
    found = PARTITIONERS[method](graph, 5, seed)
    assert agreement(found, truth) > 0.95


@pytest.mark.parametrize("embed", [lambda g: spectral_embedding(g, 4, 0), None])
def test_embeddings_alone_tell_blocks_apart(embed):
    graph, truth = blocks([150] * 4, 0.15, 0.01, 3)
    level = finest_level(graph)
    points = walk_embedding(level, 0) if embed is None else embed(level)
    found = bisect_points(points, work_of(graph), 4, 0)
    assert agreement(found, truth) > 0.9


def test_points_are_cut_where_they_part_and_balance():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 9], [8, 11]])
    truth = np.repeat(np.arange(4), [100, 100, 200, 200])
    points = centres[truth] + rng.normal(size=(600, 2))
    found = bisect_points(points, np.ones(600), 6, 0)
    np.testing.assert_allclose(np.bincount(found), 100, atol=15)
    assert agreement(found, truth) > 0.99


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_equal_points_are_still_balanced(count):
    found = bisect_points(np.zeros((10, 3)), np.ones(10), count, 0)
    assert np.bincount(found, minlength=count).min() >= 10 // count


def test_contraction_adds_up_links_and_weights():
    graph = make_graph(60, 300)
    level = finest_level(graph)
    labels = np.random.default_rng(0).integers(0, 7, 60).astype(np.int32)
    labels[:7] = np.arange(7)
    for _ in range(2):
        found = contract(level, labels)
        shape = (level.num_nodes, level.num_nodes)
        links = np.broadcast_to(level.links, level.indices.shape)
        whole = sp.csr_array((links, level.indices, level.indptr), shape=shape)
        joins = np.eye(7, dtype=int)[labels]
        expected = joins.T @ whole.toarray() @ joins
        np.fill_diagonal(expected, 0)
        got = sp.csr_array((found.links, found.indices, found.indptr), shape=(7, 7))
        np.testing.assert_array_equal(got.toarray(), expected)
        np.testing.assert_array_equal(found.weights, joins.T @ level.weights)
        level, labels = found, np.arange(7, dtype=np.int32)


def test_coarse_nodes_stay_small_and_stars_shrink():
    star = nx.star_graph(5000)
    star.add_nodes_from(range(6000, 7000))
    level = finest_level(from_networkx(star))
    labels = coarse_labels(level, 1)
    assert labels.max() + 1 < 0.2 * level.num_nodes
    sizes = np.bincount(labels, level.weights)
    limit = level.weights.sum() // 300
    assert sizes.max() <= max(limit, level.weights.max())


def test_refining_never_cuts_more_and_keeps_the_limit():
    graph = planted_partition(2000, 12000, 8, num_features=0, seed=5)
    level = finest_level(graph)
    clusters = np.random.default_rng(0).integers(0, 8, 2000).astype(np.int32)
    rows = np.repeat(np.arange(2000), np.diff(level.indptr))

    def cut(labels):
        return (labels[rows] != labels[level.indices]).sum()

    before = cut(clusters)
    refine(level, clusters, 8)
    assert cut(clusters) < 0.8 * before
    sizes = np.bincount(clusters, level.weights)
    assert sizes.max() <= (1 + IMBALANCE) * sizes.mean() + level.weights.max()


def test_levels_come_near_metis(monkeypatch):
    monkeypatch.setattr("daskgnn.partition.methods.propagation.COARSE_NODES", 20)
    graph = planted_partition(8000, 60000, 16, num_features=0, seed=1)

    def cut(clusters):
        rows = np.repeat(np.arange(8000), np.diff(graph.indptr))
        return (clusters[rows] != clusters[graph.indices]).sum()

    for divide in (1, 4):
        found = cut(propagation_clusters(graph, 16, 0) // divide)
        assert found < 1.25 * cut(PARTITIONERS["metis"](graph, 16, 0) // divide)


def test_a_level_weighs_what_nodes_work():
    level = finest_level(make_graph(60, 300, directed=True))
    assert isinstance(level, Level)
    assert level.weights.min() >= 1
    shape = (60, 60)
    matrix = sp.csr_array(
        (np.ones(len(level.indices)), level.indices, level.indptr), shape
    )
    assert (matrix != matrix.T).nnz == 0
