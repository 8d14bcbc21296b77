"""Cluster-GCN: induced subgraphs, every cluster once, nothing sent, saturation."""

import numpy as np
import pytest
import torch
from subgraphs import (
    local_matrix,
    part_rows,
    sampled,
    starts_of,
    step_plan,
    whole_matrix,
)
from training import hub_graph, hub_weights, planted_graph, stored

import daskgnn
from daskgnn.errors import InputError
from daskgnn.kernels.induced import member_words, nodes_between
from daskgnn.kernels.targets import Targets
from daskgnn.nn import Block
from daskgnn.sampling import GraphStats
from daskgnn.sampling.cluster import ClusterSampler


def opened(num_parts=2, graph=planted_graph, clusters=12, **options):
    partitioned = graph(**options).partition(num_clusters=clusters, method="metis")
    return daskgnn.open_graph(partitioned, num_parts)


def made(graph, num_layers=2, **options):
    return ClusterSampler(**options).for_graph(graph, num_layers)


def nodes_of(graph, clusters):
    bounds = graph.clusters.bounds
    runs = [np.arange(bounds[c], bounds[c + 1]) for c in clusters if c >= 0]
    return np.concatenate([np.empty(0, np.int64), *runs])


@pytest.mark.parametrize("subgraphs", [1, 2, 3, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_graphs_are_unions_of_induced_subgraphs(subgraphs, weighted):
    weights = {"edge_weight": hub_weights()} if weighted else {}
    graph = opened(2, hub_graph, **weights)
    sampler = made(graph, clusters=7, subgraphs=subgraphs)
    plan, whole = step_plan(graph, sampler), whole_matrix(graph)
    train = np.zeros(graph.num_nodes, bool)
    train[graph.splits["train"]] = True
    starts, _ = starts_of(plan, [0, 1], 2)
    for part, graphs in enumerate(sampled(graph, sampler, [0, 1])):
        for step, found in enumerate(graphs):
            sets = [nodes_of(graph, row) for row in starts[part][step]]
            nodes = np.concatenate(sets) if len(sets) else np.empty(0, int)
            assert sorted(found.ids) == sorted(nodes)
            matrix, ids = local_matrix(found)
            expected = np.zeros((graph.num_nodes,) * 2, np.float32)
            for one in sets:
                expected[np.ix_(one, one)] = whole[one][:, one].toarray()
            assert np.array_equal(matrix.toarray(), expected[np.ix_(ids, ids)])
            count = int(train[ids].sum())
            assert found.sizes == (count, len(ids), len(ids))
            assert train[ids[:count]].all()
            assert not train[ids[count:]].any()
            assert np.array_equal(found.original_ids, graph.original_ids_of(ids))
            degree = np.diff(whole.indptr)[ids]
            assert np.array_equal(found.degree, degree)
            sums = np.asarray(whole.sum(axis=1)).ravel()[ids]
            assert np.allclose(found.weighted_degree, sums)


def test_subgraphs_without_training_nodes_are_left_out():
    chosen = daskgnn.from_edge_index(
        np.array([[0], [1]]), num_nodes=4, labels=np.zeros(4, int), train=[0]
    )
    small = daskgnn.open_graph(chosen.partition(method=[0, 0, 1, 1]), 1)
    sampler = made(small, clusters=2, subgraphs=2)
    ((found,),) = sampled(small, sampler, [0])
    assert sorted(found.ids) == [0, 1]
    assert found.sizes == (1, 2, 2)
    sampler = made(small, clusters=1, subgraphs=2)
    plan = step_plan(small, sampler)
    counts = [plan.num_targets(0, step) for step in range(plan.steps_per_epoch)]
    graphs = sampled(small, sampler, range(plan.steps_per_epoch))[0]
    assert sorted(counts) == [0, 1]
    assert [len(g.seeds) for g in graphs] == counts
    assert [len(g.ids) for g in graphs] == [2 * count for count in counts]


@pytest.mark.parametrize(("clusters", "subgraphs"), [(5, 1), (4, 2), (3, 3), (12, 4)])
def test_every_cluster_is_in_an_epoch_once(clusters, subgraphs):
    graph = opened(2)
    plan = step_plan(graph, made(graph, clusters=clusters, subgraphs=subgraphs), seed=3)
    orders = []
    for epoch in (0, 1):
        steps = [plan.starts(epoch, step) for step in range(plan.steps_per_epoch)]
        visited = [step[step >= 0] for step in steps]
        assert np.array_equal(np.sort(np.concatenate(visited)), np.arange(12))
        assert {len(step) for step in visited[:-1]} <= {clusters}
        orders.append([step.tolist() for step in steps])
        counts = [plan.num_targets(epoch, s) for s in range(plan.steps_per_epoch)]
        assert sum(counts) == len(graph.splits["train"])
        for step in steps:  # as even as whole clusters allow
            each = (step >= 0).sum(axis=1)
            assert each.max() - each.min() <= 2
    again = step_plan(graph, made(graph, clusters=clusters, subgraphs=subgraphs), 3)
    assert again.starts(1, 0).tolist() == orders[1][0]  # in any order
    if clusters < 12:
        assert orders[0] != orders[1]
        other = step_plan(graph, made(graph, clusters=clusters, subgraphs=subgraphs), 4)
        steps = range(other.steps_per_epoch)
        assert [other.starts(0, step).tolist() for step in steps] != orders[0]


@pytest.mark.parametrize("num_parts", [2, 3, 4])
def test_nothing_is_asked_of_others_with_a_subgraph_a_part(num_parts):
    graph = opened(num_parts)
    sampler = made(graph, clusters=6)
    _, book = part_rows(graph, sampler)
    plan = step_plan(graph, sampler)
    starts, keys = starts_of(plan, range(plan.steps_per_epoch), num_parts)
    for part, mine in enumerate(starts):
        frontier = sampler.start(mine, keys, book)
        for owner in range(num_parts):
            asked = sampler.request(frontier, 0, owner, book)
            assert bool(len(asked.ids)) == (owner == part)
    for part, graphs in enumerate(sampled(graph, sampler, [0, 1])):
        assert all(book.owned(found.ids, part).all() for found in graphs)


def test_subgraphs_are_the_same_for_other_numbers_of_parts():
    by_parts = {}
    for num_parts in (1, 2, 3):
        graph = opened(num_parts)
        sampler = made(graph, clusters=6, subgraphs=2)
        by_parts[num_parts] = [set(), set()]
        for graphs in sampled(graph, sampler, [0, 1]):
            for step, found in enumerate(graphs):
                matrix, ids = local_matrix(found)
                row, column = matrix.nonzero()
                edges = zip(ids[row].tolist(), ids[column].tolist(), strict=True)
                by_parts[num_parts][step] |= set(edges)
    assert by_parts[1] == by_parts[2] == by_parts[3]


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_all_clusters_in_one_subgraph_are_the_whole_graph(num_layers):
    graph = opened(2)
    sampler = made(graph, num_layers, clusters=12, subgraphs=1)
    empty, found = (graphs[0] for graphs in sampled(graph, sampler, [0]))
    if len(empty.ids):
        empty, found = found, empty
    assert empty.sizes == (0,) * (num_layers + 1)
    rng, whole = np.random.default_rng(0), whole_matrix(graph)
    features = rng.normal(size=(graph.num_nodes, 5))
    mixing = [torch.tensor(rng.normal(size=(5, 5))) for _ in range(num_layers)]
    loops = whole.toarray() + np.eye(graph.num_nodes)
    root = 1 / np.sqrt(loops.sum(axis=1))
    exact = torch.tensor(features)
    for weight in mixing:
        exact = torch.tensor(root[:, None] * loops * root) @ exact @ weight
    h = torch.tensor(features[found.ids])
    for number, weight in zip(reversed(range(num_layers)), mixing, strict=True):
        rows, count = found.layer(number), found.sizes[number]
        indptr = np.concatenate([rows.starts, rows.ends[-1:]])
        block = Block.from_csr(indptr, rows.indices, num_src=found.sizes[number + 1])
        degrees = np.diff(whole.indptr)[found.ids].astype(np.float32)
        arrays = block.arrays
        arrays.degree[:count] = degrees[:count]
        arrays.weighted_degree[:] = degrees[: len(arrays.weighted_degree)]
        h = block.propagate_gcn(h) @ weight
    assert np.array_equal(np.sort(found.seeds), graph.splits["train"])
    assert torch.allclose(h, exact[found.seeds], atol=1e-5)


def test_what_is_sampled_is_about_what_was_estimated():
    for graph in (opened(2, hub_graph), opened(3), opened(2, clusters=16)):
        sampler = made(graph, clusters=graph.num_clusters // 2)
        stats = GraphStats(graph.num_nodes, graph.num_edges)
        told = sampler.estimate(stats, num_seeds=1)
        found = [g for graphs in sampled(graph, sampler, [0, 1]) for g in graphs]
        assert 0.5 <= np.mean([len(g.ids) for g in found]) / told.nodes <= 1.1
        edges = np.mean([len(g.rows[0].indices) for g in found])
        assert 0.5 <= edges / told.edges <= 1.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clusters": 0}, "clusters=0, expected a whole number of at least 1"),
        ({"clusters": 2.5}, "clusters=2.5, expected a whole number"),
        ({"subgraphs": -1}, "subgraphs=-1, expected a whole number"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        ClusterSampler(**options)


def test_more_clusters_than_there_are_are_refused():
    graph = opened(2)
    with pytest.raises(InputError, match="clusters=13 is more than the 12 clusters"):
        made(graph, clusters=13)
    with pytest.raises(InputError, match="subgraphs=13 is more than the 12 clusters"):
        made(graph, subgraphs=13)


def test_vertex_cuts_are_refused(tmp_path):
    path = stored(hub_graph(), tmp_path / "cut.zarr", method="hdrf")
    graph = daskgnn.open_graph(path, 2)
    with pytest.raises(InputError, match=r"needs undivided rows, .* is a vertex-cut"):
        made(graph, clusters=2)


def test_targets_must_be_the_training_nodes():
    graph = opened(2)
    sampler = made(graph, clusters=2)
    pairs = Targets(np.arange(3), np.array([[4, 1], [0, 2], [0, 1]]))
    with pytest.raises(InputError, match="targets are no single nodes"):
        sampler.steps(pairs, 0, 2)
    some = graph.splits["train"][1:]
    with pytest.raises(InputError, match="the graph's training split"):
        sampler.steps(Targets(some, some[:, None]), 0, 2)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_sets_of_nodes_are_those_of_plain_numpy(dtype):
    bounds = np.array([0, 3, 3, 70, 200])
    for members in ([], [1], [0, 3], [0, 1, 2]):
        runs = [np.arange(bounds[m], bounds[m + 1]) for m in members]
        expected = np.concatenate([np.empty(0, np.int64), *runs])
        found = nodes_between(bounds, np.array(members, np.int64), np.dtype(dtype))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
        words = member_words(found, 200)
        bits = np.unpackbits(
            words[:, 0].copy().view(np.uint8), bitorder="little", count=200
        )
        np.testing.assert_array_equal(np.flatnonzero(bits), expected)
        before = np.searchsorted(expected, 64 * np.arange(4))
        np.testing.assert_array_equal(words[:, 1], before)
