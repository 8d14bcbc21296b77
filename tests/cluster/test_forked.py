"""Clusters that daskgnn starts, where a worker does not start."""

import logging

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from daskgnn.cluster.forked import ForkedCluster


class Unwilling(ProcessInterface):
    """A worker that fails as a nanny does whose process does not come up."""

    async def start(self):
        raise RuntimeError("Nanny failed to start.")


def empty_cluster():
    address = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    return ForkedCluster(n_workers=0, silence_logs=logging.CRITICAL, **address)


def test_a_worker_goes_whose_coming_was_not_told():
    """Closing reads what the scheduler has told: what fails there leaves it open."""
    with empty_cluster() as cluster:

        async def told():
            cluster._update_worker_status("remove", "tcp://127.0.0.1:1")

        cluster.sync(told)
    assert cluster.status == Status.closed


def test_a_worker_that_does_not_start_leaves_no_cluster_open():
    """Dask's `close` swallows every RuntimeError."""
    cluster = empty_cluster()
    cluster.worker_spec["one more"] = {"cls": Unwilling}

    async def start():
        cluster._start_missing()

    cluster.sync(start)
    cluster.close()
    assert cluster.status == Status.closed
