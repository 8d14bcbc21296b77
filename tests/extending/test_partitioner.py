"""A partitioner of one's own, as a script would write it: the same bits everywhere."""

import os

import numpy as np
import pytest
import scipy.sparse as sp
from training import (
    AtStep,
    die,
    hub_graph,
    mostly_slow,
    planted_graph,
    stop,
    trainer,
)

import daskgnn
from daskgnn.errors import PartitionError
from daskgnn.prepare.stages import prepare

CLUSTERS, PARTS, EPOCHS = 8, 2, 2


class GrownRegions:
    """Gives each node the region of the nearest of some random nodes, by hops."""

    def __init__(self, hops):
        self.hops = hops

    def __call__(self, adjacency, num_clusters, seed):
        rng = np.random.default_rng(seed)
        num_nodes = adjacency.shape[0]
        region = np.full(num_nodes, -1)
        starts = rng.permutation(num_nodes)[:num_clusters]
        region[starts] = np.arange(num_clusters)
        for _ in range(self.hops):
            known = np.flatnonzero(region >= 0)
            places = (np.ones(len(known)), (known, region[known]))
            votes = adjacency @ sp.csr_array(places, (num_nodes, num_clusters))
            new = (region < 0) & (votes.sum(axis=1) > 0)
            region[new] = votes.toarray()[new].argmax(axis=1)
        lost = region < 0
        region[lost] = rng.integers(0, num_clusters, lost.sum())
        return region


def by_row(adjacency, num_clusters, seed):
    """Cut the rows into equal runs."""
    return np.arange(adjacency.shape[0]) * num_clusters // adjacency.shape[0]


OPTIONS = {"window": 3}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "g.zarr"
    graph = planted_graph()
    graph.partition(CLUSTERS, method=GrownRegions(4), seed=5).save(path)
    return str(path)


@pytest.fixture(scope="module")
def alone(path):
    run = trainer(path, PARTS, None, **OPTIONS)
    run.fit(EPOCHS)
    return run.params_sha256


def test_nodes_stay_with_their_clusters(path):
    graph = daskgnn.open_graph(path, PARTS)
    data = planted_graph()
    weights = np.ones(data.num_edges, np.float32)
    adjacency = sp.csr_array((weights, data.indices, data.indptr), (400, 400))
    region = GrownRegions(4)(adjacency, CLUSTERS, 5)
    ids = graph.original_ids.compute()
    stored = graph.num_clusters
    assert stored == len(np.unique(region)) == CLUSTERS
    # Each cluster is a run of storage ids, in the order of original ids.
    changes = np.flatnonzero(np.diff(region[ids]))
    assert len(changes) == CLUSTERS - 1
    for run in np.split(ids, changes + 1):
        assert (np.diff(run) > 0).all()
    assert graph.partitioner["method"] == "GrownRegions"
    assert graph.partitioner["asked"] == CLUSTERS


@pytest.mark.parametrize("workers", mostly_slow([1, 2], 2))
def test_workers_give_the_same_bits(path, alone, cluster, workers):
    run = trainer(path, PARTS, cluster(workers), **OPTIONS)
    run.fit(EPOCHS)
    assert run.params_sha256 == alone


@pytest.mark.slow
def test_a_worker_dies_and_the_bits_are_the_same(path, alone, killable):
    victim = min(killable.run(os.getpid).values())
    progress = AtStep(5, lambda: die(victim))
    run = trainer(path, PARTS, killable, progress=progress, **OPTIONS)
    run.fit(EPOCHS)
    assert victim not in killable.run(os.getpid).values()
    assert run.params_sha256 == alone


def test_stopped_and_resumed_it_gives_the_same_bits(path, alone, tmp_path):
    given = {"out": tmp_path / "run", "checkpoint_every": 2, **OPTIONS}
    first = trainer(path, PARTS, None, progress=AtStep(6, stop), **given)
    with pytest.raises(RuntimeError, match="stopped"):
        first.fit(EPOCHS)
    again = trainer(path, PARTS, None, **given)
    again.fit(EPOCHS, resume=True)
    assert again.params_sha256 == alone


def test_the_graph_is_given_with_its_weights():
    weights = np.random.default_rng(1).random(3200).astype(np.float32)
    data = hub_graph(edge_weight=weights)
    given = []

    def keep(adjacency, num_clusters, seed):
        given.append((adjacency, num_clusters, seed))
        return by_row(adjacency, num_clusters, seed)

    data.partition(CLUSTERS, keep, seed=3)
    (adjacency, count, seed) = given[0]
    np.testing.assert_array_equal(adjacency.data, data.edge_weight)
    np.testing.assert_array_equal(adjacency.indices, data.indices)
    assert (count, seed) == (CLUSTERS, 3)


def test_rows_in_files_are_partitioned_alike(tmp_path):
    rng = np.random.default_rng(0)
    edges = tmp_path / "edges.csv"
    np.savetxt(edges, rng.integers(0, 100, (500, 2)), fmt="%d", delimiter=",")
    daskgnn.read_edge_list(edges).partition(4, by_row).save(tmp_path / "memory.zarr")
    prepare(edges, tmp_path / "files.zarr", method=by_row, num_clusters=4)
    found = [daskgnn.open_graph(tmp_path / f"{n}.zarr") for n in ("memory", "files")]
    assert found[0].checksum == found[1].checksum
    assert found[0].partitioner["method"] == "by_row"


REFUSED = {
    r"few returned an array int64 \(3,\), expected .* integers \(400,\)": (
        "few",
        lambda a, k, s: np.arange(3),
    ),
    r"shares returned an array float64 \(400,\)": (
        "shares",
        lambda a, k, s: np.zeros(400),
    ),
    r"below returned cluster -1, expected 0\.\.7 for num_clusters=8": (
        "below",
        lambda a, k, s: np.arange(400) % k - 1,
    ),
    r"many returned cluster 399, expected 0\.\.7": (
        "many",
        lambda a, k, s: np.arange(400),
    ),
    r"short\(adjacency\) is not of the form short\(adjacency, num_clusters, seed\)": (
        "short",
        lambda adjacency: None,
    ),
    "GrownRegions is a class, expected an object of it": (
        "GrownRegions",
        GrownRegions,
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_gives_no_clusters_is_refused_in_one_line(said):
    name, function = REFUSED[said]
    function.__name__ = name
    with pytest.raises(PartitionError, match=said) as error:
        planted_graph().partition(CLUSTERS, function)
    assert "\n" not in str(error.value)
