"""A scheduler that dies by SIGKILL takes nothing with it."""

import os
import random
import signal

import pytest
from training import planted_graph, stored, trainer

from daskgnn.train.cluster import own_cluster

EPOCHS, STEPS = 4, 10

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, 2, None, batch_size=20, window=4)
    run.fit(EPOCHS)
    return facts(run)


def facts(run):
    losses = [record["loss"] for record in run.recorder.history.steps]
    assert len(losses) == EPOCHS * STEPS
    epochs = [record["val_accuracy"] for record in run.recorder.history.epochs]
    return run.params_sha256, losses, epochs, run.summary()["test_accuracy"]


class KillAt:
    """A progress that kills a process when a step, or an epoch, is reported."""

    def __init__(self, pid, step=None, epoch=None):
        self.pid, self.at = pid, {"step": step, "epoch": epoch}
        self.events = []

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def step(self, record):
        if record["step"] == self.at["step"]:
            self.kill()

    def epoch(self, record):
        if record["epoch"] == self.at["epoch"]:
            self.kill()

    def event(self, record):
        self.events.append(record)

    def started(self, info):
        pass

    finished = started


def scheduler_pid(client):
    return client.run_on_scheduler(os.getpid)


@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_the_own_cluster_is_started_anew(path, undisturbed, steps):
    step = random.Random(f"scheduler {steps}").randrange(EPOCHS * STEPS - STEPS)
    with own_cluster(2) as client:
        pid = scheduler_pid(client)
        assert pid != os.getpid()
        killer = KillAt(pid, step)
        run = trainer(
            path, 2, client, batch_size=20, window=4, steps=steps, progress=killer
        )
        run.fit(EPOCHS)
        assert facts(run) == undisturbed
        assert scheduler_pid(run.executor.client) != pid
    names = [record["event"] for record in killer.events]
    assert names.count("scheduler_lost") == 1
    (recovered,) = [r for r in killer.events if r["event"] == "recovered"]
    assert recovered["schedulers"] == 1
    assert recovered["steps_redone"] <= 4
