"""Features on the disk, on a cluster: the bits of a run that has them in memory."""

import pytest
from training import planted_graph, small_sage, stored

import daskgnn
from daskgnn.cluster.clusters import own_cluster


def fitted(path, client, where, **options):
    graph = daskgnn.open_graph(path, 3, features=where)
    options = {"num_neighbors": [4, 3], "batch_size": 24, "window": 3, **options}
    run = daskgnn.Trainer(small_sage(graph), graph, client=client, **options)
    run.fit(2)
    return run


@pytest.mark.parametrize("workers", [1, 2])
def test_both_forms_give_the_bits_of_features_in_memory(tmp_path, workers):
    path = stored(planted_graph(200), tmp_path / "g.zarr")
    alone = fitted(path, None, "memory")
    with own_cluster(workers) as client:
        for steps in ("tasks", "window"):
            there = fitted(path, client, "disk", steps=steps)
            assert there.params_sha256 == alone.params_sha256
            summary = there.summary()
            assert summary["steps_form"] == steps
            assert summary["test_accuracy"] == alone.summary()["test_accuracy"]
