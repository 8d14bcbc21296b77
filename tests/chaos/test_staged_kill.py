"""A worker dies while it trains some layers of a graph's model: the same bits."""

import random

import pytest
from faults import EPOCHS, OPTIONS, Disturber, facts, kill_one, kill_scheduler, records
from training import trainer

from daskgnn.cluster.clusters import own_cluster

HOW = {**OPTIONS, "device_map": [0, 1]}

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, 4, None, **HOW)
    run.fit(EPOCHS)
    return facts(run)


def disturbed(path, client, fault, trial, out, **more):
    rng = random.Random(trial)
    seen = Disturber(fault, client, rng, rng.randrange(20), rng.uniform(0, 0.05))
    run = trainer(path, 4, client, progress=seen, out=out, **HOW, **more)
    run.fit(EPOCHS)
    seen.thread.join()
    return facts(run), seen


@pytest.mark.parametrize("trial", range(6))
def test_a_killed_worker_changes_no_bit(path, killable, undisturbed, tmp_path, trial):
    steps = ["window", "tasks"][trial % 2]
    out = tmp_path / "run"
    found, _ = disturbed(path, killable, kill_one, trial, out, steps=steps)
    assert found == undisturbed
    done = [r["step"] for r in records(out) if r["event"] == "step"]
    assert done == list(range(len(undisturbed[1])))


def test_another_scheduler_goes_on(path, undisturbed, tmp_path):
    with own_cluster(2) as client:
        found, seen = disturbed(path, client, kill_scheduler, 1, tmp_path / "run")
    assert found == undisturbed
    assert seen.named("scheduler_lost")
