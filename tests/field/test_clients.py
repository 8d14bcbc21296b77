"""Clients of every kind: what can be used is, what cannot is told in one line."""

import asyncio

import dask
import pytest
from distributed import Client, LocalCluster
from training import trainer

import daskgnn
from daskgnn.cluster import ready
from daskgnn.cluster.clusters import OWN_CLUSTER
from daskgnn.errors import ClusterError, NoWorkerError, TrainingError
from daskgnn.prepare.stages import prepare

IN_PROCESS = {"dashboard_address": "127.0.0.1:0", "processes": False}
"""Of a cluster whose workers are threads of this process."""


@pytest.fixture(autouse=True)
def own_timeouts():
    """Put back what a cluster of this process has set."""
    name = "distributed.comm.timeouts"
    before = dict(dask.config.get(name))
    yield
    dask.config.set({name: before})


def asynchronously(cluster, use):
    """Call `use` with an asynchronous client, in a coroutine."""
    address = cluster(1).scheduler.address

    async def main():
        async with Client(address, asynchronous=True, set_as_default=False) as client:
            return await use(client)

    return asyncio.run(main())


def test_an_asynchronous_client_is_refused_where_it_would_wait(small_path, cluster):
    async def use(client):
        trainer(small_path, 1, client)

    with pytest.raises(ClusterError, match=r"asyncio\.to_thread"):
        asynchronously(cluster, use)


def test_a_thread_of_a_coroutine_can_use_it(small_path, cluster):
    async def use(client):
        run = await asyncio.to_thread(trainer, small_path, 1, client)
        with pytest.raises(ClusterError, match=r"asyncio\.to_thread"):
            run.evaluate("test")
        await asyncio.to_thread(run.fit, 1)
        return run.params_sha256

    alone = trainer(small_path, 1, None)
    alone.fit(1)
    assert asynchronously(cluster, use) == alone.params_sha256


@pytest.mark.parametrize("call", ["Trainer", "prepare"])
def test_a_client_that_is_closed_already(small_path, tmp_path, cluster, call):
    client = Client(cluster(1).scheduler.address, set_as_default=False)
    client.close()
    edges = tmp_path / "edges.csv"
    edges.write_text("source,target\n0,1\n")
    calls = {
        "Trainer": lambda: trainer(small_path, 1, client),
        "prepare": lambda: prepare(str(edges), str(tmp_path / "x.zarr"), client=client),
    }
    with pytest.raises(ClusterError, match="closed"):
        calls[call]()


def test_an_adaptive_cluster_is_asked_for_a_worker(small_path):
    with (
        LocalCluster(n_workers=0, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        run = trainer(small_path, 1, client)
        assert run.executor.num_workers() == 1
        run.fit(1)
    alone = trainer(small_path, 1, None)
    alone.fit(1)
    assert run.params_sha256 == alone.params_sha256


def test_a_cluster_without_workers_is_not_waited_for_long(small_path, caplog):
    with (
        LocalCluster(n_workers=0, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
        dask.config.set({ready.NO_WORKERS: "2500 ms"}),
        pytest.raises(TrainingError, match="no worker came to the cluster at") as told,
    ):
        trainer(small_path, 1, client)
    assert isinstance(told.value.__cause__, NoWorkerError)
    assert "waiting at most 2.5 s for a worker" in caplog.text


def test_a_plain_client_of_this_machine_gets_its_settings(small_path):
    """No warning: pytest would raise it."""
    connect = "distributed.comm.timeouts.connect"
    with (
        LocalCluster(n_workers=1, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        trainer(small_path, 1, client)
        scheduler = cluster.scheduler
        assert scheduler.worker_ttl == 30
        assert scheduler.allowed_failures == 10
        assert scheduler.no_workers_timeout == 60
        assert "stealing" not in scheduler.periodic_callbacks
        assert set(client.run(dask.config.get, connect).values()) == {"8s"}


def test_the_recommended_settings_need_no_change():
    wanted = daskgnn.recommended_config()
    assert wanted["distributed.scheduler.worker-ttl"] == "30s"
    assert wanted.items() <= OWN_CLUSTER.items()
