"""Workers that die in the middle of a step, by their own doing, change no bit."""

import os
import random

import pytest
import torch
from faults import (
    EPOCHS,
    OPTIONS,
    PARTS,
    STEPS,
    check_records,
    die_by_signal,
    die_of_a_segfault,
    die_of_memory,
    facts,
    trials,
)
from training import trainer

from daskgnn import nn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.kernels.counter import DROPOUT, derive_key

pytestmark = pytest.mark.timeout(120)

DEATHS = {
    "SIGKILL within a step": die_by_signal,
    "segmentation fault within a step": die_of_a_segfault,
    "out of memory within a step": die_of_memory,
}


class Mortal(nn.GraphSAGE):
    """A model that is its process's death at a step, once."""

    def __init__(self, *args, fatal_key, once, die, **options):
        super().__init__(*args, **options)
        self.fatal_key, self.once, self.die = fatal_key, once, die

    def forward(self, x, blocks):
        fatal = self.training and blocks[0].dropout_key == self.fatal_key
        if fatal and self.first():
            self.die()
        return super().forward(x, blocks)

    def first(self):
        """Return whether no process has been here before."""
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@pytest.mark.parametrize("trial", trials(4, quick=0))
@pytest.mark.parametrize("name", DEATHS)
def test_a_worker_dies_within_a_step(path, expected, tmp_path, told, name, trial):
    """Between the begin and the end of one part's gradient; both forms in turn."""
    told.name = name
    steps = ["window", "tasks"][trial % 2]
    step = random.Random(f"{name} {trial}").randrange(EPOCHS * STEPS)
    once = tmp_path / "killed"
    options = {
        "fatal_key": derive_key(DROPOUT, 0, *divmod(step, STEPS)),
        "once": str(once),
        "die": DEATHS[name],
    }

    def mortal(graph):
        torch.manual_seed(0)
        sizes = graph.num_features, 16, graph.num_classes, 2
        return Mortal(*sizes, dropout=0.4, **options)

    out = tmp_path / "run"
    with own_cluster(2) as client:
        before = set(client.run(os.getpid).values())
        run = trainer(path, PARTS, client, mortal, steps=steps, out=out, **OPTIONS)
        run.fit(EPOCHS)
        assert once.exists()
        assert before - set(client.run(os.getpid).values())
        told.same = facts(run) == expected(EPOCHS)
    told.redone = check_records(out, EPOCHS)
    assert told.same
