"""A scheduler that dies by SIGKILL takes nothing with it."""

import random
import threading
import time
from contextlib import suppress

import pytest
import torch
from faults import (
    EPOCHS,
    OPTIONS,
    PARTS,
    STEPS,
    WINDOW,
    Disturber,
    facts,
    kill,
    kill_scheduler,
    schedulers,
    trials,
)
from training import trainer

from daskgnn.cluster import clusters as cluster
from daskgnn.cluster.clusters import own_cluster

pytestmark = pytest.mark.timeout(180)


def one_cycle(optimizer):
    """Rates that differ in every step: a step counted twice would change the bits."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, EPOCHS * STEPS)


@pytest.mark.parametrize("steps", ["window", "tasks"])
@pytest.mark.parametrize("trial", trials(3, quick=0))
def test_rates_of_steps_survive(path, tmp_path, told, trial, steps):
    """Rates are advanced for a window before it runs, and taken back with it."""
    told.name = f"kill -9 of the scheduler, rates by step, {steps}"
    options = {**OPTIONS, "lr_scheduler": one_cycle, "scheduler_interval": "step"}
    alone = trainer(path, PARTS, None, **options)
    alone.fit(EPOCHS)
    rng = random.Random(f"rates {steps} {trial}")
    at = rng.randrange(EPOCHS * STEPS - STEPS)
    with own_cluster(2) as client:
        seen = Disturber(kill_scheduler, client, rng, at, rng.uniform(0, 0.1))
        run = trainer(path, PARTS, client, steps=steps, progress=seen, **options)
        run.fit(EPOCHS)
        seen.thread.join()
        told.same = facts(run) == facts(alone)
        assert run.run_state.main_form == steps
        # The cluster is another one.
        assert run.executor.client is not client
    (recovered,) = seen.named("recovered")
    told.redone = recovered["steps_redone"]
    assert told.same
    assert len(seen.named("scheduler_lost")) == 1
    assert told.redone <= WINDOW


@pytest.mark.chaos
@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.25, 0.3])
def test_a_cluster_whose_scheduler_dies_as_it_starts_is_given_up(monkeypatch, seconds):
    """Its workers would look for it for ever, and the start would wait for them."""
    monkeypatch.setattr(cluster, "WORKER_START_SECONDS", 8)
    before = schedulers()

    def kill_as_it_starts():
        while not (started := schedulers() - before):
            time.sleep(0.01)
        time.sleep(seconds)
        kill(started)

    killer = threading.Thread(target=kill_as_it_starts)
    killer.start()
    with suppress(Exception), own_cluster(2):
        pass
    killer.join()
    assert schedulers() == before
