"""GraphSAINT: what is drawn, norms that converge, estimators without bias."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from subgraphs import (
    local_matrix,
    part_rows,
    starts_of,
    step_plan,
    whole_matrix,
)
from training import hub_graph, hub_weights, planted_graph

import daskgnn
from daskgnn.errors import InputError
from daskgnn.kernels.counter import SAMPLING, derive_key
from daskgnn.sampling import GraphStats, SaintSampler
from daskgnn.sampling.coverage import Presampled
from daskgnn.sampling.rounds import presample_parts, sample_parts

KINDS = {
    "node": {"kind": "node", "size": 3},
    "edge": {"kind": "edge", "size": 2},
    "walk": {"kind": "walk", "roots": 2, "length": 2},
}


def toy(edges, num_nodes, num_parts=1, directed=False):
    """Open a small graph whose storage ids are its node numbers."""
    edges = np.array(edges).T
    if not directed:
        edges = np.concatenate([edges, edges[::-1]], axis=1)
    data = daskgnn.from_edge_index(
        edges,
        num_nodes=num_nodes,
        labels=np.zeros(num_nodes, int),
        train=np.arange(num_nodes),
        directed=directed,
    )
    clusters = np.arange(num_nodes) * 3 // num_nodes
    return daskgnn.open_graph(data.partition(method=clusters), num_parts)


def directed_graph(num_parts=1):
    edges = [(0, 1), (2, 1), (1, 0), (3, 2), (4, 2), (1, 3), (5, 3), (0, 4), (2, 5)]
    return toy([*edges, (4, 5), (3, 5), (5, 0)], 6, num_parts, directed=True)


def hubs(num_parts=1):
    return toy([(0, i) for i in range(1, 7)] + [(1, 2), (3, 4), (6, 7)], 8, num_parts)


def regular(num_parts=1):
    ring = [(i, (i + 1) % 7) for i in range(7)]
    return toy(ring + [(i, (i + 2) % 7) for i in range(7)], 7, num_parts)


GRAPHS = {"directed": directed_graph, "hubs": hubs, "regular": regular}


def single_draws(graph, kind, length=2, uniform=0.5):
    """Return all sets of nodes that one draw can give, and their probabilities."""
    matrix, n = whole_matrix(graph), graph.num_nodes
    dense = matrix.toarray() > 0
    degree = dense.sum(axis=1)
    if kind == "node":
        norms = (dense / np.maximum(degree, 1)[:, None] ** 2).sum(axis=0)
        shares = (1 - uniform) * norms / norms.sum() + uniform / n
        return [({u}, shares[u]) for u in range(n)]
    if kind == "edge":
        share = 1 / np.maximum(degree, 1)
        edges = zip(*np.nonzero(dense), strict=True)
        masses = [({v, u}, share[v] + share[u]) for v, u in edges]
        total = sum(mass for _, mass in masses)
        return [(nodes, mass / total) for nodes, mass in masses]
    walks = [((root,), 1 / n) for root in range(n)]
    for _ in range(length):
        longer = []
        for walk, share in walks:
            near = np.flatnonzero(dense[walk[-1]])
            for node in near:
                longer.append(((*walk, node), share / len(near)))
            if not len(near):
                longer.append((walk, share))
        walks = longer
    return [(set(walk), share) for walk, share in walks]


def inclusion(graph, kind, count, **options):
    """Return the probabilities that nodes [n], and pairs [n, n], are in a subgraph."""
    n, sets = graph.num_nodes, single_draws(graph, kind, **options)
    missed = np.zeros((n, n))  # by one draw: both of two nodes
    for nodes, share in sets:
        for v, u in product(range(n), range(n)):
            missed[v, u] += share * (v not in nodes and u not in nodes)
    both = missed**count
    alone = np.diag(both)
    return 1 - alone, 1 - alone[:, None] - alone + both


def counted(graph, sampler, probabilities, subgraphs=10**9):
    """Return a sampler and rows whose counts are what is expected of so many."""
    nodes, pairs = probabilities
    sampler = informed(graph, sampler)
    steps = subgraphs // sampler.num_subgraphs
    parts, book = part_rows(graph, sampler)
    for rows in parts:
        block = rows.block
        own = np.arange(block.start, block.start + block.num_rows)
        v, u = np.repeat(own, block.degree), block.indices
        rows.data["node_counts"] = np.rint(nodes[own] * subgraphs).astype(np.int32)
        rows.data["edge_counts"] = np.rint(pairs[v, u] * subgraphs).astype(np.int32)
    drawn = int(nodes[graph.splits["train"]].sum() * subgraphs)
    return sampler.presampled(steps, drawn), parts, book


def informed(graph, sampler, num_layers=2):
    """Return a sampler as it is after all parts are loaded."""
    made = sampler.for_graph(graph, num_layers)
    parts, _ = part_rows(graph, made)
    return made.with_summaries([made.summarize(rows) for rows in parts])


def windows(sampler, parts, book, steps, first=0, size=500):
    """Yield each part's graph of so many steps."""
    plan, count = sampler.plan, len(parts)
    for begin in range(first, first + steps, size):
        numbers = range(begin, min(begin + size, first + steps))
        starts, _ = starts_of(plan, numbers, count)
        keys = [derive_key(SAMPLING, 7, step) for step in numbers]
        given = starts, np.array(keys, np.uint64)
        yield from zip(*sample_parts(sampler, parts, book, *given), strict=True)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_single_draws_have_their_probabilities(graph, kind):
    graph = graph(2)
    options = {**KINDS[kind], "subgraphs": 1}
    options["roots" if kind == "walk" else "size"] = 1
    sampler = informed(graph, SaintSampler(**options))
    parts, book = part_rows(graph, sampler)
    expected, seen = {}, {}
    for nodes, share in single_draws(graph, kind):
        name = tuple(sorted(nodes))
        expected[name] = expected.get(name, 0) + share
    trials = 1500
    for empty, found in windows(sampler, parts, book, trials):
        found = found if len(found.ids) else empty
        name = tuple(sorted(found.ids.tolist()))
        seen[name] = seen.get(name, 0) + 1
    assert set(seen) <= {name for name, share in expected.items() if share > 0}
    names = [name for name, share in expected.items() if share > 0]
    counts = [seen.get(name, 0) for name in names]
    shares = np.array([expected[name] for name in names])
    assert stats.chisquare(counts, shares * trials).pvalue > 1e-3


@pytest.mark.parametrize("uniform", [0, 0.2, 0.9])
def test_a_share_of_nodes_is_drawn_uniformly(uniform):
    graph = hubs(2)
    given = SaintSampler("node", size=1, subgraphs=1, uniform=uniform)
    sampler = informed(graph, given)
    parts, _ = part_rows(graph, sampler)
    total = sampler.masses[-1]
    masses = np.concatenate([np.diff(part.data["mass"]) for part in parts])
    shares = [share for _, share in single_draws(graph, "node", uniform=uniform)]
    assert masses / total == pytest.approx(np.array(shares), rel=1e-4)


def test_edges_are_not_drawn_by_the_sum_of_degrees():
    """A well-known sampler divides by a degree twice, and gets p ~ d_u + d_v."""
    graph = hubs()
    sampler = informed(graph, SaintSampler(kind="edge", size=1))
    parts, book = part_rows(graph, sampler)
    degree = np.diff(whole_matrix(graph).indptr)
    edges = {tuple(sorted(nodes)) for nodes, _ in single_draws(graph, "edge")}
    wrong = {(u, v): degree[u] + degree[v] for u, v in edges}
    right = {(u, v): 1 / degree[u] + 1 / degree[v] for u, v in edges}
    seen = dict.fromkeys(sorted(edges), 0)
    for (found,) in windows(sampler, parts, book, 2000):
        seen[tuple(sorted(found.ids.tolist()))] += 1
    for shares, fits in ((right, True), (wrong, False)):
        expected = np.array([shares[edge] for edge in seen])
        expected = expected / expected.sum() * 2000
        assert (stats.chisquare(list(seen.values()), expected).pvalue > 1e-3) == fits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_graphs_are_induced_subgraphs(kind, weighted):
    weights = {"edge_weight": hub_weights()} if weighted else {}
    graph = daskgnn.open_graph(hub_graph(**weights).partition(num_clusters=9), 3)
    sizes = {"node": {"size": 90}, "edge": {"size": 60}, "walk": {"roots": 30}}[kind]
    sampler = informed(graph, SaintSampler(kind, **sizes))
    parts, book = part_rows(graph, sampler)
    whole, train = whole_matrix(graph), np.zeros(graph.num_nodes, bool)
    train[graph.splits["train"]] = True
    for step in windows(sampler, parts, book, 3):
        assert sum(len(found.ids) for found in step) > 30
        for found in step:
            matrix, ids = local_matrix(found)
            assert len(set(ids.tolist())) == len(ids)
            expected = whole[ids][:, ids].toarray().astype(np.float32)
            assert np.array_equal(matrix.toarray(), expected)
            seeds = int(train[ids].sum())
            assert found.sizes == (seeds, len(ids), len(ids))
            assert train[found.seeds].all()
            assert np.array_equal(found.degree, np.diff(whole.indptr)[ids])


@pytest.mark.parametrize("kind", KINDS)
def test_subgraphs_and_counts_are_the_same_for_any_number_of_parts(kind):
    found = {}
    for num_parts in (1, 2, 3):
        partitioned = planted_graph(120).partition(num_clusters=6)
        graph = daskgnn.open_graph(partitioned, num_parts)
        sizes = {"roots": 12} if kind == "walk" else {"size": 30}
        sampler = SaintSampler(kind, **sizes, subgraphs=3, coverage=3)
        sampler = informed(graph, sampler)
        parts, book = part_rows(graph, sampler)
        sampler, parts = presample_parts(sampler, parts, book, seed=1)
        names = ("node_counts", "edge_counts")
        counts = [np.concatenate([p.data[n] for p in parts]).tolist() for n in names]
        steps = []
        for step in windows(sampler, parts, book, 3):
            edges = set()
            for one in step:
                matrix, ids = local_matrix(one)
                where = zip(*(ids[i].tolist() for i in matrix.nonzero()), strict=True)
                edges |= set(where)
            weights = [w for one in step for w in one.target_weights]
            seeds = [i for one in step for i in one.seeds]
            told = sorted(zip(seeds, weights, strict=True))
            steps.append((edges, told))
        found[num_parts] = sampler.done, counts, steps
    assert found[1] == found[2] == found[3]
    assert found[1][0].drawn >= 3 * 60


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_norms_converge_to_the_exact_ones(graph, kind):
    graph = graph(2)
    errors = []
    for coverage in (20, 1000):
        options = {**KINDS[kind], "subgraphs": 1, "coverage": coverage}
        sampler = informed(graph, SaintSampler(**options))
        nodes, pairs = inclusion(graph, kind, sampler.count)
        parts, book = part_rows(graph, sampler)
        sampler, parts = presample_parts(sampler, parts, book, seed=0)
        total = sampler.done.num_subgraphs
        assert sampler.done.drawn >= coverage * graph.num_nodes
        counts = np.concatenate([rows.data["node_counts"] for rows in parts])
        tally = np.concatenate([rows.data["edge_counts"] for rows in parts])
        matrix = whole_matrix(graph)
        v = np.repeat(np.arange(graph.num_nodes), np.diff(matrix.indptr))
        exact = np.concatenate([nodes, pairs[v, matrix.indices]])
        spread = np.sqrt(np.maximum(exact * (1 - exact) * total, 1e-12))
        z = (np.concatenate([counts, tally]) - exact * total) / spread
        assert np.abs(z[exact < 1]).max() < stats.norm.isf(5e-4 / len(z))
        alpha = tally / np.maximum(counts[v], 1)
        true = pairs[v, matrix.indices] / nodes[v]
        errors.append(np.abs(alpha - true).mean() / true.mean())
    assert errors[1] < 0.08
    assert errors[1] < errors[0] / 3


def estimates(graph, sampler, parts, book, steps):
    """Return of each step the means [n] of sampled rows, nan if not there, and losses.

    Node i has the number ``i + 1``, and the loss ``(i + 1)**2``.
    """
    value = np.arange(graph.num_nodes) + 1.0
    means, losses = [], []
    for (found,) in windows(sampler, parts, book, steps):
        row = np.full(graph.num_nodes, np.nan)
        rows = found.rows[0]
        share = rows.mean_weights * value[found.ids[rows.indices]]
        sums = np.add.reduceat(np.append(share, 0), rows.indptr[:-1])
        row[found.ids] = np.where(np.diff(rows.indptr) > 0, sums, 0)
        means.append(row)
        loss = found.target_weights * value[found.seeds] ** 2
        losses.append(loss.sum() / sampler.plan.num_targets(0, 0))
    return np.array(means), np.array(losses)


def exact_means(graph):
    matrix = whole_matrix(graph)
    degree = np.diff(matrix.indptr)
    return matrix @ (np.arange(graph.num_nodes) + 1.0) / np.maximum(degree, 1)


def check_unbiased(graph, kind, steps):
    sampler = SaintSampler(**{**KINDS[kind], "subgraphs": 1})
    nodes, pairs = inclusion(graph, kind, informed(graph, sampler).count)
    sampler, parts, book = counted(graph, sampler, (nodes, pairs))
    means, losses = estimates(graph, sampler, parts, book, steps)
    bound = stats.norm.isf(5e-4 / graph.num_nodes)
    there = ~np.isnan(means)
    count = there.sum(axis=0)
    exact = exact_means(graph)
    spread = np.nanstd(means, axis=0) / np.sqrt(count)
    error = np.nanmean(means, axis=0) - exact
    assert (np.abs(error) <= bound * spread + 1e-4 * exact).all()
    exact_loss = np.mean((np.arange(graph.num_nodes) + 1.0) ** 2)
    z = (losses.mean() - exact_loss) / (losses.std() / np.sqrt(steps))
    assert abs(z) < stats.norm.isf(5e-4)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_means_and_losses_are_right_on_average(graph, kind):
    check_unbiased(graph(), kind, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_means_and_losses_are_right_over_many_draws(graph, kind):
    check_unbiased(graph(), kind, 40_000)


def test_an_edge_is_divided_by_the_count_of_its_target():
    """A well-known sampler takes that of the source, which is wrong by a third."""
    graph = hubs()
    sampler = SaintSampler(kind="node", size=3, coverage=3000, uniform=0)
    sampler = informed(graph, sampler)
    parts, book = part_rows(graph, sampler)
    sampler, parts = presample_parts(sampler, parts, book, seed=0)
    (rows,), exact = parts, exact_means(graph)
    nodes, pairs = inclusion(graph, "node", 3, uniform=0)
    matrix = whole_matrix(graph)
    v = np.repeat(np.arange(graph.num_nodes), np.diff(matrix.indptr))
    u = matrix.indices
    counts, tally = rows.data["node_counts"], rows.data["edge_counts"]
    value, degree = np.arange(graph.num_nodes) + 1.0, np.diff(matrix.indptr)
    bias = {}
    for name, node in {"target": v, "source": u}.items():
        weight = np.minimum(counts[node] / tally, 1e4) / degree[v]
        # The expectation of an edge's share, given that its row is drawn.
        share = weight * pairs[v, u] / nodes[v] * value[u]
        sums = np.bincount(v, share, graph.num_nodes)
        bias[name] = (np.abs(sums - exact) / exact).mean()
    assert bias["target"] < 0.02
    assert bias["source"] > 0.3
    found = [step[0].rows[0] for step in windows(sampler, parts, book, 20)]
    assert all(one.mean_weights is not None for one in found)


def test_an_epoch_draws_as_many_as_there_are_training_nodes():
    graph = daskgnn.open_graph(planted_graph().partition(num_clusters=8), 2)
    sampler = informed(graph, SaintSampler(roots=20, length=2, coverage=30))
    parts, book = part_rows(graph, sampler)
    guessed = step_plan(graph, sampler).steps_per_epoch
    sampler, parts = presample_parts(sampler, parts, book, seed=0)
    plan = step_plan(graph, sampler)
    assert abs(plan.steps_per_epoch - guessed) <= 2
    drawn = []
    for step in windows(sampler, parts, book, 200):
        drawn.append(sum(len(found.seeds) for found in step))
    epoch = np.mean(drawn) * plan.steps_per_epoch
    assert abs(epoch - 200) < 0.6 * np.mean(drawn)
    assert abs(plan.num_targets(0, 0) - np.mean(drawn)) < 1.5
    assert plan.starts(3, 1).tolist() == [[0], [1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subgraphs", [1, 2, 6])
def test_what_is_sampled_is_about_what_was_estimated(kind, subgraphs):
    graph = daskgnn.open_graph(hub_graph().partition(num_clusters=8), 2)
    sizes = {"roots": 60} if kind == "walk" else {"size": 120}
    sampler = informed(graph, SaintSampler(kind, **sizes, subgraphs=subgraphs))
    told = sampler.estimate(GraphStats(graph.num_nodes, graph.num_edges), num_seeds=1)
    parts, book = part_rows(graph, sampler)
    steps = [g for step in windows(sampler, parts, book, 5) for g in step if len(g.ids)]
    assert 0.5 <= np.mean([len(found.ids) for found in steps]) / told.nodes <= 1.1
    edges = np.mean([len(found.rows[0].indices) for found in steps])
    assert 0.25 <= edges / told.edges <= 2


def test_nodes_and_edges_that_were_never_drawn_are_clipped():
    graph = hubs()
    sampler = informed(graph, SaintSampler(kind="node", size=3))
    parts, book = part_rows(graph, sampler)
    (rows,) = parts
    block = rows.block
    rows.data["node_counts"] = np.zeros(8, np.int32)
    rows.data["node_counts"][:4] = 10
    rows.data["edge_counts"] = np.zeros(len(block.indices), np.int32)
    sampler = sampler.presampled(steps=100, drawn=40)
    targets = sampler.plan.num_targets(0, 0)
    for (found,) in windows(sampler, parts, book, 20):
        drawn = rows.data["node_counts"][found.ids]
        share = np.where(drawn[: found.sizes[0]] > 0, 0.1, 0.001)
        assert np.allclose(found.target_weights, targets / 8 / share)
        own = found.rows[0]
        local = np.repeat(np.arange(len(found.ids)), np.diff(own.indptr))
        inverse = np.where(drawn[local] > 0, 1e4, 0.1)
        assert np.allclose(own.mean_weights, inverse / found.degree[local])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "star"}, "kind='star', expected one of node, edge, walk"),
        ({"length": 0}, "length=0, expected a whole number of at least 1"),
        ({"roots": 0}, "roots=0, expected a whole number of at least 1"),
        ({"kind": "node", "size": 1.5}, "size=1.5, expected a whole number"),
        ({"kind": "node", "roots": 5}, "roots is none of kind='node'"),
        ({"size": 5}, "size is none of kind='walk', which has roots and length"),
        ({"subgraphs": 0}, "subgraphs=0, expected a whole number"),
        ({"coverage": 0}, "coverage=0, expected a number above 0"),
        (
            {"kind": "node", "uniform": 1},
            "uniform=1, expected a number from 0 to",
        ),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        SaintSampler(**options)


@pytest.mark.parametrize("kind", ["node", "edge"])
def test_probabilities_that_are_all_zero_are_refused(kind):
    sampler = SaintSampler(kind).for_graph(hubs(2), 2)
    empty = {"mass": np.zeros(1, np.int64)}
    with pytest.raises(InputError, match=r"all probabilities of kind=.* are 0"):
        sampler.with_summaries([empty, empty])


def test_presampling_that_reaches_no_training_node_is_refused():
    edges = np.array([[0, 1, 2], [1, 2, 0]])
    edges = np.concatenate([edges, edges[::-1]], axis=1)
    data = daskgnn.from_edge_index(
        edges, num_nodes=5, labels=np.zeros(5, int), train=[4]
    )
    graph = daskgnn.open_graph(data.partition(method=[0, 0, 0, 1, 1]), 1)
    sampler = informed(graph, SaintSampler("node", size=2, uniform=0))
    with pytest.raises(InputError, match="pre-sampling never reaches its coverage"):
        presample_parts(sampler, *part_rows(graph, sampler), seed=0)
    rare = sampler.presampled(steps=300, drawn=0)
    with pytest.raises(InputError, match="300 steps have drawn 0 training nodes of 50"):
        rare.presampling(9)
    assert sampler.presampled(steps=9, drawn=50).presampling(3) == 0
    assert Presampled(steps=3, subgraphs=2, drawn=6).num_subgraphs == 6
