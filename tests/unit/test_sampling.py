"""Sampling kernels: subsets, uniformity, nesting, the same for any parts."""

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key, keys_below
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.hops import Request, answer
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.seeds import SeedPlan, cut_runs
from daskgnn.kernels.targets import Targets
from daskgnn.sampling import NeighborSampler, PartitionBook
from daskgnn.sampling.rounds import sample_parts


def ordered_blocks(matrix, order, num_parts, weights=None):
    """Cut a graph, renumbered so that storage id i is original node order[i]."""
    n = matrix.shape[0]
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    bounds = np.arange(num_parts + 1) * n // num_parts
    blocks = []
    for p in range(num_parts):
        rows = order[bounds[p] : bounds[p + 1]]
        lists = [matrix.indices[matrix.indptr[v] : matrix.indptr[v + 1]] for v in rows]
        data = [matrix.data[matrix.indptr[v] : matrix.indptr[v + 1]] for v in rows]
        blocks.append(
            AdjacencyBlock(
                int(bounds[p]),
                np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(
                    np.int64
                ),
                place[np.concatenate(lists)],
                rows.astype(np.int64),
                None if weights is None else np.concatenate(data).astype(np.float32),
            )
        )
    return blocks, bounds, place


def graph(n=60, seed=0):
    g = nx.gnp_random_graph(n, 0.15, seed=seed)
    matrix = nx.to_scipy_sparse_array(g, format="csr", dtype=float)
    matrix.sort_indices()
    return matrix


def whole_window(blocks, bounds, seeds, step_keys, num_neighbors):
    """Run all hops for every part without Dask; return each part's graphs."""
    runs = []
    for p in range(len(blocks)):
        cuts = [cut_runs(len(s), len(blocks))[p : p + 2] for s in seeds]
        runs.append([s[a:b] for s, (a, b) in zip(seeds, cuts, strict=True)])
    parts = [PartRows(block) for block in blocks]
    sampler = NeighborSampler(num_neighbors)
    return sample_parts(sampler, parts, PartitionBook(bounds), runs, step_keys)


def neighbourhoods(windows, order):
    """Return, a step, the set of (layer, destination, sources), in original ids."""
    out = [set() for _ in windows[0]]
    for graphs in windows:
        for s, graph in enumerate(graphs):
            ids = order[graph.ids]
            assert len(set(ids)) == len(ids)
            for hop in range(graph.num_layers):
                starts, ends, indices, *_ = graph.layer(hop)
                assert len(starts) == graph.sizes[hop]
                for i, (begin, end) in enumerate(zip(starts, ends, strict=True)):
                    row = indices[begin:end]
                    assert len(set(row)) == len(row)
                    assert (row < graph.sizes[hop + 1]).all()
                    out[s].add((hop, ids[i], tuple(sorted(ids[row]))))
    return out


@pytest.mark.parametrize("num_neighbors", [(3, 2), (2, 4), (-1, 3), (5, -1), (2, 3, 4)])
def test_neighbourhoods_do_not_depend_on_parts_or_order(num_neighbors):
    matrix = graph()
    rng = np.random.default_rng(1)
    plan = SeedPlan(node_targets(np.arange(40)), 12, seed=3)
    keys = np.array([derive_key(1, 2, s) for s in range(3)], np.uint64)
    permutation = plan.permutation(0)
    seen = []
    for num_parts in (1, 2, 4):
        order = rng.permutation(60)
        blocks, bounds, place = ordered_blocks(matrix, order, num_parts)
        seeds = [np.sort(place[permutation[s * 12 : s * 12 + 12]]) for s in range(3)]
        windows = whole_window(blocks, bounds, seeds, keys, num_neighbors)
        seen.append(neighbourhoods(windows, order))
    assert seen[0] == seen[1] == seen[2]
    for step in seen[0]:
        for hop, node, sources in step:
            truth = set(matrix.indices[matrix.indptr[node] : matrix.indptr[node + 1]])
            assert set(sources) <= truth
            k = num_neighbors[hop]
            assert len(sources) == (len(truth) if k < 0 else min(k, len(truth)))


def test_a_smaller_fan_out_takes_a_prefix_of_the_larger():
    matrix = graph()
    blocks, _, _ = ordered_blocks(matrix, np.arange(60), 1)
    keys = np.array([derive_key(9)], np.uint64)
    asked = Request(np.arange(60), np.array([0, 60]))
    rows = {}
    # The least fan-out is the same, so no row is taken whole by one alone.
    for k in (3, 5):
        got = answer(blocks[0], asked, keys, FanOut((k, 2)), 0)
        ends = np.cumsum(got.counts)
        rows[k] = [
            got.columns[e - c : e] for e, c in zip(ends, got.counts, strict=True)
        ]
    for small, large in zip(rows[3], rows[5], strict=True):
        assert list(large[: len(small)]) == list(small)


def draw_counts(weights, sample, trials=4000):
    """Count how often each of a node's neighbours is drawn, over steps."""
    degree = len(weights)
    block = AdjacencyBlock(
        0,
        np.array([0, degree]),
        np.arange(degree),
        np.array([17]),
        np.asarray(weights, np.float32),
    )
    keys = np.array([derive_key(5, t) for t in range(trials)], np.uint64)
    asked = Request(np.zeros(trials, np.int64), np.arange(trials + 1))
    uniform = len(set(weights)) == 1
    by = None if uniform else block.weights
    got = answer(block, asked, keys, FanOut((sample,)), 0, by)
    return np.bincount(got.columns, minlength=degree), got


def test_uniform_draws_pass_a_chi_square_test():
    counts, got = draw_counts(np.ones(23), sample=5)
    assert (got.counts == 5).all()
    assert stats.chisquare(counts).pvalue > 1e-3
    firsts = np.bincount(got.columns[::5], minlength=23)
    assert stats.chisquare(firsts).pvalue > 1e-3


def test_weighted_draws_follow_the_weights():
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    counts, _ = draw_counts(weights, sample=1, trials=8000)
    assert stats.chisquare(counts, weights / weights.sum() * 8000).pvalue > 1e-3


def node_targets(ids, places=None):
    return Targets(ids, (ids if places is None else places)[:, None])


def visited(plan, epoch):
    """Return the keys of an epoch's targets in the order in which they come."""
    return plan.in_order.keys[plan.permutation(epoch)]


def test_epochs_permute_all_training_nodes_whatever_their_storage_order():
    ids = np.arange(0, 200, 2)
    plan = SeedPlan(node_targets(ids, ids + 1000), 16, seed=4)
    shuffled = np.random.default_rng(0).permutation(len(ids))
    other = SeedPlan(node_targets(ids, shuffled), 16, seed=4)
    first, second = (visited(plan, epoch) for epoch in (0, 1))
    assert sorted(first) == list(ids)
    assert list(first) != list(second)
    assert list(first) == list(visited(other, 0))
    assert plan.steps_per_epoch == 7
    last = plan.step_targets(plan.permutation(0), 6)
    assert list(last.nodes[:, 0]) == sorted(first[96:] + 1000)
    assert len(last) == plan.num_targets(0, 6) == 4


@pytest.mark.parametrize(("seeds", "parts"), [(10, 3), (2, 4), (0, 2), (7, 7)])
def test_runs_differ_by_at_most_one_seed(seeds, parts):
    sizes = np.diff(cut_runs(seeds, parts))
    assert sizes.sum() == seeds
    assert sizes.max() - sizes.min() <= 1


def test_keys_are_distinct_and_well_spread():
    keys = keys_below(np.uint64(derive_key(0)), np.arange(100_000))
    assert len(np.unique(keys)) == 100_000
    assert (
        stats.chisquare(np.bincount((keys >> np.uint64(56)).astype(int))).pvalue > 1e-3
    )
