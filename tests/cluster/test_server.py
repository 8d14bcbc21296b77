"""Gradients in the order of arrival, on workers of which one is slow."""

import os
import time
from collections import Counter
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from distributed import get_worker
from training import AtStep, die, mostly_slow, trainer

from daskgnn import nn
from daskgnn.train import server
from daskgnn.train.compute.state import hash_parameters

OPTIONS = {"batch_size": 24, "gradients": "server", "window": 10, "lr": 0.01}
EPOCHS = 3
SLOW = {"address": None, "seconds": 0.1}


class Sleepy(nn.GraphSAGE):
    """A model that is slow on one of the workers."""

    def forward(self, x, blocks):
        if self.training:
            with suppress(ValueError):
                if get_worker().address == SLOW["address"]:
                    time.sleep(SLOW["seconds"])
        return super().forward(x, blocks)


def sleepy(graph):
    torch.manual_seed(0)
    return Sleepy(graph.num_features, 16, graph.num_classes, 2)


@pytest.fixture
def path(small_path):
    return small_path


@pytest.fixture
def client(cluster):
    return cluster(2)


def fitted(path, client, epochs=EPOCHS, **options):
    run = trainer(path, 2, client, sleepy, **{**OPTIONS, **options})
    run.fit(epochs)
    return run


@pytest.mark.parametrize("bound", mostly_slow([0, 1, 3, 8], 3))
def test_staleness_is_never_above_the_bound(path, client, bound):
    SLOW["address"] = max(client.scheduler_info(n_workers=-1)["workers"])
    run = fitted(path, client, staleness=bound, checksum_every=2)
    counts = run.summary()["staleness"]
    assert sum(counts.values()) == 2 * len(run.recorder.history.steps) == 2 * 5 * EPOCHS
    assert max(map(int, counts)) <= bound
    if bound:
        assert set(counts) != {"0"}
    else:
        alone = fitted(path, None, staleness=0)
        losses = [[r["loss"] for r in x.recorder.history.steps] for x in (run, alone)]
        # One at a time, in an order that depends on who was free.
        np.testing.assert_allclose(*losses, atol=0.5)
    epochs = [epoch["loss"] for epoch in run.recorder.history.epochs]
    assert epochs[-1] < epochs[0]


@pytest.mark.parametrize("bound", mostly_slow([1, 4], 4))
def test_the_staleness_on_record_is_that_of_the_parameters(
    path, client, bound, monkeypatch
):
    """Workers hash what they computed with; here is hashed what it is applied to."""
    said, found = [], []

    class Witness(server._Updates):
        def __init__(self, *given):
            super().__init__(*given)
            self.used, self.hashes = {}, [hash_parameters(self.before.parameters)]

        def receive(self, unit, *found):
            super().receive(unit, *found)
            self.used[unit] = said.pop()

        def _apply(self, unit, share):
            newest = len(self.hashes) - 1
            found.append(str(newest - self.hashes.index(self.used[unit])))
            super()._apply(unit, share)
            self.hashes.append(hash_parameters(self.state.parameters))

    def keep_digest(copies, done):
        (digest,) = (d for name, d in copies.items() if name != "this process")
        said.append(digest)

    monkeypatch.setattr(server, "_Updates", Witness)
    monkeypatch.setattr(server, "check_copies", keep_digest)
    SLOW["address"] = max(client.scheduler_info(n_workers=-1)["workers"])
    run = fitted(path, client, staleness=bound, checksum_every=1)
    assert run.run_state.total.staleness == Counter(found)
    assert 0 < max(map(int, found)) <= bound


COMPENSATIONS = ["linear", "inverse", "dc-asgd"]


@pytest.mark.slow
@pytest.mark.parametrize("compensation", COMPENSATIONS)
def test_late_gradients_are_compensated(path, client, compensation):
    SLOW["address"] = max(client.scheduler_info(n_workers=-1)["workers"])
    run = fitted(path, client, staleness=4, compensation=compensation)
    epochs = [epoch["loss"] for epoch in run.recorder.history.epochs]
    assert epochs[-1] < epochs[0]


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint(path, client, tmp_path):
    SLOW["address"] = None
    fitted(path, client, 2, out=tmp_path / "run")
    again = trainer(path, 2, client, sleepy, out=tmp_path / "run", **OPTIONS)
    again.fit(6, resume=True)
    losses = [epoch["loss"] for epoch in again.recorder.history.epochs]
    assert [epoch["epoch"] for epoch in again.recorder.history.epochs] == [2, 3, 4, 5]
    first = fitted(path, client, 1).recorder.history.epochs[0]["loss"]
    assert max(losses) < first
    assert sum(again.summary()["staleness"].values()) == 2 * 5 * 6


@pytest.mark.slow
def test_one_worker_alone_is_plain_sgd(path, cluster):
    SLOW["address"] = None
    options = {"optimizer": "sgd", "lr": 0.1}
    run = fitted(path, cluster(1), **options)
    assert run.summary()["staleness"] == {"0": 2 * 5 * EPOCHS}
    assert run.params_sha256 == fitted(path, None, **options).params_sha256


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings(r"ignore:unclosed <socket.*'0.0.0.0', 0:ResourceWarning")
def test_a_killed_worker_is_no_end(path, killable):
    SLOW["address"] = None
    pid = min(killable.run(os.getpid).values())
    run = fitted(path, killable, 8, progress=AtStep(6, partial(die, pid)))
    assert pid not in killable.run(os.getpid).values()
    assert len(run.recorder.history.steps) == 40
    epochs = [epoch["loss"] for epoch in run.recorder.history.epochs]
    assert epochs[-1] < epochs[0]
