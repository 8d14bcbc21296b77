"""Fan-out sampling with replacement, by shares, and by weights that may be zero."""

from collections import Counter
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from labor_draws import all_within, drawn_rows, matrices, means, parts_of, step_keys
from scipy import sparse, stats

from daskgnn.errors import InputError
from daskgnn.sampling import NeighborSampler
from daskgnn.sampling.rounds import sample_parts

GRAPHS = matrices()
STEPS = 20_000


def one_row(weights):
    """Return a graph whose node 0 has all the others as neighbours, so weighted."""
    d = len(weights)
    row = np.arange(1, d + 1)
    indptr = np.concatenate([[0], np.full(d + 1, d)])
    return sparse.csr_array((np.asarray(weights, float), row, indptr), (d + 1, d + 1))


def subsets(sampler, weights):
    """Count which sets of neighbours node 0 gets."""
    weighted = sampler.sample_by == "edge_weight"
    matrix = one_row(weights)
    found = drawn_rows(sampler, matrix, step_keys(STEPS), weighted=weighted)
    ends = np.cumsum(found.counts)
    return Counter(
        tuple(sorted(found.columns[end - count : end] - 1))
        for end, count in zip(ends, found.counts, strict=True)
        if count
    )


def without_replacement(weights, k):
    """Return the probability of each set, drawn one by one without replacement."""
    chances = {}
    for chosen in combinations(range(len(weights)), k):
        total = 0.0
        for order in permutations(chosen):
            rest, chance = sum(weights), 1.0
            for j in order:
                chance *= weights[j] / rest
                rest -= weights[j]
            total += chance
        chances[chosen] = total
    return chances


def is_distributed(counts, chances):
    assert set(counts) <= set(chances)
    expected = np.array([chances[key] for key in chances]) * sum(counts.values())
    observed = [counts[key] for key in chances]
    return stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("weights", [[1] * 7, [1, 2, 3, 4, 5, 6], [9, 1, 1, 1, 1]])
@pytest.mark.parametrize("k", [2, 3])
def test_sets_of_neighbours_are_drawn_with_their_probabilities(weights, k):
    by = "uniform" if len(set(weights)) == 1 else "edge_weight"
    counts = subsets(NeighborSampler([k], by), weights)
    assert is_distributed(counts, without_replacement(weights, k))


def test_neighbours_of_weight_zero_are_in_no_set():
    counts = subsets(NeighborSampler([2], "edge_weight"), [2, 0, 1, 0, 3, 1])
    chances = without_replacement([2, 1, 3, 1], 2)
    kept = [0, 2, 4, 5]
    chances = {tuple(kept[j] for j in key): p for key, p in chances.items()}
    assert is_distributed(counts, chances)


@pytest.mark.parametrize("k", [3, 8, -1])
@pytest.mark.parametrize("others", [[], [1]])
def test_a_row_has_at_most_what_can_be_drawn(k, others):
    sampler = NeighborSampler([k, *others], "edge_weight")
    counts = subsets(sampler, [0, 1, 0, 5, 0, 0])
    assert list(counts) == [(1, 3)]
    assert not subsets(sampler, [0, 0, 0])


@pytest.mark.parametrize("weights", [[1] * 5, [1, 2, 0, 4], [0, 1, 0]])
def test_draws_with_replacement_are_independent(weights):
    by = "uniform" if len(set(weights)) == 1 else "edge_weight"
    sampler = NeighborSampler([2], by, replace=True)
    counts = subsets(sampler, weights)
    share = np.array(weights) / sum(weights)
    chances = {}
    for i, p in enumerate(share):
        for j, q in enumerate(share):
            if p * q:
                key = tuple(sorted((i, j)))
                chances[key] = chances.get(key, 0) + p * q
    if len(chances) == 1:
        assert counts.keys() == chances.keys()
    else:
        assert is_distributed(counts, chances)


@pytest.mark.parametrize("k", [3, 0.5])
def test_with_replacement_the_mean_is_unbiased(k):
    sampler = NeighborSampler([k], replace=True)
    for matrix in GRAPHS.values():
        n, degree = matrix.shape[0], np.diff(matrix.indptr)
        features = np.random.default_rng(0).uniform(1, 2, (n, 2))
        found = drawn_rows(sampler, matrix, step_keys(40_000))
        counts = found.counts[:n]
        rounded = np.maximum(np.floor(0.5 * degree + 0.5), 1) if k == 0.5 else 3
        assert (counts == np.where(degree > 0, rounded, 0)).all()
        exact = (matrix != 0).astype(float) @ features / np.maximum(degree, 1)[:, None]
        draws = means(found, features, 40_000)
        assert all_within(draws, exact)
        slopes = np.random.default_rng(1).uniform(-1, 1, n)
        assert all_within(np.einsum("snf,n->sf", draws, slopes), slopes @ exact)


def rows_by_layer(sampler, matrix, order, num_parts, keys, *, weighted=False):
    """Return, a step, each layer's rows in original ids, of seeds 0 to 9."""
    parts, book = parts_of(matrix, order, num_parts, sampler, weighted=weighted)
    ids = np.sort(np.argsort(order)[:10]).astype(np.int32)
    cuts = np.arange(num_parts + 1) * 10 // num_parts
    runs = [[ids[a:b]] * len(keys) for a, b in pairwise(cuts)]
    found = [set() for _ in keys]
    for graphs in sample_parts(sampler, parts, book, runs, keys):
        for s, graph in enumerate(graphs):
            names = order[graph.ids]
            for hop in range(graph.num_layers):
                rows = graph.layer(hop)
                assert len(rows.starts) == graph.sizes[hop]
                for i, (a, b) in enumerate(zip(rows.starts, rows.ends, strict=True)):
                    near = rows.indices[a:b]
                    assert (near < graph.sizes[hop + 1]).all()
                    found[s].add((hop, names[i], tuple(names[near])))
    return found


@pytest.mark.parametrize(
    ("num_neighbors", "options"),
    [
        ([0.25, 0.5], {}),
        ([0.5, 3, 0.2], {}),
        ([-1, 0.4], {}),
        ([0.3, -1], {"sample_by": "edge_weight"}),
        ([2, 4], {"replace": True}),
        ([4, 0.5], {"replace": True, "sample_by": "degree"}),
        ([3, 2], {"sample_by": "edge_weight"}),
    ],
)
def test_rows_do_not_depend_on_parts_and_have_their_lengths(num_neighbors, options):
    rng, n = np.random.default_rng(0), 60
    dense = rng.random((n, n)) * (rng.random((n, n)) < 0.25)
    matrix = sparse.csr_array(dense)
    matrix.data[rng.random(matrix.nnz) < 0.3] = 0  # stays an edge
    sampler, keys = NeighborSampler(num_neighbors, **options), step_keys(3)
    seen = [
        rows_by_layer(sampler, matrix, order, parts, keys, weighted=True)
        for parts, order in ((1, np.arange(n)), (3, rng.permutation(n)))
    ]
    assert seen[0] == seen[1]
    for step in seen[0]:
        rows = {}
        for hop, node, near in step:
            row = slice(*matrix.indptr[node : node + 2])
            drawable = np.ones(row.stop - row.start, bool)
            if options.get("sample_by") == "edge_weight":
                drawable = matrix.data[row] > 0
            k = num_neighbors[hop]
            if isinstance(k, float):
                k = max(int(np.floor(k * len(drawable) + 0.5)), 1)
            elif k < 0:
                k = len(drawable)
            if not options.get("replace"):
                k = min(k, drawable.sum())
                assert len(set(near)) == len(near)
            assert len(near) == (k if drawable.any() else 0)
            assert set(near) <= set(matrix.indices[row][drawable])
            rows.setdefault(node, []).append(near)
        for known in rows.values():
            longest = max(known, key=len)
            assert all(near == longest[: len(near)] for near in known)


def test_weights_of_nodes_are_by_original_id():
    matrix = GRAPHS["directed"].copy()
    n = matrix.shape[0]
    weights = np.random.default_rng(0).random(n)
    weights[::4] = 0
    order = np.random.default_rng(1).permutation(n)
    given = NeighborSampler([3, 2], weights)
    seen = rows_by_layer(given, matrix, order, 2, step_keys(4))
    matrix.data = weights[matrix.indices]
    by_edge = NeighborSampler([3, 2], "edge_weight")
    assert seen == rows_by_layer(by_edge, matrix, order, 2, step_keys(4), weighted=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([5, -1], "uniform"), "has -1, all neighbours, which are not drawn with"),
        (([5, 1.25], "uniform"), r"has 1.25, expected .* a share .* in \(0, 1\]"),
        (([5, -0.5], "uniform"), r"has -0.5, expected .* a share .* in \(0, 1\]"),
        (([5, 2], "edge"), "sample_by='edge', expected one of 'uniform'"),
        (([5, 2], np.zeros(4)), "weights of all nodes are 0"),
        (([5, 2], np.ones((2, 2))), "or an array with a weight for each node"),
        (([5, 2], ["a", "b"]), "or an array with a weight for each node"),
    ],
)
def test_bad_options_get_one_line(given, said):
    with pytest.raises(InputError, match=said) as error:
        NeighborSampler(*given, replace=True)
    assert "\n" not in str(error.value)


def test_weights_that_are_zero_everywhere_get_one_line():
    sampler = NeighborSampler([2], "edge_weight")
    matrix = one_row([0, 0, 0])
    parts, _ = parts_of(matrix, np.arange(4), 1, sampler, weighted=True)
    with pytest.raises(InputError, match="weights of all edges are 0"):
        sampler.with_summaries([sampler.summarize(part) for part in parts])
    assert (
        NeighborSampler([2]).summarize(
            parts_of(matrix, np.arange(4), 1, NeighborSampler([2]))[0][0]
        )
        == {}
    )
