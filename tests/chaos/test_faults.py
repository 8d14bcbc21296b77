"""What a run outlives: series of trials, of which each CI runs some."""

import os
import shutil
import time

import pytest
from dask.task_spec import Task
from faults import (
    FAULTS,
    OPTIONS,
    PARTS,
    Disturber,
    kill,
    pids,
    run_trial,
    series,
    slow_sage,
)
from training import planted_graph, stored, trainer

from daskgnn.cluster.clusters import own_cluster
from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.errors import StoreError

pytestmark = pytest.mark.timeout(240)

QUICK = ["kill -9 of the scheduler"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "trial"), series(FAULTS, QUICK))
def test_bits_and_steps_survive(path, expected, tmp_path, told, name, trial):
    """Both forms in turn."""
    told.name = name
    fault = FAULTS[name]
    steps = ["window", "tasks"][trial % 2]
    facts = expected(fault.epochs)
    seed = f"{name} {trial}"
    seen = run_trial(path, facts, fault, seed, tmp_path / "run", told, steps=steps)
    if "scheduler" in name:
        lost = len(seen.named("scheduler_lost"))
        assert sum(r["schedulers"] for r in seen.named("recovered")) == lost


@pytest.mark.chaos
@pytest.mark.parametrize("policy", ["static", "lru"])
@pytest.mark.parametrize("trial", range(5))
def test_halo_caches_go_with_their_parts(path, expected, tmp_path, told, policy, trial):
    told.name = f"halo cache, {policy}: kill -9 of one of 2"
    options = {"halo_cache": "2 kB", "halo_cache_policy": policy}
    fault = FAULTS["kill -9 of one of 2"]
    seed = f"cache {policy} {trial}"
    facts = expected(fault.epochs)
    run_trial(path, facts, fault, seed, tmp_path / "run", told, **options)


def test_a_loose_pin_to_the_dead_runs_on_the_next_worker():
    """Ready when nobody is there, pinned to who is gone: Dask alone waits for ever."""
    with own_cluster(1) as client:
        executor = ClusterExecutor(client, PARTS)
        before = {executor.worker_of(part) for part in range(PARTS)}
        kill(pids(client))
        key = ("late", 0)
        # Until the scheduler has seen it, the pin may still be taken for a live one.
        while before & set(client.scheduler_info(n_workers=-1)["workers"]):
            time.sleep(0.01)
        executor.submit({key: Task(key, os.getpid)}, [key])
        (pid,) = executor.result([key])
        assert pid in pids(client)
        events = {event["event"] for event in executor.rebalance([])}
        assert events >= {"worker_lost", "worker_joined"}
        assert not before & {executor.worker_of(part) for part in range(PARTS)}


@pytest.mark.chaos
def test_a_store_that_is_replaced_in_a_run_is_refused(tmp_path):
    """The lost blocks are loaded again: from another graph's store they must not be."""
    path = stored(planted_graph(), tmp_path / "g.zarr")

    def replace(client, rng):
        shutil.rmtree(path)
        stored(planted_graph(seed=1), path)
        kill(pids(client))

    with own_cluster(2) as client:
        seen = Disturber(replace, client, None, 10, 0.0)
        run = trainer(path, PARTS, client, slow_sage, progress=seen, **OPTIONS)
        with pytest.raises(StoreError, match="was replaced since it was opened"):
            run.fit(30)
