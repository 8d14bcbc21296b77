"""Workers that die by SIGKILL change no bit of what is trained."""

import os
import random
import signal
import threading

import pytest
import torch
from training import planted_graph, stored, trainer

from daskgnn import nn
from daskgnn.kernels.counter import DROPOUT, derive_key
from daskgnn.train.cluster import own_cluster

EPOCHS, STEPS = 6, 10
"""Steps of an epoch."""

# The dashboard's port may be taken; tornado then leaves a socket to the collector.
OPEN_SOCKET = r"ignore:unclosed <socket.*'0.0.0.0', 0:ResourceWarning"

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings(OPEN_SOCKET),
]


class Mortal(nn.GraphSAGE):
    """A model that kills its process at a step, once."""

    def __init__(self, *args, fatal_key=None, once=None, **options):
        super().__init__(*args, **options)
        self.fatal_key = fatal_key
        self.once = once

    def forward(self, x, blocks):
        fatal = self.training and blocks[0].dropout_key == self.fatal_key
        if fatal and self.first():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x, blocks)

    def first(self):
        """Return whether no process has been here before."""
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def started(path, client, steps="auto", progress=None, **options):
    """Return a trainer of 2 parts."""

    def model(graph):
        torch.manual_seed(0)
        sizes = graph.num_features, 16, graph.num_classes, 2
        return Mortal(*sizes, dropout=0.4, **options)

    return trainer(
        path,
        2,
        client,
        model=model,
        steps=steps,
        progress=progress,
        batch_size=20,
        window=4,
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="module")
def undisturbed(path):
    """Losses, hash and score of the run that nothing disturbed."""
    run = started(path, None)
    run.fit(EPOCHS)
    return facts(run)


def facts(run):
    losses = [record["loss"] for record in run.recorder.history.steps]
    assert len(losses) == EPOCHS * STEPS
    return run.params_sha256, losses, run.summary()["test_accuracy"]


class KillSoonAfter:
    """A progress that kills a process a moment after a step is reported."""

    def __init__(self, step, seconds, pid):
        self.fatal_step = step
        self.timer = threading.Timer(seconds, self.kill, [pid])
        self.seen = -1
        self.killed_after = None

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        self.killed_after = self.seen

    def step(self, record):
        self.seen = record["step"]
        if self.seen == self.fatal_step:
            self.timer.start()

    def started(self, info):
        pass

    epoch = event = finished = started


@pytest.mark.parametrize("trial", range(3))
@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_a_worker_killed_from_outside(path, undisturbed, steps, trial):
    """At any moment: while it trains, prepares, evaluates or loads."""
    rng = random.Random(f"outside {steps} {trial}")
    step, seconds = rng.randrange(EPOCHS * STEPS // 2), rng.uniform(0, 0.05)
    with own_cluster(2) as client:
        pids = client.run(os.getpid)
        pid = pids[rng.choice(sorted(pids))]
        killer = KillSoonAfter(step, seconds, pid)
        run = started(path, client, steps, killer)
        run.fit(EPOCHS)
        killer.timer.join()
        print(f"{step=} {seconds=:.3f} killed after step {killer.killed_after}")
        assert step <= killer.killed_after < EPOCHS * STEPS - 1
        assert facts(run) == undisturbed
        assert pid not in client.run(os.getpid).values()


@pytest.mark.parametrize("trial", range(3))
@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_a_worker_killed_within_a_step(path, undisturbed, steps, trial, tmp_path):
    """Between the begin and the end of one part's gradient."""
    step = random.Random(f"inside {steps} {trial}").randrange(EPOCHS * STEPS)
    fatal_key = derive_key(DROPOUT, 0, *divmod(step, STEPS))
    once = tmp_path / "killed"
    with own_cluster(2) as client:
        before = set(client.run(os.getpid).values())
        run = started(path, client, steps, fatal_key=fatal_key, once=str(once))
        run.fit(EPOCHS)
        assert once.exists()
        assert facts(run) == undisturbed
        assert before - set(client.run(os.getpid).values())
