"""Partitioners, and the cut of their order into parts."""

from itertools import pairwise

import numpy as np
import pymetis
import pytest
from stored_graphs import make_graph, matrix_of

from daskgnn.errors import PartitionError
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.graph.memory.ordered import ordered_slots
from daskgnn.graph.memory.partitioning import partition_graph
from daskgnn.graph.readers.memory import from_edge_index, read_npz
from daskgnn.partition import PARTITIONERS
from daskgnn.partition.book import Clusters, count_clusters, cut_clusters
from daskgnn.partition.methods.multilevel import (
    fill_clusters,
    linked_structure,
    write_parhip,
)
from daskgnn.partition.methods.structure import node_work

NO_CHOICES = {"range", "ldg", "fennel"}


def cut_of(graph, part):
    """Count the entries between parts, one by one."""
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return int((part[rows] != part[graph.indices]).sum())


def parts_of(partitioned, num_parts):
    """The part of each original node when opened with some number of parts."""
    book = cut_clusters(
        partitioned._counts[0], partitioned.splits.get("train"), num_parts
    )
    part = np.empty(partitioned.data.num_nodes, np.int64)
    part[partitioned.original_ids] = np.repeat(np.arange(num_parts), np.diff(book))
    return part


@pytest.mark.parametrize("method", PARTITIONERS)
@pytest.mark.parametrize("num_clusters", [1, 2, 7, 60])
def test_every_node_is_in_one_cluster(method, num_clusters):
    graph = make_graph()
    clusters = PARTITIONERS[method](graph, num_clusters, 0)
    assert clusters.shape == (60,)
    assert clusters.dtype == np.int64
    assert clusters.min() >= 0
    assert clusters.max() < num_clusters
    partitioned = graph.partition(num_clusters, method)
    assert 1 <= partitioned.num_clusters <= num_clusters
    assert (np.diff(partitioned.cluster_bounds) > 0).all()
    order = partitioned.original_ids
    np.testing.assert_array_equal(np.sort(order), np.arange(60))
    # By cluster, then by original id.
    for first, last in pairwise(partitioned.cluster_bounds):
        assert (np.diff(order[first:last]) > 0).all()
    if method != "terapart":  # whose clusters differ now and then
        expected = np.lexsort((np.arange(60), clusters))
        np.testing.assert_array_equal(order, expected)


# terapart's clusters differ now and then, as its docstring says.
@pytest.mark.parametrize("method", sorted({*PARTITIONERS} - NO_CHOICES - {"terapart"}))
def test_the_seed_decides(method):
    graph = make_graph(400, 2000)
    one, two, other = (PARTITIONERS[method](graph, 16, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_hash_clusters_are_equal_and_mixed():
    graph = make_graph(1000, 3000)
    clusters = PARTITIONERS["hash"](graph, 7, 0)
    assert np.ptp(np.bincount(clusters)) <= 1
    halves = np.bincount(clusters[:500], minlength=7)
    assert (abs(halves - 500 / 7) < 30).all()


def test_storage_order_permutes_the_matrix():
    graph = make_graph(edge_weight=np.linspace(1, 2, 240, dtype=np.float32))
    found = graph.partition(8)
    order = found.original_ids
    expected = matrix_of(graph)[order][:, order]
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.storage_ids[order], np.arange(60))
    for row in range(60):
        own = found.indices[found.indptr[row] : found.indptr[row + 1]]
        theirs = expected.indices[expected.indptr[row] : expected.indptr[row + 1]]
        np.testing.assert_array_equal(np.sort(own), np.sort(theirs))
        assert (np.diff(order[own]) > 0).all()


def test_slots_of_any_run():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 30) * rng.integers(0, 2, 30)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    order = rng.permutation(30)
    expected = np.concatenate([np.arange(indptr[v], indptr[v + 1]) for v in order])
    ordered = np.concatenate(([0], np.cumsum(counts[order])))
    total = len(expected)
    for start in range(total + 1):
        for stop in range(start, total + 1):
            found = ordered_slots(indptr, ordered, order, start, stop)
            np.testing.assert_array_equal(found, expected[start:stop])


def test_metis_counts_its_cut_as_we_do():
    graph = make_graph(500, 2500)
    indptr, indices = linked_structure(graph)
    adjacency = pymetis.CSRAdjacency(indptr, indices)
    cut, part = pymetis.part_graph(2, adjacency, recursive=True)
    assert cut_of(graph, np.array(part)) == 2 * cut


def test_metis_finds_the_halves():
    graph = make_graph(600, 6000)
    hashed, metis = (graph.partition(16, m).quality(2) for m in ("hash", "metis"))
    assert metis.edge_cut < 0.2 < 0.4 < hashed.edge_cut


def test_directions_and_loops_do_not_count_for_metis():
    rng = np.random.default_rng(0)
    ends = rng.integers(0, 50, (2, 200))
    graph = from_edge_index(ends, num_nodes=50, directed=True, self_loops="keep")
    indptr, indices = linked_structure(graph)
    both = matrix_of(graph) + matrix_of(graph).T
    both.setdiag(0)
    both.eliminate_zeros()
    np.testing.assert_array_equal(indptr, both.indptr)
    np.testing.assert_array_equal(indices, both.indices)
    assert graph.partition(8).num_clusters == 8


@pytest.mark.parametrize("num_clusters", [2, 5, 16])
def test_graphs_in_pieces(num_clusters):
    # Ten rings of nine nodes and thirty nodes alone.
    ring = np.arange(90)
    following = ring // 9 * 9 + (ring + 1) % 9
    graph = from_edge_index(np.stack([ring, following]), num_nodes=120)
    clusters = PARTITIONERS["metis"](graph, num_clusters, 0)
    sizes = np.bincount(clusters, minlength=num_clusters)
    assert sizes.min() > 0
    assert sizes.max() <= 120 / num_clusters * 1.6


def test_a_star_and_an_edge():
    star = from_edge_index(np.stack([np.zeros(49, np.int64), np.arange(1, 50)]))
    for num_clusters in (2, 8, 50):
        found = star.partition(num_clusters)
        assert 1 < found.num_clusters <= num_clusters
    edge = from_edge_index(np.array([[0], [1]]), num_nodes=5)
    assert edge.partition(5).num_clusters > 1
    loop = from_edge_index(
        np.array([[0], [0]]), num_nodes=4, directed=True, self_loops="keep"
    )
    assert loop.partition(2).num_clusters == 2


def test_lone_nodes_fill_the_smallest_clusters():
    found = fill_clusters(np.array([5, 1, 3, 3]), 8)
    np.testing.assert_array_equal(np.bincount(found, minlength=4), [0, 4, 2, 2])
    assert len(fill_clusters(np.array([3, 3]), 1)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_clusters": 0}, "num_clusters=0"),
        ({"num_clusters": 61}, r"num_clusters=61.*1\.\.60"),
        ({"num_clusters": 2.5}, "not a whole number"),
        ({"num_clusters": True}, "not a whole number"),
        ({"method": "mettis"}, "did you mean 'metis'"),
        ({"method": "nothing"}, "expected one of hash, range, metis"),
        ({"method": "hdrff"}, "did you mean 'hdrf'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, r"seed=0\.5"),
    ],
)
def test_bad_requests(options, said):
    with pytest.raises(PartitionError, match=said) as error:
        partition_graph(make_graph(), **{"num_clusters": 4, **options})
    assert "\n" not in str(error.value)


def test_another_method_can_be_added(monkeypatch):
    monkeypatch.setitem(PARTITIONERS, "pairs", lambda g, k, s: np.arange(60) // 2 * 5)
    with pytest.warns(UserWarning, match="'pairs' gave 30 clusters, asked for were 4"):
        found = make_graph().partition(4, "pairs")
    assert found.num_clusters == 30
    monkeypatch.setitem(PARTITIONERS, "wrong", lambda g, k, s: np.zeros(3))
    with pytest.raises(PartitionError, match="integers \\(60,\\)"):
        make_graph().partition(4, "wrong")


def test_counts_of_clusters():
    graph = make_graph()
    found = graph.partition(7)
    counts, cut = count_clusters(found._block, found.cluster_bounds)
    clusters = np.repeat(np.arange(7), np.diff(found.cluster_bounds))
    rows = clusters[np.repeat(np.arange(60), np.diff(found.indptr))]
    columns = clusters[found.indices]
    np.testing.assert_array_equal(counts.edges, np.bincount(rows, minlength=7))
    assert cut == (rows != columns).sum()


@pytest.mark.parametrize("seeded", [False, True])
def test_every_number_of_parts_is_possible(seeded):
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 9, 30):
        sizes = rng.integers(1, 20, count)
        bounds = np.concatenate(([0], np.cumsum(sizes)))
        edges = rng.integers(0, 100, count) ** 2 // 50
        clusters = Clusters(bounds, edges)
        seeds = np.flatnonzero(rng.random(bounds[-1]) < 0.2) if seeded else None
        for num_parts in range(1, count + 1):
            book = cut_clusters(clusters, seeds, num_parts)
            assert book.dtype == np.int64
            assert len(book) == num_parts + 1
            assert (np.diff(book) > 0).all()
            assert (book[0], book[-1]) == (0, bounds[-1])
            assert np.isin(book, bounds).all()


def test_parts_are_balanced_by_work():
    graph = make_graph(2000, 20_000, train=np.arange(300), val=None, test=None)
    for method in PARTITIONERS:
        part = parts_of(graph.partition(64, method), 4)
        work = node_work(np.diff(graph.indptr).astype(float), graph.splits["train"])
        shares = np.bincount(part, work)
        assert shares.max() / shares.mean() < 1.15


def test_cuts_are_nearest_to_their_due():
    bounds, edges = np.array([0, 10, 20, 30, 40, 50]), np.array([10, 10, 10, 30, 40])
    # 100 entries; nodes weigh a tenth: work 0.12, 0.24, 0.36, 0.68, 1.1.
    assert cut_clusters(Clusters(bounds, edges), None, 2).tolist() == [0, 40, 50]
    assert cut_clusters(Clusters(bounds, edges), None, 3).tolist() == [0, 30, 40, 50]


def test_older_stores_are_cut_where_few_edges_cross():
    bounds, edges = np.arange(0, 110, 10), np.full(10, 10)
    crossing = np.full(11, 50)
    crossing[6] = 1
    # The due is after 5 of 10; a part is 5, so 6 is too far away.
    assert cut_clusters(Clusters(bounds, edges, crossing), None, 2)[1] == 50
    bounds, edges = np.arange(0, 410, 10), np.full(40, 10)
    crossing = np.full(41, 50)
    crossing[21], crossing[23] = 2, 1
    assert cut_clusters(Clusters(bounds, edges, crossing), None, 2)[1] == 210
    # Not worth it: 5 % astray for 2 % fewer edges.
    crossing[21] = 49
    assert cut_clusters(Clusters(bounds, edges, crossing), None, 2)[1] == 200


@pytest.mark.data
@pytest.mark.parametrize("name", ["pubmed", "coauthor_cs", "facebook_large"])
def test_runs_of_clusters_are_as_good_as_a_direct_cut(name, data_dir):
    graph = read_npz(data_dir / f"{name}.npz")
    partitioned = graph.partition(64)
    adjacency = pymetis.CSRAdjacency(*linked_structure(graph))
    weights = np.rint(
        100
        * graph.num_nodes
        * node_work(np.diff(graph.indptr), graph.splits.get("train"))
    ).astype(np.int64)
    for num_parts in (2, 4, 8):
        direct = pymetis.part_graph(num_parts, adjacency, vweights=weights)
        expected = cut_of(graph, np.array(direct.vertex_part))
        found = cut_of(graph, parts_of(partitioned, num_parts))
        assert found == partitioned.quality(num_parts).cut_edges
        assert found < 1.35 * expected


def test_kaminpar_reads_the_file_as_it_is_meant(tmp_path):
    kaminpar = pytest.importorskip("kaminpar")
    graph = planted_partition(300, 1500, 4, num_features=0, seed=3)
    path = tmp_path / "graph.parhip"
    write_parhip(path, graph.indptr, graph.indices, np.arange(1, 301))
    read = kaminpar.load_graph(str(path), kaminpar.GraphFileFormat.PARHIP)
    assert (read.n(), read.m()) == (graph.num_nodes, graph.num_edges)
    assert [read.node_weight(v) for v in range(300)] == list(range(1, 301))
    labels = [int(label) for label in graph.labels]
    assert kaminpar.edge_cut(read, labels) == cut_of(graph, graph.labels) // 2


def test_the_compressed_graph_is_cut_like_the_graph():
    pytest.importorskip("kaminpar")
    graph = planted_partition(4000, 40000, 8, num_features=0, seed=1)
    plain = PARTITIONERS["kaminpar"](graph, 16, 3)
    found = PARTITIONERS["terapart"](graph, 16, 3)
    assert cut_of(graph, found) < 1.1 * cut_of(graph, plain)
    assert np.bincount(found, minlength=16).min() > 0


@pytest.mark.parametrize("method", ["kaminpar", "terapart"])
def test_kaminpar_numbers_are_hierarchical(method):
    pytest.importorskip("kaminpar")
    graph = planted_partition(4000, 40000, 8, num_features=0, seed=1)
    fine = PARTITIONERS[method](graph, 64, 0)
    direct = PARTITIONERS[method](graph, 8, 0)
    assert cut_of(graph, fine // 8) < 1.15 * cut_of(graph, direct)
