"""What parts keep between steps outlives the worker, and the driver, that held it."""

import os
import random
import signal

import pytest
import torch
from training import AtStep, die, forking, trainer

from daskgnn import nn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.kernels.counter import DROPOUT, derive_key

EPOCHS, STEPS = 6, 10
"""Steps of an epoch."""
WAYS = [
    {"compress": "topk:0.05", "ramp_steps": 3},
    {"compress": "powersgd:2", "gradients": "async", "staleness": 2},
    {"local_steps": 3},
    {"gradients": "ring", "accumulate": 3},
    {"compress": "int8", "accumulate": 3, "clip_norm": 0.1, "precision": "bf16"},
]
DETERMINISTIC = [
    {},
    {"gradients": "ring"},
    {"gradients": "async", "staleness": 1},
    {"gradients": "async", "staleness": 2, "compensation": "dc-asgd"},
    {"compress": "topk:0.05"},
    {"compress": "powersgd:2"},
    {"compress": "fp16"},
    {"compress": "bf16"},
    {"compress": "int8"},
    {"accumulate": 4},
    {"local_steps": 4},
    {"clip_norm": 0.1},
    {"precision": "bf16"},
    # With nobody to compete with, arrival is in the order of the plan.
    {"gradients": "server"},
]

# The dashboard's port may be taken; tornado then leaves a socket to the collector.
OPEN_SOCKET = r"ignore:unclosed <socket.*'0.0.0.0', 0:ResourceWarning"

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings(OPEN_SOCKET),
]


class Mortal(nn.GraphSAGE):
    """A model that kills its process at a step, once."""

    fatal_key, once = None, None

    def forward(self, x, blocks):
        if self.training and blocks[0].dropout_key == self.fatal_key:
            try:
                os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x, blocks)


def fitted(path, client, way, steps="auto", fatal_key=None, once=None):
    def mortal(graph):
        torch.manual_seed(0)
        sizes = graph.num_features, 16, graph.num_classes, 2
        model = Mortal(*sizes, dropout=0.4)
        model.fatal_key, model.once = fatal_key, once
        return model

    options = {"batch_size": 20, "window": 4, "steps": steps, **way}
    run = trainer(path, 2, client, model=mortal, **options)
    run.fit(EPOCHS)
    losses = [record["loss"] for record in run.recorder.history.steps]
    assert len(losses) == EPOCHS * STEPS
    return run.params_sha256, losses


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_what_parts_keep_outlives_their_worker(path, steps, way, tmp_path):
    """Residuals, replicas and sums under way come out the same."""
    step = random.Random(f"{way} {steps}").randrange(EPOCHS * STEPS)
    fatal_key = derive_key(DROPOUT, 0, *divmod(step, STEPS))
    once = tmp_path / "killed"
    with own_cluster(2) as client:
        found = fitted(path, client, way, steps, fatal_key, str(once))
        assert once.exists()
    assert found == fitted(path, None, way)


def to_death(path, out, way, step):
    """Train until the process kills itself: the body of another process."""
    options = {"batch_size": 20, "window": 2, "out": out, "checkpoint_every": 3}
    trainer(path, 2, None, progress=AtStep(step, die), **options, **way).fit(EPOCHS)


@pytest.fixture(scope="module")
def processes():
    """Return what starts processes that have imported all, and computed nothing."""
    return forking()


@pytest.mark.parametrize("way", DETERMINISTIC, ids=str)
def test_a_killed_driver_resumes_to_the_same_bits(path, processes, way, tmp_path):
    step = random.Random(str(way)).randrange(5, EPOCHS * STEPS - 5)
    doomed = processes.Process(
        target=to_death, args=(path, tmp_path / "run", way, step)
    )
    doomed.start()
    doomed.join()
    assert doomed.exitcode == -signal.SIGKILL
    options = {"batch_size": 20, "window": 2, **way}
    again = trainer(path, 2, None, out=tmp_path / "run", checkpoint_every=3, **options)
    again.restore()
    assert 0 < again.run_state.state.step <= step
    again.fit(EPOCHS, resume=True)
    whole = trainer(path, 2, None, **options)
    whole.fit(EPOCHS)
    assert again.params_sha256 == whole.params_sha256


def test_a_killed_driver_of_a_parameter_server_goes_on(path, processes, tmp_path):
    """Not to the same bits, which depend on time, but to as low a loss."""
    way, out = {"gradients": "server", "lr": 0.02}, tmp_path / "run"
    doomed = processes.Process(target=serve_to_death, args=(path, out, way, 25))
    doomed.start()
    doomed.join()
    assert doomed.exitcode == -signal.SIGKILL
    options = {"batch_size": 20, "window": 5, **way}
    with own_cluster(2) as client:
        again = trainer(path, 2, client, out=out, checkpoint_every=5, **options)
        again.fit(EPOCHS, resume=True)
        whole = trainer(path, 2, client, **options)
        whole.fit(EPOCHS)
        staleness = again.summary()["staleness"]
        scores = [run.evaluate("test")["accuracy"] for run in (again, whole)]
    assert sum(staleness.values()) == 2 * EPOCHS * STEPS
    assert max(map(int, staleness)) <= 8
    losses = [run.recorder.history.epochs[-1]["loss"] for run in (again, whole)]
    first = whole.recorder.history.epochs[0]["loss"]
    assert max(losses) < 0.8 * first
    assert abs(scores[0] - scores[1]) < 0.1


def serve_to_death(path, out, way, step):
    """Train on two workers until the driver kills itself: they end with it."""
    options = {"batch_size": 20, "window": 5, "out": out, "checkpoint_every": 5}
    with own_cluster(2) as client:
        trainer(path, 2, client, progress=AtStep(step, die), **options, **way).fit(
            EPOCHS
        )
