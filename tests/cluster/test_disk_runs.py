"""Features on the disk, on a cluster: the bits of a run that has them in memory."""

import pytest
from training import mostly_slow, small_sage

import daskgnn


def fitted(path, client, where, **options):
    graph = daskgnn.open_graph(path, 3, features=where)
    options = {"num_neighbors": [4, 3], "batch_size": 24, "window": 3, **options}
    run = daskgnn.Trainer(small_sage(graph), graph, client=client, **options)
    run.fit(2)
    return run


@pytest.mark.parametrize("workers", mostly_slow([1, 2], 2))
def test_both_forms_give_the_bits_of_features_in_memory(small_path, cluster, workers):
    alone = fitted(small_path, None, "memory")
    for steps in ("tasks", "window"):
        there = fitted(small_path, cluster(workers), "disk", steps=steps)
        assert there.params_sha256 == alone.params_sha256
        summary = there.summary()
        assert summary["steps_form"] == steps
        assert summary["test_accuracy"] == alone.summary()["test_accuracy"]
