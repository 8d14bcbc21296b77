"""The same bits for any number of workers, and none; the same losses for any parts."""

import numpy as np
import pytest
import torch
from training import mostly_slow, planted_graph, small_sage, stored, trainer

import daskgnn
from daskgnn import nn


@pytest.fixture(scope="module")
def alone(path):
    """Hash and summary of the run in this process."""
    here = trainer(path, 2, None)
    here.fit(3)
    return here.params_sha256, here.summary()


@pytest.mark.parametrize("workers", mostly_slow([1, 2, 3], 1, 3))
def test_hashes_do_not_depend_on_workers(path, alone, cluster, workers):
    there = trainer(path, 2, cluster(workers), window=3)
    history = there.fit(3)
    assert there.params_sha256 == alone[0]
    summary = there.summary()
    assert summary["test_accuracy"] == alone[1]["test_accuracy"]
    assert summary["num_workers"] == workers
    if workers > 1:
        assert summary["remote_bytes"] > 0
        assert summary["remote_rows"] == summary["halo_rows"] > 0
    else:
        assert summary["remote_bytes"] == 0 < summary["halo_rows"]
    assert len(history.epochs) == 3
    if workers == 2:
        _check_predictions(there, path)


def _check_predictions(there, path):
    """Predictions on the cluster equal those in this process, in original order."""
    here = trainer(path, 1, None)
    here.run_state.state = there.run_state.state
    here.run_state.best = there.run_state.best
    mine, theirs = here.predict().compute(), there.predict()
    assert theirs.shape == (400, 4)
    np.testing.assert_allclose(theirs.compute(), mine, atol=1e-5)
    data = planted_graph()
    right = mine.argmax(1)[data.splits["test"]] == data.labels[data.splits["test"]]
    assert right.mean() == pytest.approx(there.evaluate("test")["accuracy"])


@pytest.mark.parametrize("at_once", [True, False])
def test_one_task_or_a_task_a_part_and_layer_score_alike(
    path, alone, cluster, at_once, monkeypatch
):
    """Small graphs take the first way; all may take the second."""
    if not at_once:
        monkeypatch.setattr("daskgnn.train.automatic.SHORT_EVALUATION", 0)
    client = cluster(2)
    there = trainer(path, 2, client)
    there.fit(1)
    before = client.run_on_scheduler(count_of_tasks, "hidden")
    scores = there.evaluate("test")
    layers = client.run_on_scheduler(count_of_tasks, "hidden") - before
    assert (layers == 0) == at_once
    here = trainer(path, 2, None)
    here.fit(1)
    assert scores == here.evaluate("test")


def count_of_tasks(name, dask_scheduler=None):
    """Return how many tasks with keys that begin so the scheduler has ever had."""
    return sum(
        prefix.state_counts["memory"] + prefix.state_counts["released"]
        for prefix in dask_scheduler.task_prefixes.values()
        if prefix.name == name
    )


@pytest.mark.parametrize("precision", mostly_slow(["medium", "bf16"], "bf16"))
def test_other_precisions_have_their_own_bits_everywhere(path, cluster, precision):
    here = trainer(path, 3, None, precision=precision)
    here.fit(2)
    exact = trainer(path, 3, None)
    exact.fit(2)
    losses = [[s["loss"] for s in t.recorder.history.steps] for t in (here, exact)]
    np.testing.assert_allclose(*losses, rtol=0.05)
    for form in ("tasks", "window"):
        there = trainer(path, 3, cluster(2), precision=precision, steps=form)
        there.fit(2)
        assert there.params_sha256 == here.params_sha256


def test_another_seed_gives_another_hash(path, alone):
    other = trainer(path, 2, None, seed=1)
    other.fit(3)
    assert other.params_sha256 != alone[0]


def test_the_window_does_not_matter(path, alone):
    for window in (1, 5):
        other = trainer(path, 2, None, window=window)
        other.fit(3)
        assert other.params_sha256 == alone[0]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Return the paths of stores of one graph, by who has partitioned it."""
    graph, folder = planted_graph(seed=3), tmp_path_factory.mktemp("graphs")
    return {m: stored(graph, folder / f"{m}.zarr", m) for m in ("metis", "hash")}


KINDS = [("sage", [2, 5]), ("gcn", [5, 2]), ("gat", [-1, 3])]


@pytest.mark.parametrize(("make", "num_neighbors"), mostly_slow(KINDS, *KINDS[::2]))
def test_losses_do_not_depend_on_parts_or_partitioner(paths, num_neighbors, make):
    """Dropout on, seeds that are neighbours in different parts, 20 steps."""
    kinds = {
        "sage": small_sage,
        "gcn": lambda g: nn.GCN(12, 16, 4, 2, dropout=0.5, input_dropout=0.3),
        "gat": lambda g: nn.GAT(12, 8, 4, 2, heads=2, dropout=0.3, input_dropout=0.1),
    }
    losses = []
    for method, num_parts in [("metis", 1), ("metis", 4), ("hash", 3)]:
        torch.manual_seed(5)
        model = kinds[make](daskgnn.open_graph(paths[method]))
        run = trainer(
            paths[method],
            num_parts,
            None,
            model=lambda g, model=model: model,
            num_neighbors=num_neighbors,
            batch_size=20,
            lr=0.005,
        )
        history = run.fit(2)
        losses.append([s["loss"] for s in history.steps])
    assert len(losses[0]) == 20
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-4)


def test_more_parts_than_seeds_and_an_empty_run(path):
    tiny = trainer(path, 4, None, batch_size=3)
    tiny.fit(1)
    one = trainer(path, 1, None, batch_size=3)
    one.fit(1)
    a = [s["loss"] for s in tiny.recorder.history.steps]
    b = [s["loss"] for s in one.recorder.history.steps]
    np.testing.assert_allclose(a, b, rtol=1e-3)
