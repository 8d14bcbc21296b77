"""What parts keep between steps outlives the worker that held it."""

import os
import random
import signal

import pytest
import torch
from training import planted_graph, stored, trainer

from daskgnn import nn
from daskgnn.kernels.counter import DROPOUT, derive_key
from daskgnn.train.cluster import own_cluster

EPOCHS, STEPS = 6, 10
"""Steps of an epoch."""
WAYS = [
    {"compress": "topk:0.05"},
    {"compress": "powersgd:2", "gradients": "async", "staleness": 2},
    {"local_steps": 3},
    {"gradients": "ring", "accumulate": 3},
]

# The dashboard's port may be taken; tornado then leaves a socket to the collector.
OPEN_SOCKET = r"ignore:unclosed <socket.*'0.0.0.0', 0:ResourceWarning"

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(120),
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


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


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
