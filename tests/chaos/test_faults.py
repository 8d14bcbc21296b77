"""What a run outlives, one trial of each kind; `tests/faults.py` runs series."""

import os
import time

import pytest
from dask.task_spec import Task
from faults import FAULTS, PARTS, WINDOW, kill, pids, run_trial, undisturbed
from training import planted_graph, stored

from daskgnn.dataflow.executor import ClusterExecutor
from daskgnn.train.cluster import own_cluster

pytestmark = pytest.mark.timeout(240)

QUICK = ["all of 2 at once", "kill -9 of the scheduler"]
LONG = sorted(set(FAULTS) - set(QUICK))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="module")
def expected(path):
    return undisturbed(path)


def check(path, expected, name, seed, steps="auto", **options):
    trial = run_trial(path, expected, *FAULTS[name], seed, steps, **options)
    assert trial.same
    assert trial.steps_redone <= 2 * WINDOW
    print(trial)


@pytest.mark.parametrize("name", QUICK)
def test_bits_and_steps_survive(path, expected, name):
    check(path, expected, name, 0)


@pytest.mark.chaos
@pytest.mark.parametrize("steps", ["tasks", "window"])
@pytest.mark.parametrize("name", LONG)
def test_bits_and_steps_survive_the_others_too(path, expected, name, steps):
    check(path, expected, name, 1, steps)


@pytest.mark.chaos
@pytest.mark.parametrize("policy", ["static", "lru"])
def test_halo_caches_go_with_their_parts(path, expected, policy):
    options = {"halo_cache": "2 kB", "halo_cache_policy": policy}
    check(path, expected, "kill -9 of one of 2", 2, **options)


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
        events = {event["event"] for event in executor.settle([])}
        assert events >= {"worker_lost", "worker_joined"}
        assert not before & {executor.worker_of(part) for part in range(PARTS)}
