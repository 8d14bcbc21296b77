"""LABOR against plain Python, and its estimators against the exact means."""

import sys
import types
from collections import Counter
from itertools import product

import numpy as np
import pytest
from labor_draws import (
    all_within,
    chances,
    drawn_rows,
    matrices,
    means,
    parts_of,
    step_keys,
    variate,
)
from scipy import optimize, sparse, stats

from daskgnn.errors import GraphFormatError, InputError
from daskgnn.kernels import variaterows
from daskgnn.kernels.importance import solve_rows
from daskgnn.kernels.seeds import cut_runs
from daskgnn.kernels.variates import names_of
from daskgnn.sampling import LaborSampler, NeighborSampler
from daskgnn.sampling.columns import check_some_drawable
from daskgnn.sampling.rounds import sample_parts

GRAPHS = matrices()


def larger_graph(n=300, degree=20, seed=0):
    """Return a matrix whose rows have from 1 to 4 times `degree` entries."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 4 * degree, n)
    rows = [np.sort(rng.choice(n, k, replace=False)) for k in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    weights = rng.uniform(0.1, 2, indptr[-1])
    return sparse.csr_array((weights, np.concatenate(rows), indptr), shape=(n, n))


def window(sampler, matrix, order, num_parts, seeds, keys, *, weighted=False):
    """Sample some steps, whose seeds are cut into a run for each part."""
    parts, book = parts_of(matrix, order, num_parts, sampler, weighted=weighted)
    place = np.argsort(order)
    runs = [[] for _ in range(num_parts)]
    for nodes in seeds:
        ids = np.sort(place[nodes]).astype(np.int32)
        cuts = cut_runs(len(ids), num_parts)
        for p in range(num_parts):
            runs[p].append(ids[cuts[p] : cuts[p + 1]])
    return sample_parts(sampler, parts, book, runs, keys)


def neighbourhoods(windows, order):
    """Return a step's (layer, destination, sources), in original ids."""
    found = [set() for _ in windows[0]]
    for graphs in windows:
        for s, graph in enumerate(graphs):
            ids = order[graph.ids]
            assert len(set(ids)) == len(ids)
            assert len(graph.original_ids) == len(graph.degree) == graph.sizes[-2]
            assert list(graph.original_ids) == list(ids[: graph.sizes[-2]])
            for hop in range(graph.num_layers):
                rows = graph.layer(hop)
                assert len(rows.starts) == graph.sizes[hop]
                for i, (a, b) in enumerate(zip(rows.starts, rows.ends, strict=True)):
                    near = rows.indices[a:b]
                    assert (near < graph.sizes[hop + 1]).all()
                    found[s].add((hop, ids[i], tuple(sorted(ids[near]))))
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_each_layer_keeps_the_sources_whose_variates_are_small(shared):
    matrix, fan_outs = larger_graph(), (5, 3, 8)
    rng, keys = np.random.default_rng(3), step_keys(3)
    seeds = [rng.choice(300, 6, replace=False) for _ in keys]
    sampler = LaborSampler(fan_outs, shared=shared)
    for num_parts in (1, 3):
        order = rng.permutation(300)
        windows = window(sampler, matrix, order, num_parts, seeds, keys)
        for s, found in enumerate(neighbourhoods(windows, order)):
            met = {hop: set() for hop in range(3)}
            for hop, node, sources in found:
                row = matrix.indices[matrix.indptr[node] : matrix.indptr[node + 1]]
                layer = 0 if shared else hop + 1
                bound = min(fan_outs[hop], len(row)) * 2**32 // len(row)
                kept = [t for t in row if variate(int(keys[s]), layer, int(t)) < bound]
                assert list(sources) == kept
                met[hop].add(node)
            assert set(seeds[s]) == met[0] <= met[1] <= met[2]


def test_neighbourhoods_do_not_depend_on_parts_order_or_threads():
    matrix, keys = larger_graph(seed=4), step_keys(4, seed=1)
    rng = np.random.default_rng(5)
    seeds = [rng.choice(300, 20, replace=False) for _ in keys]
    for options in ({}, {"sample_by": "edge_weight"}, {"sample_by": "degree"}):
        sampler = LaborSampler([4, -1, 0.2], **options)
        seen = [
            neighbourhoods(
                window(sampler, matrix, order, parts, seeds, keys, weighted=True),
                order,
            )
            for parts, order in ((1, np.arange(300)), (4, rng.permutation(300)))
        ]
        assert seen[0] == seen[1]


@pytest.mark.parametrize("options", [{}, {"variant": "i"}, {"sample_by": "degree"}])
def test_threads_do_not_change_a_bit(options):
    matrix, keys = larger_graph(), step_keys(3)
    sampler = LaborSampler([4, 3], estimator="ht", **options)
    parts, book = parts_of(matrix, np.arange(300), 1, sampler)
    seeds = [[np.arange(s, 90, 3, dtype=np.int32) for s in range(3)]]
    alone = sample_parts(sampler, parts, book, seeds, keys)[0]
    for threads in (2, 3):
        for a, b in zip(
            alone,
            sample_parts(sampler, parts, book, seeds, keys, threads)[0],
            strict=True,
        ):
            assert a.sizes == b.sizes
            np.testing.assert_array_equal(a.ids, b.ids)
            for rows, others in zip(a.rows, b.rows, strict=True):
                np.testing.assert_array_equal(rows.indptr, others.indptr)
                np.testing.assert_array_equal(rows.indices, others.indices)
                np.testing.assert_array_equal(rows.mean_weights, others.mean_weights)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_order_in_which_rows_are_read_changes_no_bit(monkeypatch, weighted):
    matrix, keys = larger_graph(), step_keys(3)
    sampler = LaborSampler([4, 3])
    parts, book = parts_of(matrix, np.arange(300), 1, sampler, weighted=weighted)
    rng, places = np.random.default_rng(0), []
    seeds = [[rng.permutation(300)[:90].astype(np.int32) for _ in range(3)]]
    as_asked = sample_parts(sampler, parts, book, seeds, keys)[0]
    order_by_place = variaterows.order_by_place

    def watched(*given):
        order_by_place(*given)
        places.append(given[-1].copy())

    monkeypatch.setattr(variaterows, "IN_CACHE", 0)
    monkeypatch.setattr(variaterows, "order_by_place", watched)
    for threads in (1, 3):
        found = sample_parts(sampler, parts, book, seeds, keys, threads)[0]
        for a, b in zip(as_asked, found, strict=True):
            np.testing.assert_array_equal(a.ids, b.ids)
            for rows, others in zip(a.rows, b.rows, strict=True):
                np.testing.assert_array_equal(rows.indptr, others.indptr)
                np.testing.assert_array_equal(rows.indices, others.indices)
                np.testing.assert_array_equal(rows.weights, others.weights)
    assert any((np.diff(order) < 0).any() for order in places)


@pytest.mark.parametrize(
    ("updates", "options"),
    [
        (0, {}),
        (1, {"variant": "i"}),
        (3, {"variant": "i", "iterations": 3}),
        (50, {"variant": "*"}),
    ],
)
def test_probabilities_are_those_of_plain_python(updates, options):
    matrix, k, keys = GRAPHS["directed"], 3, step_keys(40)
    rows = [
        list(matrix.indices[a:b])
        for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]
    expected = chances(rows, k, updates)
    sampler = LaborSampler([k], estimator="ht", **options)
    found = drawn_rows(sampler, matrix, keys)
    ends = np.cumsum(found.counts)
    tolerance = 0.02 if options.get("variant") == "*" else 1e-5
    seen = 0
    for i, (end, count) in enumerate(zip(ends, found.counts, strict=True)):
        row = rows[i % len(rows)]
        columns = found.columns[end - count : end]
        share = dict(zip(row, expected[i % len(rows)], strict=True))
        chance = 1 / (found.mean_weights[end - count : end] * len(row))
        np.testing.assert_allclose(chance, [share[t] for t in columns], rtol=tolerance)
        key = int(keys[i // len(rows)])
        for t in row:
            distance = variate(key, 0, int(t)) / 2**32 - share[t]
            if abs(distance) > tolerance:
                assert (t in columns) == (distance < 0)
                seen += 1
    assert seen > 0.9 * 40 * matrix.nnz


def test_more_updates_expect_fewer_sources_and_at_least_as_many_edges():
    matrix, keys = larger_graph(), step_keys(200)
    sources, edges = [], []
    for options in ({}, *({"variant": v} for v in "i*")):
        found = drawn_rows(LaborSampler([5], **options), matrix, keys)
        ends = np.cumsum(found.counts)[300 - 1 :: 300]
        runs = np.split(found.columns, ends[:-1])
        sources.append(np.mean([len(np.unique(run)) for run in runs]))
        edges.append(found.counts.sum())
    assert sources[0] > sources[1] > sources[2]
    assert edges[0] < edges[1] < edges[2]


@pytest.mark.parametrize("weighted", [False, True])
def test_c_solves_its_equation(weighted):
    rng = np.random.default_rng(0)
    for _ in range(200):
        degree = int(rng.integers(2, 60))
        k = int(rng.integers(1, degree))
        weights = rng.lognormal(0, 2, degree).astype(np.float32)
        weights[rng.random(degree) < 0.2] = 0
        if not weighted:
            weights = np.ones(degree, np.float32)
        drawable = int((weights > 0).sum())
        if k >= drawable:
            continue
        pi = rng.lognormal(0, 3, degree)
        one = [np.array([n]) for n in (0, 0, degree, drawable, k)]
        c = np.empty(1)
        given = weights if weighted else np.empty(0, np.float32)
        numbers = np.arange(degree, dtype=np.int32)
        solve_rows(tuple(one), (given, numbers, pi), c)
        a, p = weights[weights > 0].astype(float), pi[weights > 0]
        target = a.sum() ** 2 * (1 / k - 1 / drawable) + (a**2).sum()

        def excess(log_c, a=a, p=p, target=target):
            return np.log((a**2 / np.minimum(1, np.exp(log_c) * p)).sum() / target)

        exact = np.exp(optimize.brentq(excess, -60, 60, xtol=1e-12))
        assert abs(excess(np.log(c[0]))) < 1e-4
        assert c[0] == pytest.approx(exact, rel=1e-4)


def test_in_degrees_are_the_fan_out_on_average():
    for matrix in GRAPHS.values():
        degree, steps, k = np.diff(matrix.indptr), 20_000, 4
        found = drawn_rows(LaborSampler([k]), matrix, step_keys(steps))
        counts = found.counts.reshape(steps, -1).astype(float)
        assert all_within(counts, np.minimum(degree, k).astype(float))


def test_sets_of_two_rows_have_the_chances_of_shared_variates():
    """A source that both rows have is kept by both, or by the shorter row, or none."""
    rows, steps = [[2, 3, 4, 5, 6], [4, 5, 6, 7]], 20_000
    indptr = np.cumsum([0, *map(len, rows), *[0] * 6])
    columns = np.concatenate(rows)
    matrix = sparse.csr_array((np.ones(len(columns)), columns, indptr), shape=(8, 8))
    found = drawn_rows(LaborSampler([2]), matrix, step_keys(steps))
    runs = np.split(found.columns, np.cumsum(found.counts)[:-1])
    seen = Counter(
        (tuple(sorted(one)), tuple(sorted(two)))
        for one, two in zip(runs[::8], runs[1::8], strict=True)
    )
    share = [2 / len(row) for row in rows]
    expected = Counter()
    for kept in product(*(_outcomes(t, rows, share) for t in range(2, 8))):
        sets = tuple(tuple(t for _, by, t in kept if row in by) for row in (0, 1))
        expected[sets] += np.prod([chance for chance, _, _ in kept])
    assert sum(expected.values()) == pytest.approx(1)
    assert set(seen) <= set(expected)
    counts = [seen[sets] for sets in expected]
    chances_of_sets = np.array(list(expected.values()))
    assert stats.chisquare(counts, steps * chances_of_sets).pvalue > 1e-3


def _outcomes(source, rows, share):
    """Return (probability, rows that keep the source, source) for all outcomes."""
    having = sorted((share[r], r) for r in (0, 1) if source in rows[r])
    found, below = [], 0.0
    for place, (chance, _) in enumerate(having):
        found.append((chance - below, [r for _, r in having[place:]], source))
        below = chance
    return [*found, (1 - below, [], source)]


@pytest.mark.parametrize("options", [{}, {"shared": False}, {"variant": "i"}])
def test_fewer_distinct_nodes_than_fan_out_sampling(options):
    matrix, keys = larger_graph(2000), step_keys(40)
    rng = np.random.default_rng(0)
    seeds = [rng.choice(2000, 60, replace=False) for _ in keys]
    sizes = []
    for sampler in (LaborSampler([6, 4], **options), NeighborSampler([6, 4])):
        (graphs,) = window(sampler, matrix, np.arange(2000), 1, seeds, keys)
        sizes.append(np.array([graph.sizes for graph in graphs]))
    assert (sizes[0].mean(axis=0)[1:] < sizes[1].mean(axis=0)[1:]).all()


def estimates(options, steps, k=3, *, weighted=False, matrix=None):
    """Return draws [steps, n, 2] of each node's mean and of a gradient, and exact ones.

    The gradient is that of a loss linear in the output of a linear layer.
    """
    rng = np.random.default_rng(0)
    n = matrix.shape[0]
    features, slopes = rng.uniform(1, 2, (n, 2)), rng.uniform(-1, 1, n)
    found = drawn_rows(
        LaborSampler([k], **options), matrix, step_keys(steps), weighted=weighted
    )
    draws = means(found, features, steps)
    degree = np.maximum(np.diff(matrix.indptr), 1)
    exact = (matrix != 0).astype(float) @ features / degree[:, None]
    return (draws, exact), (np.einsum("snf,n->sf", draws, slopes), slopes @ exact)


UNBIASED = {
    "0": ({}, 40_000),
    "weights": ({"sample_by": "edge_weight"}, 4000),
    "i": ({"variant": "i", "iterations": 2}, 4000),
    "*": ({"variant": "*"}, 2000),
    "all": ({"variant": "i", "sample_by": "edge_weight"}, 4000),
}


def check_unbiased(options, steps):
    weighted = "sample_by" in options
    for matrix in GRAPHS.values():
        given = {"estimator": "ht", **options}
        for draws, exact in estimates(given, steps, weighted=weighted, matrix=matrix):
            assert all_within(draws, exact)


@pytest.mark.parametrize("name", UNBIASED)
def test_horvitz_thompson_is_unbiased(name):
    check_unbiased(*UNBIASED[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", UNBIASED)
def test_horvitz_thompson_is_unbiased_over_many_draws(name):
    check_unbiased(UNBIASED[name][0], 40_000)


@pytest.mark.parametrize("options", [{}, {"variant": "i"}])
def test_hajek_is_consistent(options):
    matrix, worst = GRAPHS["hubs"], []
    for k in (2, 4, 6):
        draws, exact = estimates(options, 4000, k, matrix=matrix)[0]
        worst.append(np.abs(draws.mean(axis=0) / exact - 1).max())
    assert worst[0] > worst[1] > worst[2]
    assert worst[2] < 0.02


def test_hajek_weights_of_a_row_add_up_to_one():
    found = drawn_rows(LaborSampler([3], variant="i"), GRAPHS["hubs"], step_keys(50))
    ends = np.cumsum(found.counts)
    sums = [
        found.mean_weights[e - c : e].sum()
        for e, c in zip(ends, found.counts, strict=True)
        if c
    ]
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"estimator": "ht"}, {"variant": "*"}, {"sample_by": "degree"}]
)
@pytest.mark.parametrize("k", [-1, 1.0, 50])
def test_all_neighbours_give_the_exact_mean(options, k):
    for matrix in GRAPHS.values():
        n = matrix.shape[0]
        features = np.random.default_rng(0).random((n, 3))
        found = drawn_rows(LaborSampler([k], **options), matrix, step_keys(2))
        assert list(found.counts[:n]) == list(np.diff(matrix.indptr))
        exact = (matrix != 0).astype(float) @ features
        exact /= np.maximum(np.diff(matrix.indptr), 1)[:, None]
        np.testing.assert_allclose(means(found, features, 2)[0], exact, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"variant": "i"}, {"variant": "*"}])
def test_what_weighs_nothing_is_never_kept(options):
    matrix = GRAPHS["directed"].copy()
    matrix.data[::3] = 0
    matrix.data[matrix.indptr[4] : matrix.indptr[5]] = 0
    sampler = LaborSampler([4], sample_by="edge_weight", **options)
    found = drawn_rows(sampler, matrix, step_keys(300), weighted=True)
    assert (found.weights > 0).all()
    counts = found.counts.reshape(300, -1)
    assert not counts[:, 4].any()
    positive = np.add.reduceat(matrix.data > 0, matrix.indptr[:-1])
    few = positive <= 4
    assert (counts[:, few] == positive[few]).all()
    assert counts[:, ~few].mean() > 3


def test_weights_of_nodes_are_by_original_id():
    matrix, keys = larger_graph(seed=6), step_keys(3)
    rng = np.random.default_rng(1)
    weights = rng.random(300)
    by_edge = matrix.copy()
    by_edge.data = weights[matrix.indices]
    seeds = [rng.choice(300, 20, replace=False) for _ in keys]
    order = rng.permutation(300)
    samplers = (
        LaborSampler([4, 3], sample_by=weights),
        LaborSampler([4, 3], sample_by="edge_weight"),
    )
    seen = [
        neighbourhoods(window(s, m, order, 2, seeds, keys, weighted=True), order)
        for s, m in zip(samplers, (matrix, by_edge), strict=True)
    ]
    assert seen[0] == seen[1]
    names = [s.fingerprint()["sample_by"] for s in samplers]
    assert names[0].startswith("nodes:")
    assert names[1] == "edge_weight"


def test_names_are_ids_that_fit_and_mixed_ones_that_do_not():
    small = np.array([0, 1, 2**32 - 1])
    np.testing.assert_array_equal(names_of(small), small.astype(np.uint32))
    large = np.arange(100_000) + 2**40 * (np.arange(100_000) % 7)
    assert len(np.unique(names_of(large))) > 99_990


def test_parts_keep_names_only_where_ids_differ():
    matrix = GRAPHS["hubs"]
    sampler, n = LaborSampler([2]), matrix.shape[0]
    assert parts_of(matrix, np.arange(n), 1, sampler)[0][0].data == {}
    order = np.arange(n)[::-1].copy()
    data = parts_of(matrix, order, 1, sampler)[0][0].data
    assert data["names"].dtype == np.uint32


def test_distinct_nodes_are_as_many_as_dgls(monkeypatch):
    # DGL 2.1 without the parts that need an older torch.
    monkeypatch.setenv("DGLBACKEND", "pytorch")
    for name in ("dgl.graphbolt", "torchdata", "torchdata.datapipes"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    dgl, torch = pytest.importorskip("dgl"), pytest.importorskip("torch")
    matrix, batches, fan_outs = larger_graph(3000), 500, [6, 4]
    rng = np.random.default_rng(0)
    seeds = [rng.choice(3000, 64, replace=False) for _ in range(batches)]
    csc = [
        torch.from_numpy(a.astype(np.int64)) for a in (matrix.indptr, matrix.indices)
    ]
    graph = dgl.graph(("csc", (*csc, torch.empty(0, dtype=torch.int64))))
    for options, iterations, dependent in (
        ({}, 0, True),
        ({"shared": False}, 0, False),
        ({"variant": "i"}, 1, True),
        ({"variant": "*"}, -1, True),
    ):
        sampler = LaborSampler(fan_outs, **options)
        (ours,) = window(sampler, matrix, np.arange(3000), 1, seeds, step_keys(batches))
        theirs = dgl.dataloading.LaborSampler(
            fan_outs[::-1], importance_sampling=iterations, layer_dependency=dependent
        )
        sizes = [
            len(theirs.sample_blocks(graph, torch.from_numpy(batch))[0])
            for batch in seeds
        ]
        mean = np.mean([graph.sizes[-1] for graph in ours])
        assert mean == pytest.approx(np.mean(sizes), rel=0.02)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"variant": "1"}, "'labor': variant='1', expected one of 0, i, \\*: labor"),
        ({"estimator": "mean"}, "'labor': estimator='mean', expected one of hajek"),
        ({"iterations": 2}, "iterations=2 is for variant=i, not variant=0"),
        ({"variant": "i", "iterations": 0}, "iterations=0, expected .* from 1 to 10"),
        ({"sample_by": "size"}, "sample_by='size', expected one of 'uniform'"),
        ({"sample_by": np.zeros(3)}, "weights of all nodes are 0"),
        ({"sample_by": np.array([1, -1])}, r"sample_by\[1\] is -1.0"),
        ({"num_neighbors": [1.5]}, r"has 1.5, expected .* a share of them in \(0, 1\]"),
        ({"num_neighbors": [0.0]}, r"has 0.0, expected .* a share of them in \(0, 1\]"),
    ],
)
def test_bad_options_get_one_line(given, said):
    with pytest.raises(InputError, match=said) as error:
        LaborSampler(**{"num_neighbors": [5], **given})
    assert "\n" not in str(error.value)


def test_weights_that_cannot_be_drawn_by_get_one_line():
    sampler = LaborSampler([2], sample_by="edge_weight")
    matrix = GRAPHS["hubs"].copy()
    matrix.data[5] = -1
    with pytest.raises(GraphFormatError, match="weights of at least 0"):
        parts_of(matrix, np.arange(16), 1, sampler, weighted=True)
    none = [{"drawable": np.array([False])}] * 2
    with pytest.raises(InputError, match="weights of all edges are 0"):
        sampler.with_summaries(none)
    check_some_drawable([*none, {"drawable": np.array([True])}], "edge_weight")
