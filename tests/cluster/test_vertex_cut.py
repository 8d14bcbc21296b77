"""Training from a vertex-cut: the same bits for any workers, in any form, and kills."""

import os
import signal

import dask
import numpy as np
import pytest
from training import hub_graph, mostly_slow, stored, trainer

import daskgnn

PARTS = 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(hub_graph(), tmp_path_factory.mktemp("graph") / "g.zarr", "hdrf", 8)


@pytest.fixture(scope="module")
def alone(path):
    return fitted(path, None)


def fitted(path, client, epochs=2, **options):
    run = trainer(path, PARTS, client, window=2, eval_every=epochs, **options)
    run.fit(epochs)
    return run


def facts(run):
    """Return what must not depend on where a run ran."""
    losses = [record["loss"] for record in run.recorder.history.steps]
    summary = run.summary()
    return run.params_sha256, losses, summary["test_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("shares", ["on", "off"])
def test_forms_give_the_same_bits(path, alone, cluster, shares):
    with dask.config.set({"gnn.share-memory": shares}):
        for form in ("tasks", "window"):
            run = fitted(path, cluster(2), steps=form)
            assert set(run.run_state.forms) == {form}
            assert facts(run) == facts(alone)
        np.testing.assert_array_equal(
            run.predict().compute(), alone.predict().compute()
        )


@pytest.mark.slow
def test_a_cache_changes_no_bit(path, alone, cluster):
    for policy in ("lru", "static"):
        cached = {"halo_cache": "2 kB", "halo_cache_policy": policy}
        run = fitted(path, cluster(2), **cached)
        assert run.summary()["cache_hits"]
        assert facts(run)[:2] == facts(alone)[:2]


@pytest.mark.parametrize("steps", mostly_slow(["tasks", "window"], "window"))
def test_a_killed_worker_changes_no_bit(path, alone, killable, steps):
    run = trainer(path, PARTS, killable, window=2, eval_every=2, steps=steps)
    run.fit(1)
    pids = killable.run(os.getpid)
    os.kill(pids[run.executor.worker_of(0)], signal.SIGKILL)
    run.fit(2)
    assert facts(run) == facts(alone)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dbh", "hdrf"])
def test_bytes_are_as_expected(method, tmp_path, cluster):
    data = hub_graph(2000)
    path = stored(data, tmp_path / "g.zarr", method, 8)
    options = {"num_neighbors": [6, 4], "batch_size": 100, "window": 1}
    graph = daskgnn.open_graph(path, 2)
    expected = graph.quality(num_neighbors=[6, 4], batch_size=100)
    run = trainer(path, 2, cluster(2), **options)
    run.fit(1)
    measured = run.run_state.total
    rows, nbytes = measured.remote_rows / 10, measured.remote_bytes / 10
    assert expected.remote_rows_per_step == pytest.approx(rows, rel=0.15)
    assert expected.remote_bytes_per_step == pytest.approx(nbytes, rel=0.15)
