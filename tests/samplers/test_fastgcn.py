"""FastGCN: probabilities, estimators, saturation, any number of parts, bad input."""

from types import SimpleNamespace

import numpy as np
import pytest
from layerwise_graphs import (
    GRAPHS,
    Rows,
    check_unbiased,
    dense_graph,
    directed_graph,
    layer_matrix,
    layer_nodes,
    mean_matrix,
    norm_matrix,
    prepared,
    ratio_error,
    sampled,
    step_keys,
)

from daskgnn.errors import InputError
from daskgnn.sampling import FastGCNSampler, GraphStats


def weighted_graph(seed=3):
    """Return a directed graph with weights."""
    dense = directed_graph(seed=seed)
    return dense * np.random.default_rng(seed).uniform(0.2, 3, dense.shape)


def probabilities(dense, adjacency="gcn"):
    """Return the published probabilities, by their definition."""
    norms = (norm_matrix(dense, adjacency) ** 2).sum(0)
    return norms / norms.sum()


@pytest.mark.parametrize("adjacency", ["gcn", "mean"])
@pytest.mark.parametrize("kind", ["hubs", "directed", "weighted"])
@pytest.mark.parametrize("num_parts", [1, 3])
def test_norms_are_those_of_the_columns(kind, adjacency, num_parts):
    dense = weighted_graph() if kind == "weighted" else GRAPHS[kind][0]
    order = np.random.default_rng(0).permutation(len(dense))
    given = {"directed": kind != "hubs", "weighted": kind == "weighted"}
    rows = Rows(dense, order, **given)
    sampler = FastGCNSampler(adjacency=adjacency)
    _, parts, _ = prepared(sampler, rows, num_parts, 1)
    found = np.concatenate([part.data["column_norms"] for part in parts])
    exact = (norm_matrix(dense, adjacency) ** 2).sum(0)[order]
    assert found == pytest.approx(exact, rel=1e-6)


def test_symmetric_weights_are_read_from_all_rows():
    dense = GRAPHS["hubs"][0] * 2.5
    _, parts, _ = prepared(
        FastGCNSampler(), Rows(dense, directed=False, weighted=True), 2, 1
    )
    found = np.concatenate([part.data["column_norms"] for part in parts])
    assert found == pytest.approx((norm_matrix(dense, "gcn") ** 2).sum(0), rel=1e-6)


@pytest.mark.parametrize("size", [3, 9])
def test_nodes_are_there_with_their_probabilities(size):
    dense = GRAPHS["hubs"][0]
    rows, num_draws = Rows(dense, directed=False), 2000
    sampler, _, _ = prepared(FastGCNSampler(size), rows, 1, 1)
    pi = np.minimum(1, sampler.terms.scale * (norm_matrix(dense, "gcn") ** 2).sum(0))
    assert pi.sum() == pytest.approx(size, rel=0.005)
    (graphs,) = sampled(FastGCNSampler(size), rows, np.arange(16), step_keys(num_draws))
    there = np.zeros(16)
    for graph in graphs:
        _, _, indices, _, means = graph.layer(0)
        there[rows.order[graph.ids[np.unique(indices)]]] += 1
        degree = np.diff(graph.rows[0].indptr)
        near = rows.order[graph.ids[indices]]
        to = np.repeat(rows.order[graph.ids[: len(degree)]], degree)
        assert np.allclose(means, 1 / (dense.sum(1)[to] * pi[near]), rtol=1e-5)
    spread = np.sqrt(pi * (1 - pi) / num_draws)
    assert (np.abs(there / num_draws - pi) <= 4 * spread + 1e-9).all()


def test_draws_with_replacement_count_as_often_as_drawn():
    dense, size = GRAPHS["hubs"][0], 50
    rows = Rows(dense, directed=False)
    (graphs,) = sampled(
        FastGCNSampler(size, "replacement"), rows, np.arange(16), step_keys(200)
    )
    q, times = probabilities(dense), np.zeros(16)
    for graph in graphs:
        matrix = layer_matrix(rows, graph, 0) * dense.sum(1)[:, None]
        inverse = matrix.max(0)
        counts = inverse * size * q
        assert np.allclose(counts, np.round(counts), atol=1e-4)
        assert round(counts.sum()) == size
        times += counts
    expected = 200 * size * q
    spread = np.sqrt(expected * (1 - q))
    assert (np.abs(times - expected) <= 4 * spread).all()


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("form", FastGCNSampler.forms)
@pytest.mark.parametrize("graph", GRAPHS)
def test_aggregates_and_gradients_are_unbiased(graph, form, skip):
    seeds = np.arange(5) if skip else np.arange(len(GRAPHS[graph][0]))
    check_unbiased(FastGCNSampler(6, form, skip=skip), graph, 1000, 2, seeds)


@pytest.mark.slow
@pytest.mark.parametrize("form", FastGCNSampler.forms)
@pytest.mark.parametrize("graph", GRAPHS)
def test_aggregates_and_gradients_of_40000_draws_are_unbiased(graph, form):
    seeds = np.arange(len(GRAPHS[graph][0]))
    check_unbiased(FastGCNSampler(6, form), graph, 40_000, 2, seeds)


def test_normalised_rows_are_consistent():
    rows = Rows(dense_graph())
    errors = [
        ratio_error(FastGCNSampler(size, normalize=True), rows, 1000, np.arange(40))
        for size in (4, 12, 24)
    ]
    assert errors[0] > 2 * errors[1] > 3 * errors[2]
    assert errors[2] < 0.02


def test_normalised_rows_sum_to_one():
    dense = GRAPHS["hubs"][0]
    rows = Rows(dense, directed=False)
    sampler = FastGCNSampler(5, normalize=True)
    (graphs,) = sampled(sampler, rows, np.arange(16), step_keys(20))
    for graph in graphs:
        sums = layer_matrix(rows, graph, 0).sum(1)
        assert np.isin(sums.round(5), (0, 1)).all()


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_size_that_takes_everything_is_the_whole_graph(graph):
    dense, directed = GRAPHS[graph]
    rows = Rows(dense, directed=directed)
    seeds = np.array([0, 3, 7])
    (graphs,) = sampled(FastGCNSampler(10**6), rows, seeds, step_keys(2), 1, 2)
    exact = mean_matrix(dense)
    for found in graphs:
        for layer in range(2):
            matrix = layer_matrix(rows, found, layer)
            known = rows.order[found.ids[: found.sizes[layer]]]
            assert matrix[known] == pytest.approx(exact[known], rel=1e-6)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("form", FastGCNSampler.forms)
def test_layers_are_the_same_for_any_number_of_parts(form, skip):
    dense = GRAPHS["hubs"][0]
    seen = []
    for k, bounds in enumerate(([0, 16], [0, 5, 16], [0, 0, 7, 7, 16, 16])):
        # Draws with replacement follow the order.
        order = np.random.default_rng(k if form == "poisson" else 0).permutation(16)
        rows = Rows(dense, order, directed=False)
        sampler = FastGCNSampler(6, form, skip=skip)
        given = np.arange(4), step_keys(30), 0, 3, np.array(bounds)
        seen.append(layer_nodes(rows, sampled(sampler, rows, *given)))
    for other in seen[1:]:
        for one, two in zip(seen[0], other, strict=True):
            assert one.keys() == two.keys()
            for place, row in one.items():
                assert row == pytest.approx(two[place], rel=1e-6)


def test_layers_are_drawn_apart():
    rows = Rows(GRAPHS["hubs"][0], directed=False)
    (graphs,) = sampled(FastGCNSampler(4), rows, np.arange(16), step_keys(5), 1, 2)
    nodes = [
        [{*graph.ids[graph.layer(layer).indices].tolist()} for layer in range(2)]
        for graph in graphs
    ]
    assert any(first != second for first, second in nodes)


def test_edge_weights_follow_their_edges():
    dense = weighted_graph()
    rows = Rows(dense, weighted=True)
    for graphs in sampled(FastGCNSampler(5), rows, np.arange(14), step_keys(5), 2):
        for graph in graphs:
            starts, ends, indices, weights, _ = graph.layer(0)
            to = np.repeat(graph.ids[: len(starts)], ends - starts)
            assert weights == pytest.approx(dense[to, graph.ids[indices]])


def test_isolated_nodes_have_no_neighbours():
    dense = np.zeros((6, 6))
    dense[0, 1] = dense[1, 0] = 1
    rows = Rows(dense, directed=False)
    (graphs,) = sampled(FastGCNSampler(100), rows, [0, 4, 5], step_keys(1), 1, 2)
    assert sorted(rows.order[graphs[0].ids].tolist()) == [0, 1, 4, 5]
    assert np.diff(graphs[0].rows[0].indptr).tolist() == [1, 0, 0]


def test_a_graph_without_edges_is_refused():
    graph = SimpleNamespace(num_edges=0, name="none")
    with pytest.raises(InputError, match="'fastgcn' draws nodes by their edges, and"):
        FastGCNSampler().check(graph)
    rows = Rows(np.zeros((4, 4)))
    with pytest.raises(InputError, match="all probabilities are 0: use"):
        prepared(FastGCNSampler(), rows, 2, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size=0, expected a whole number of at least 1"),
        ({"size": 1.5}, "size=1.5, expected a whole number"),
        ({"form": "released"}, "form='released', expected one of poisson, replacement"),
        ({"adjacency": "sum"}, "adjacency='sum', expected one of gcn, mean"),
        ({"skip": 2}, "skip=2, expected true or false: fastgcn:skip=true"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError) as error:
        FastGCNSampler(**options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_estimate_counts_nodes_with_edges():
    sampler = FastGCNSampler(100).for_graph(None, 2)
    size = sampler.estimate(GraphStats(num_nodes=1000, num_edges=10_000), 500)
    assert 590 < size.computed <= 600 < 690 < size.nodes <= 700
    assert size.edges == pytest.approx(size.computed * 10 * 0.1)
    few = sampler.estimate(GraphStats(num_nodes=10**6, num_edges=10**6), 500)
    assert few.nodes < 501
