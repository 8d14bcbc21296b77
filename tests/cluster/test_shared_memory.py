"""Workers that read each other's blocks: what is sent, and what happens to the dead."""

import os
import signal
from contextlib import contextmanager

import dask
import pytest
from training import mostly_slow, trainer

from daskgnn.cluster.clusters import own_cluster
from daskgnn.kernels.shared import memory_name

pytestmark = pytest.mark.skipif(
    memory_name() is None, reason="no memory that processes can share here"
)


def is_attached(blocks):
    """Return whether the memory of blocks is another process's."""
    return blocks._shared is not None and not blocks.held_bytes


@pytest.fixture(scope="module")
def alone(path):
    run = trainer(path, 4, None)
    run.fit(3)
    return run


@contextmanager
def setting(value):
    with dask.config.set({"gnn.share-memory": value}):
        yield


@pytest.mark.parametrize("steps", mostly_slow(["tasks", "window"], "window"))
def test_nothing_is_sent_and_all_is_counted(path, alone, cluster, steps):
    runs = {}
    for value in ("on", "off"):
        with setting(value):
            run = trainer(path, 4, cluster(2), window=3, steps=steps)
            run.fit(3)
        assert run.params_sha256 == alone.params_sha256
        runs[value] = run.run_state.total
    # Windows are as long as time allows, and each row counts once in one.
    for name in ("remote_rows", "remote_bytes"):
        read, sent = (getattr(runs[value], name) for value in ("on", "off"))
        assert read == pytest.approx(sent, rel=0.1)
    assert runs["on"].messages < runs["off"].messages / 4  # of the first windows


def attached(dask_worker):
    """Return which parts a worker reads in another's memory."""
    held = dask_worker.data.items()
    parts = (k[-1] for k, blocks in held if k[0] == "load-part" and is_attached(blocks))
    return sorted(parts)


@pytest.mark.slow
def test_a_part_outlives_its_holder(path, alone):
    with setting("on"), own_cluster(2) as client:
        run = trainer(path, 4, client, window=3)
        client.amm.stop()  # it drops copies, which are made again
        run.fit(1)
        places = [run.executor.worker_of(part) for part in range(4)]
        lost, left = places[0], places[-1]
        assert client.run(attached, workers=[left])[left] == [0, 1]
        os.kill(client.run(os.getpid, workers=[lost])[lost], signal.SIGKILL)
        run.fit(3)
        assert run.params_sha256 == alone.params_sha256
        assert lost not in [run.executor.worker_of(part) for part in range(4)]


def test_a_worker_without_room_exchanges(path, cluster):
    run = trainer(path, 4, cluster(1), window=3)
    assert run.deployment.shares_memory
    with dask.config.set({"gnn.memory-share": 1e-7}):
        assert not run.deployment.shares_memory
    with dask.config.set({"gnn.remote-aggregation": "on"}):
        assert not run.deployment.shares_memory
    cached = trainer(path, 4, None, halo_cache="1 kB")
    assert not cached.deployment.shares_memory
