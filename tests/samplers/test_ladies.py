"""LADIES: probabilities, estimators, saturation, any number of parts, bad input."""

from itertools import combinations, permutations, product
from types import SimpleNamespace

import numpy as np
import pytest
from layerwise_graphs import (
    GRAPHS,
    Rows,
    check_unbiased,
    dense_graph,
    directed_graph,
    largest_z,
    layer_matrix,
    layer_nodes,
    linear_draws,
    mean_matrix,
    norm_matrix,
    ratio_error,
    sampled,
    step_keys,
)
from training import mostly_slow

from daskgnn.errors import InputError
from daskgnn.kernels.layerwise import Histogram
from daskgnn.sampling import FastGCNSampler, LadiesSampler

UNBIASED = ("poisson", "replacement")


def poisson_scale(q, size):
    """Return c with sum(min(1, c q)) = size, by bisection."""
    low, high = 0.0, size / q[q > 0].min()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.minimum(1, middle * q).sum() < size else (low, middle)
        )
    return low


@pytest.mark.parametrize("size", [1, 7, 30, 99])
def test_the_scale_gives_the_expected_number(size):
    q = np.random.default_rng(0).lognormal(sigma=3, size=100)
    found = Histogram.added([Histogram.of(q[:30]), Histogram.of(q[30:])])
    assert found.size == 100
    assert found.total == pytest.approx(q.sum())
    assert found.scale_for(size) == pytest.approx(poisson_scale(q, size), rel=0.01)
    assert found.scale_for(100) == np.inf


KINDS = list(product(["hubs", "directed", "weighted"], ["gcn", "mean"]))


@pytest.mark.parametrize(
    ("kind", "adjacency"), mostly_slow(KINDS, ("directed", "mean"), ("weighted", "gcn"))
)
def test_nodes_are_there_with_their_probabilities(kind, adjacency):
    dense = directed_graph() if kind != "hubs" else GRAPHS["hubs"][0]
    if kind == "weighted":
        dense = dense * np.random.default_rng(2).uniform(0.2, 3, dense.shape)
    rows = Rows(dense, directed=kind != "hubs", weighted=kind == "weighted")
    seeds, size = np.array([0, 1, 2, 5, 6]), 3
    q = (norm_matrix(dense, adjacency)[seeds] ** 2).sum(0)
    pi = np.minimum(1, poisson_scale(q, size) * q)
    num_draws = 1000
    sampler = LadiesSampler(size, adjacency=adjacency)
    windows = sampled(sampler, rows, seeds, step_keys(num_draws), 2)
    there = np.zeros(len(dense))
    degree = (dense != 0).sum(1)
    for pair in zip(*windows, strict=True):
        matrices = [layer_matrix(rows, graph, 0) for graph in pair]
        matrix = sum(matrices)
        there += matrix.any(0)
        exact = (dense != 0) / np.maximum(degree, 1)[:, None]
        exact = np.divide(exact, pi, out=np.zeros_like(exact), where=pi > 0)
        assert np.allclose(matrix[matrix > 0], exact[matrix > 0], rtol=0.01)
    spread = np.sqrt(pi * (1 - pi) / num_draws)
    assert (np.abs(there / num_draws - pi) <= 4 * spread + 0.004 * pi).all()


@pytest.mark.parametrize("form", UNBIASED)
def test_all_nodes_as_seeds_are_drawn_as_by_fastgcn(form):
    dense, directed = GRAPHS["directed"]
    rows = Rows(dense, directed=directed)
    given = rows, np.arange(14), step_keys(50), 2, 2
    found = [
        layer_nodes(rows, sampled(kind(5, form), *given))
        for kind in (LadiesSampler, FastGCNSampler)
    ]
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        for place, row in one.items():
            assert row == pytest.approx(two[place], rel=1e-6)


@pytest.mark.parametrize(
    ("form", "skip"), [("poisson", False), ("poisson", True), ("replacement", False)]
)
@pytest.mark.parametrize("graph", GRAPHS)
def test_aggregates_and_gradients_are_unbiased(graph, form, skip):
    check_unbiased(LadiesSampler(4, form, skip=skip), graph, 400, 2, np.arange(6))


@pytest.mark.slow
@pytest.mark.parametrize("form", UNBIASED)
@pytest.mark.parametrize("graph", GRAPHS)
def test_aggregates_and_gradients_of_40000_draws_are_unbiased(graph, form):
    seeds = np.arange(6)
    check_unbiased(LadiesSampler(4, form), graph, 40_000, 2, seeds)


def test_the_released_form_is_biased():
    rows = Rows(GRAPHS["directed"][0])
    released = LadiesSampler(6, "released")
    (draws, _), (exact, _) = linear_draws(released, rows, 4000, 1, np.arange(14))
    z, bound = largest_z(draws, exact)
    assert z > 2 * bound
    off = np.abs(draws.mean(0) - exact).max() / np.abs(exact).max()
    assert 0.01 < off < 0.3


def test_the_released_form_with_normalised_rows_has_its_published_bias():
    """Its mean is that over all sets of nodes drawn without replacement, not exact."""
    dense, directed = GRAPHS["hubs"]
    rows, seeds, size, count = Rows(dense, directed=directed), np.arange(4), 3, 4000
    sampler = LadiesSampler(size, "released", normalize=True)
    (graphs,) = sampled(sampler, rows, seeds, step_keys(count))
    draws = np.array([layer_matrix(rows, graph, 0)[seeds].ravel() for graph in graphs])
    q = (norm_matrix(dense, "gcn")[seeds] ** 2).sum(0)
    expected = np.zeros((len(seeds), len(dense)))
    for chosen in combinations(np.flatnonzero(q), size):
        counts = np.zeros(len(dense))
        counts[list(chosen)] = 1 / q[list(chosen)]
        kept = (dense[seeds] != 0) * counts
        total = kept.sum(1, keepdims=True)
        kept = np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
        expected += chance_without_replacement(q, chosen) * kept
    z, bound = largest_z(draws, expected.ravel())
    assert z <= bound
    exact = mean_matrix(dense)[seeds]
    z, bound = largest_z(draws, exact.ravel())
    assert z > 5 * bound
    assert np.abs(expected - exact).max() > 0.05


def chance_without_replacement(q, chosen):
    """Return how likely some are drawn, in any order, one by one in proportion to q."""
    found = 0.0
    for order in permutations(chosen):
        before = np.concatenate([[0], np.cumsum(q[list(order)])[:-1]])
        found += np.prod(q[list(order)] / (q.sum() - before))
    return found


def test_the_released_form_draws_without_replacement():
    dense = GRAPHS["hubs"][0]
    rows = Rows(dense, directed=False)
    for windows in (1, 3):
        sampler = LadiesSampler(5, "released")
        found = sampled(sampler, rows, np.arange(8), step_keys(30), windows)
        for graphs in zip(*found, strict=True):
            matrix = sum(layer_matrix(rows, graph, 0) for graph in graphs)
            assert matrix.any(0).sum() == 5


def test_normalised_rows_are_consistent():
    rows, seeds = Rows(dense_graph()), np.arange(20)
    errors = [
        ratio_error(LadiesSampler(size, normalize=True), rows, 1000, seeds)
        for size in (4, 12, 24)
    ]
    assert errors[0] > 2 * errors[1] > 3 * errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_size_that_takes_everything_is_the_whole_graph(graph):
    dense, directed = GRAPHS[graph]
    rows = Rows(dense, directed=directed)
    seeds, exact = np.array([0, 3, 7]), mean_matrix(dense)
    for graphs in sampled(LadiesSampler(10**6), rows, seeds, step_keys(2), 2, 3):
        for found in graphs:
            for layer in range(3):
                matrix = layer_matrix(rows, found, layer)
                known = rows.order[found.ids[: found.sizes[layer]]]
                assert matrix[known] == pytest.approx(exact[known], rel=1e-6)


@pytest.mark.parametrize(
    ("form", "skip"),
    [("poisson", False), ("poisson", True), ("replacement", False), ("released", True)],
)
def test_layers_are_the_same_for_any_number_of_parts(form, skip):
    dense = GRAPHS["hubs"][0]
    seen = []
    for k, bounds in enumerate(([0, 16], [0, 5, 16], [0, 0, 7, 7, 16, 16])):
        # Draws with replacement follow the order.
        order = np.random.default_rng(0 if form == "replacement" else k).permutation(16)
        rows = Rows(dense, order, directed=False)
        sampler = LadiesSampler(4, form, skip=skip)
        given = np.arange(5), step_keys(30), 0, 3, np.array(bounds)
        seen.append(layer_nodes(rows, sampled(sampler, rows, *given)))
    for other in seen[1:]:
        for one, two in zip(seen[0], other, strict=True):
            assert one.keys() == two.keys()
            for place, row in one.items():
                assert row == pytest.approx(two[place], rel=1e-5)


def test_destinations_that_are_forced_in_keep_their_edges():
    dense = GRAPHS["regular"][0]
    rows = Rows(dense, directed=False)
    sampler = LadiesSampler(1, skip=True)
    (graphs,) = sampled(sampler, rows, np.arange(6), step_keys(20), 1, 2)
    exact = mean_matrix(dense)
    for graph in graphs:
        for layer in range(2):
            known = rows.order[graph.ids[: graph.sizes[layer]]]
            matrix = layer_matrix(rows, graph, layer)
            assert matrix[np.ix_(known, known)] == pytest.approx(
                exact[np.ix_(known, known)]
            )


def test_edge_weights_follow_their_edges():
    dense = directed_graph() * np.random.default_rng(1).uniform(0.5, 2, (14, 14))
    rows = Rows(dense, weighted=True)
    for graphs in sampled(LadiesSampler(5), rows, np.arange(9), step_keys(5), 2, 2):
        for graph in graphs:
            for layer in range(2):
                starts, ends, indices, weights, _ = graph.layer(layer)
                to = np.repeat(graph.ids[: len(starts)], ends - starts)
                assert weights == pytest.approx(dense[to, graph.ids[indices]])


@pytest.mark.parametrize("form", LadiesSampler.forms)
def test_isolated_nodes_have_no_neighbours(form):
    dense = np.zeros((6, 6))
    dense[0, 1] = dense[1, 0] = 1
    rows = Rows(dense, directed=False)
    sampler = LadiesSampler(3, form)
    (graphs,) = sampled(sampler, rows, [0, 4, 5], step_keys(2), 1, 2)
    for graph in graphs:
        assert sorted(rows.order[graph.ids].tolist()) == [0, 1, 4, 5]
        assert np.diff(graph.rows[0].indptr).tolist() == [1, 0, 0]
    alone = sampled(sampler, rows, [4, 5], step_keys(2), 2, 2)
    assert [graph.sizes for part in alone for graph in part] == [(1, 1, 1)] * 4


def test_a_graph_without_edges_is_refused():
    graph = SimpleNamespace(num_edges=0, name="none")
    with pytest.raises(InputError, match="'ladies' draws nodes by their edges, and"):
        LadiesSampler().check(graph)


def test_an_unknown_form_is_refused():
    with pytest.raises(InputError, match="'ladies': form='x', expected one of poiss"):
        LadiesSampler(form="x")
