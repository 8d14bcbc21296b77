"""Streaming, ranges, assignments and the order of clusters, against plain counts."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from stored_graphs import make_graph

from daskgnn.errors import PartitionError
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.graph.readers.memory import from_edge_index, read_npz
from daskgnn.partition import PARTITIONERS
from daskgnn.partition.methods.hierarchy import (
    cluster_links,
    hierarchical_order,
    order_clusters,
)
from daskgnn.partition.methods.streaming import (
    SLACK,
    place,
    placement_rule,
    row_chunks,
)
from daskgnn.partition.methods.structure import work_of


def cut_of(graph, part):
    """Count the entries between parts."""
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return int((part[rows] != part[graph.indices]).sum())


def shuffled(graph, seed=0):
    """The same graph under random node numbers."""
    number = np.random.default_rng(seed).permutation(graph.num_nodes)
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return from_edge_index(
        np.stack([number[graph.indices], number[rows]]), num_nodes=graph.num_nodes
    )


def naive_fennel(graph, count, work, passes):
    """Fennel node by node, as the paper writes it, every cluster tried."""
    limit = (1 + SLACK) * work.sum() / count
    alpha = np.sqrt(count) * (graph.num_edges / 2) / work.sum() ** 1.5
    clusters, loads = np.full(graph.num_nodes, -1), np.zeros(count)
    for _ in range(passes):
        for v in range(graph.num_nodes):
            if clusters[v] >= 0:
                loads[clusters[v]] -= work[v]
            row = graph.indices[graph.indptr[v] : graph.indptr[v + 1]]
            near = clusters[row[row != v]]
            hits = np.bincount(near[near >= 0], minlength=count)
            worth = hits - alpha * 1.5 * np.sqrt(np.maximum(loads, 0))
            worth[loads + work[v] > limit] = -np.inf
            best = int(np.lexsort((loads, -worth))[0])
            clusters[v] = best
            loads[best] += work[v]
    return clusters


def test_fennel_places_like_the_plain_rule():
    graph = planted_partition(300, 1500, 5, num_features=0, seed=2)
    work = np.ones(300)
    clusters = np.full(300, -1, np.int32)
    state = (work, clusters, np.zeros(6))
    rule = placement_rule(6, work, graph.num_edges / 2)
    for _ in range(2):
        place(0, graph.indptr, graph.indices, state, rule)
    expected = naive_fennel(graph, 6, work, 2)
    # Equal worth is broken by the same rule, so the placements agree.
    np.testing.assert_array_equal(clusters, expected)


@pytest.mark.parametrize("fennel", [True, False])
def test_chunks_do_not_change_a_stream(fennel):
    graph = make_graph(500, 3000)
    work = work_of(graph)
    rule = placement_rule(8, work, graph.num_edges / 2, fennel)
    whole, pieces = ((work, np.full(500, -1, np.int32), np.zeros(8)) for _ in range(2))
    place(0, graph.indptr, graph.indices, whole, rule)
    chunks = row_chunks(graph.indptr, 100)
    assert len(chunks) > 10
    for start, stop in chunks:
        indptr = graph.indptr[start : stop + 1]
        indices = graph.indices[indptr[0] : indptr[-1]]
        place(start, indptr, indices, pieces, rule)
    np.testing.assert_array_equal(whole[1], pieces[1])
    np.testing.assert_allclose(pieces[2], np.bincount(pieces[1], work, minlength=8))


def test_row_chunks_cover_every_row_once():
    indptr = np.array([0, 0, 500, 501, 501, 502, 900])
    assert row_chunks(indptr, 10) == [(0, 1), (1, 2), (2, 5), (5, 6)]
    assert row_chunks(indptr, 10**6) == [(0, 6)]


@pytest.mark.data
@pytest.mark.parametrize("name", ["pubmed", "coauthor_cs", "facebook_large"])
@pytest.mark.parametrize("method", ["ldg", "fennel"])
def test_streams_cut_less_than_hash_within_the_slack(name, method, data_dir):
    graph = shuffled(read_npz(data_dir / f"{name}.npz"))
    found = PARTITIONERS[method](graph, 16, 0)
    assert cut_of(graph, found) < 0.6 * cut_of(
        graph, PARTITIONERS["hash"](graph, 16, 0)
    )
    work = work_of(graph)
    loads = np.bincount(found, work, minlength=16)
    # A last node may go over the limit where no cluster has room for it.
    assert loads.max() <= (1 + SLACK) * loads.mean() + work.max()


def test_range_keeps_the_order_and_balances_work():
    graph = planted_partition(1000, 5000, 4, num_features=0, train=0.1, val=0, test=0)
    found = PARTITIONERS["range"](graph, 8, 0)
    assert (np.diff(found) >= 0).all()
    loads = np.bincount(found, work_of(graph), minlength=8)
    assert loads.max() < 1.1 * loads.mean()
    partitioned = graph.partition(8, "range")
    np.testing.assert_array_equal(partitioned.original_ids, np.arange(1000))


def test_links_are_counted_once_for_each_direction(monkeypatch):
    monkeypatch.setattr("daskgnn.partition.methods.hierarchy._CHUNK_ENTRIES", 7)
    graph = make_graph(80, 300, directed=True)
    clusters = np.random.default_rng(1).integers(0, 6, 80)
    found = cluster_links(graph.indptr, graph.indices, clusters, 6).toarray()
    expected = np.zeros((6, 6))
    for v in range(80):
        for u in graph.indices[graph.indptr[v] : graph.indptr[v + 1]]:
            a, b = clusters[v], clusters[u]
            if a != b:
                expected[a, b] += 1
                expected[b, a] += 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dense", [2048, 10])
def test_a_path_of_clusters_is_put_in_order(dense, monkeypatch):
    monkeypatch.setattr("daskgnn.partition.methods.hierarchy._DENSE", dense)
    place = np.random.default_rng(0).permutation(32)
    ends = np.concatenate([np.stack([place[:-1], place[1:]])], axis=1)
    links = sp.coo_array((np.full(31, 5.0), (ends[0], ends[1])), shape=(32, 32))
    order = hierarchical_order((links + links.T).tocsr(), np.ones(32))
    assert sorted(order.tolist()) == list(range(32))
    # Consecutive in the path is near in the order, and halves are the path's halves.
    where = np.empty(32, int)
    where[order] = np.arange(32)
    assert np.abs(np.diff(where[place])).mean() < 3
    assert {*order[:16]} in ({*place[:16]}, {*place[16:]})


def test_order_restores_a_hierarchy_that_was_lost():
    graph = planted_partition(4000, 40000, 8, num_features=0, seed=1)
    fine = PARTITIONERS["metis"](graph, 64, 0)
    lost = np.random.default_rng(0).permutation(64)[fine]
    back = order_clusters(graph, lost, 64, work_of(graph))
    for clusters, factor in ((lost, 1.5), (back, 1.0)):
        ratio = cut_of(graph, clusters // 8) / cut_of(graph, fine // 8)
        assert (ratio > factor) if clusters is lost else (ratio < 1.1 * factor)


def test_an_assignment_keeps_its_clusters_whole(tmp_path):
    graph = planted_partition(400, 3000, 5, num_features=0, seed=4)
    groups = graph.labels * 1000 - 7
    found = graph.partition(method=groups)
    assert found.num_clusters == 5
    assert found.partitioner["method"] == "assignment"
    for c in range(5):
        ids = found.original_ids[found.cluster_bounds[c] : found.cluster_bounds[c + 1]]
        assert len({*groups[ids]}) == 1
        assert len(ids) == (groups == groups[ids[0]]).sum()
    np.save(tmp_path / "groups.npy", groups)
    (tmp_path / "groups.txt").write_text("".join(f"{g}\n" for g in groups))
    for name in ("groups.npy", "groups.txt"):
        again = graph.partition(method=str(tmp_path / name))
        np.testing.assert_array_equal(again.original_ids, found.original_ids)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(3, int), r"expected one integer per node.*\(60,\)"),
        (np.zeros(60), "float64"),
        ("missing.npy", "no file missing.npy"),
        ("bad.txt", "one integer per line"),
        ("bad.npy", "cannot be read"),
    ],
)
def test_bad_assignments(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bad.txt", "bad.npy"):
        (tmp_path / name).write_text("one\ntwo\n")
    with pytest.raises(PartitionError, match=said) as error:
        make_graph().partition(method=given)
    assert "\n" not in str(error.value)


def test_an_eigenvector_that_is_not_found_is_looked_for_among_all(monkeypatch):
    """Of links that are all equal, as here, LAPACK finds no single one now and then."""
    real = scipy.linalg.eigh

    def none_found(matrix, subset_by_index=None):
        values, vectors = real(matrix)
        return (values[:0], vectors[:, :0]) if subset_by_index else (values, vectors)

    monkeypatch.setattr(scipy.linalg, "eigh", none_found)
    order = hierarchical_order(sp.csr_array((9, 9)), np.ones(9))
    assert sorted(order) == list(range(9))
