"""A nanny that kills for memory, again and again: advice, and no hang."""

import time

import numpy as np
import pytest
import torch
from faults import trials
from training import trainer

from daskgnn import nn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.errors import TrainingError

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:the scheduler's settings"),
]

SHARE = 0.08
"""Of a worker's memory limit, above which it is killed here."""


class Hungry(nn.GraphSAGE):
    """A model that takes more memory than its worker may have."""

    def forward(self, x, blocks):
        if self.training:
            taken = np.ones(250_000_000)
            time.sleep(1)
            del taken
        return super().forward(x, blocks)


def hungry(graph):
    torch.manual_seed(0)
    return Hungry(graph.num_features, 16, graph.num_classes, 2, dropout=0.4)


@pytest.mark.parametrize("trial", trials(5, quick=0))
def test_full_memory_ends_with_advice(path, tmp_path, told, trial):
    told.name = "killed by nannies, again and again: ends with advice"
    settings = {
        "distributed.worker.memory.terminate": SHARE,
        "distributed.scheduler.allowed-failures": 2,
    }
    with own_cluster(2, settings) as client:
        run = trainer(path, 2, client, hungry, out=tmp_path / "run")
        with pytest.raises(TrainingError, match="memory was full: lower batch_size"):
            run.fit(1)
        assert (tmp_path / "run" / "checkpoints").is_dir()
