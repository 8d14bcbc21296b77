"""Synthetic graphs: counts, degrees, communities and features as asked for."""

import numpy as np
import pytest

from daskgnn.graph.datasets.generate import planted_partition, rmat
from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.graph.opening import open_graph
from daskgnn.prepare.stages import prepare


def ends(graph):
    return np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr)), graph.indices


def distinct(drawn):
    """Return how many pairs of different nodes a synthetic graph draws."""
    pairs = np.sort(np.stack(drawn.edges(0, drawn.num_edges)), axis=0)
    return len(np.unique(pairs[:, pairs[0] != pairs[1]], axis=1).T)


@pytest.fixture(scope="module")
def planted():
    return planted_partition(20000, 200000, 10, num_features=16, seed=3)


def test_planted_counts(planted):
    assert planted.num_nodes == 20000
    assert planted.report["input_edges"] == 200000
    drawn = Synthetic("planted", 20000, 200000, 10, 16, seed=3)
    assert planted.num_edges == 2 * distinct(drawn) > 390000
    assert planted.report["self_loops_dropped"] == 0
    assert planted.num_features == 16
    assert np.bincount(planted.labels).tolist() == [2000] * 10


@pytest.mark.parametrize("leave", [0.0, 0.1, 0.24, 1.0])
def test_the_share_of_leaving_edges_is_that_asked_for(leave):
    graph = planted_partition(1000, 5000, 4, leave=leave)
    row, column = ends(graph)
    share = (graph.labels[row] != graph.labels[column]).mean()
    # Repeats are left out, and within communities there are more of them.
    assert share == pytest.approx(leave, abs=0.02)
    assert share in (0.0, 1.0) or 0 < leave < 1


@pytest.mark.parametrize(
    ("kind", "graph"),
    [
        ("planted", lambda **o: planted_partition(1024, 4000, 4, **o)),
        ("rmat", lambda **o: rmat(10, 4000, num_classes=4, **o)),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_graph_is_the_same_in_memory_and_in_files(kind, graph, shuffle, tmp_path):
    options = {"num_features": 3, "signal": 2.0, "shuffle": shuffle, "seed": 7}
    options |= {"train": 0.2, "val": 0.3, "test": 0.1}
    here = graph(**options).partition(8, "metis").save(tmp_path / "memory.zarr")
    drawn = Synthetic(kind, 1024, 4000, 4, **options)
    there = prepare(drawn, tmp_path / "files.zarr", method="metis", num_clusters=8)
    assert open_graph(here).checksum == open_graph(there).checksum


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
    graph = planted_partition(10000, 30000, train=0.08, val=0.02, test=0.9)
    sizes = {name: len(ids) for name, ids in graph.splits.items()}
    assert sum(sizes.values()) == 10000
    # Some five standard deviations of a binomial count.
    assert sizes["train"] == pytest.approx(800, abs=140)
    assert sizes["val"] == pytest.approx(200, abs=70)
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


def test_small_corners():
    full = planted_partition(6, 15, 1, num_features=0)
    assert full.features is None
    row, column = ends(full)
    assert (row != column).all()
    assert planted_partition(4, 1, 2, leave=1.0).num_edges == 2


def test_rmat_is_skewed():
    graph = rmat(12, 30000, num_features=8, num_classes=5)
    degree = np.diff(graph.indptr)
    assert graph.num_nodes == 4096
    assert graph.num_edges == 2 * distinct(Synthetic("rmat", 4096, 30000, 5)) > 48000
    assert degree.max() > 15 * degree.mean()
    assert graph.report["isolated_nodes"] == (degree == 0).sum()
    assert graph.num_classes == 5


def test_rmat_quadrants_have_their_chances():
    graph = rmat(10, 8000, a=0.4, b=0.3, c=0.2, num_features=0, shuffle=False)
    row, column = ends(graph)
    high = (row >= 512) & (column >= 512)
    low = (row < 512) & (column < 512)
    # Repeats are left out, most of them in the first quadrant.
    assert low.mean() == pytest.approx(0.4, abs=0.06)
    assert high.mean() == pytest.approx(0.1, abs=0.03)


def test_rmat_without_classes_has_no_labels():
    graph = rmat(6, 100, num_classes=0)
    assert graph.labels is None
    assert graph.num_classes == 0
    assert graph.num_features == 32
