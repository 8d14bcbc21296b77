"""A graph in memory is cut here and trained on workers: the same bits as a store's."""

import pytest
from training import hub_graph, hub_weights, mostly_slow, small_sage

import daskgnn


@pytest.mark.parametrize("method", mostly_slow(["metis", "hdrf"], "metis"))
def test_workers_train_on_what_they_are_sent(tmp_path, cluster, method):
    partitioned = hub_graph(edge_weight=hub_weights()).partition(8, method)
    path = partitioned.save(tmp_path / "g.zarr")
    hashes, scores = set(), []

    def fit(where, client):
        graph = daskgnn.open_graph(where, 2)
        given = {"num_neighbors": [4, 3], "batch_size": 48, "client": client}
        run = daskgnn.Trainer(small_sage(graph), graph, **given)
        run.fit(2)
        hashes.add(run.params_sha256)
        scores.append(run.evaluate("test"))
        assert graph.labels.compute().shape == (400,)

    fit(path, None)
    for count in (1, 2):
        fit(partitioned, cluster(count))
    assert len(hashes) == 1
    assert all(score == scores[0] for score in scores)
