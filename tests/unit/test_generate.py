"""Synthetic graphs: counts, degrees, communities and features as asked for."""

import networkx as nx
import numpy as np
import pytest

from daskgnn.errors import DatasetError
from daskgnn.graph.generate import planted_partition, rmat


def ends(graph):
    return np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr)), graph.indices


@pytest.fixture(scope="module")
def planted():
    return planted_partition(20000, 200000, 10, num_features=16, seed=3)


def test_planted_counts_are_exact(planted):
    assert planted.num_nodes == 20000
    assert planted.num_edges == 400000
    assert planted.num_features == 16
    assert planted.report["duplicates_dropped"] == 0
    assert planted.report["self_loops_dropped"] == 0
    assert np.bincount(planted.labels).tolist() == [2000] * 10


@pytest.mark.parametrize("leave", [0.0, 0.1, 0.24, 1.0])
def test_the_share_of_leaving_edges_is_exact(leave):
    graph = planted_partition(1000, 5000, 4, leave=leave)
    row, column = ends(graph)
    assert (graph.labels[row] != graph.labels[column]).mean() == pytest.approx(leave)


def test_degrees_follow_the_power_law(planted):
    degree = np.diff(planted.indptr)
    assert 0.5 < np.median(degree) / degree.mean() < 0.75
    assert 0.7 * (20 * 20000) ** 0.5 < degree.max() < 1.4 * (20 * 20000) ** 0.5
    # Above the floor the tail of the distribution falls with exponent - 1 = 1.65.
    above = [(degree >= level).mean() for level in (30, 120)]
    assert np.log(above[0] / above[1]) / np.log(4) == pytest.approx(1.65, abs=0.25)


def test_max_degree_caps_the_tail():
    graph = planted_partition(20000, 200000, max_degree=60, num_features=0)
    assert np.diff(graph.indptr).max() < 100


def test_neighbours_features_tell_the_class(planted):
    row, column = ends(planted)
    mean = np.zeros((20000, 16))
    np.add.at(mean, row, planted.features[column])
    centres = np.stack(
        [planted.features[planted.labels == c].mean(0) for c in range(10)]
    )

    def accuracy(x):
        return ((x @ centres.T).argmax(1) == planted.labels).mean()

    assert accuracy(mean) > accuracy(planted.features) + 0.1


def test_splits_have_their_shares():
    graph = planted_partition(1000, 3000, train=0.08, val=0.02, test=0.9)
    assert {name: len(ids) for name, ids in graph.splits.items()} == {
        "train": 80,
        "val": 20,
        "test": 900,
    }
    assert list(planted_partition(99, 300, train=1, val=0, test=0).splits) == ["train"]


def test_ids_are_shuffled_unless_not():
    plain = planted_partition(1000, 3000, shuffle=False)
    assert (np.diff(plain.labels) >= 0).all()
    mixed = planted_partition(1000, 3000)
    assert abs(np.corrcoef(mixed.labels, np.arange(1000))[0, 1]) < 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_gives_one_graph(seed):
    first, second = (planted_partition(500, 2000, seed=seed) for _ in range(2))
    assert np.array_equal(first.indices, second.indices)
    assert np.array_equal(first.features, second.features)
    other = planted_partition(500, 2000, seed=seed + 1)
    assert not np.array_equal(first.indices, other.indices)


def test_small_and_dense_corners():
    full = planted_partition(6, 15, 1, num_features=0)
    assert nx.density(nx.Graph(list(zip(*ends(full), strict=True)))) == 1
    assert planted_partition(2, 1, 2, leave=1.0).num_edges == 2
    assert full.features is None


def test_edges_that_do_not_fit_are_said():
    with pytest.raises(DatasetError, match="only 180 of 300 different edges"):
        planted_partition(40, 300, 4, leave=0.0)


def test_rmat_is_skewed_and_exact():
    graph = rmat(12, 30000, num_features=8, num_classes=5)
    degree = np.diff(graph.indptr)
    assert (graph.num_nodes, graph.num_edges) == (4096, 60000)
    assert degree.max() > 15 * degree.mean()
    assert graph.report["isolated_nodes"] == (degree == 0).sum()
    assert graph.num_classes == 5


def test_rmat_quadrants_have_their_chances():
    graph = rmat(10, 8000, a=0.4, b=0.3, c=0.2, num_features=0, shuffle=False)
    row, column = ends(graph)
    high = (row >= 512) & (column >= 512)
    low = (row < 512) & (column < 512)
    assert low.mean() == pytest.approx(0.4, abs=0.05)
    assert high.mean() == pytest.approx(0.1, abs=0.03)


def test_rmat_without_classes_has_no_labels():
    graph = rmat(6, 100, num_classes=0)
    assert graph.labels is None
    assert graph.num_classes == 0
    assert graph.num_features == 32
