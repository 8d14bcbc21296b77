"""Runs on features that stay sparse outlive a worker, and give the same bits."""

import os
import random
import signal
from itertools import count

import numpy as np
import pytest
from training import AtStep, planted_graph, small_sage, stored, trainer

from daskgnn.cluster.clusters import own_cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
EPOCHS = 4


@pytest.fixture(scope="module")
def words_path(tmp_path_factory):
    rng = np.random.default_rng(2)
    bags = (rng.random((400, 300)) < 0.02) * rng.normal(1, 1, 300)
    bags[np.arange(400), planted_graph().labels] = 3
    graph = planted_graph(features=bags.astype(np.float32))
    return stored(graph, tmp_path_factory.mktemp("words") / "words.zarr")


@pytest.mark.parametrize("steps", ["window", "tasks"])
def test_a_worker_is_killed(words_path, steps):
    options = {"sparse_features": True, "window": 3, "steps": steps}
    alone = trainer(words_path, 2, None, small_sage, **options)
    alone.fit(EPOCHS)
    killed = count()
    with own_cluster(2) as client:
        pids = client.run(os.getpid)

        def kill_one():
            next(killed)
            os.kill(random.Random(steps).choice(sorted(pids.values())), signal.SIGKILL)

        run = trainer(
            words_path, 2, client, small_sage, progress=AtStep(7, kill_one), **options
        )
        run.fit(EPOCHS)
        assert set(pids.values()) - set(client.run(os.getpid).values())
    assert next(killed) == 1
    assert run.params_sha256 == alone.params_sha256
