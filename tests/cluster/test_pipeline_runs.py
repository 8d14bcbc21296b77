"""Pipelines on workers: the bits of the run in this process, in both forms."""

import functools

import numpy as np
import pytest
import torch
from pipelines import batch, pipeline, trained
from torch import nn

from daskgnn.dataflow.steps.gang import PLUGIN
from daskgnn.pipeline import Pipeline, engine
from daskgnn.pipeline import cluster as pipeline_cluster
from daskgnn.pipeline.run import held_here

FORMS = ("workers", "operations")
WAYS = [
    {"stages": 3},
    {"stages": 4, "schedule": "zero-bubble", "recompute": True},
    {"stages": 4, "schedule": "interleaved"},
    {"stages": 2, "copies": 2, "micro_batches": 2},
    {"stages": 2, "boundary": "bf16"},
]
FEW = {("workers", 0), ("operations", 1), ("workers", 3), ("operations", 3)}
"""What is tried at every run of the tests; the rest is slow."""


@functools.cache
def expected(number):
    """Return the facts of the run in this process."""
    way = WAYS[number]
    names = "copies", "micro_batches"
    stages = way["stages"] if "boundary" in way else 1
    more = {name: way[name] for name in (*names, "boundary") if name in way}
    return trained(stages=stages, **more)


CASES = [
    pytest.param(form, i, marks=() if (form, i) in FEW else pytest.mark.slow)
    for form in FORMS
    for i in range(len(WAYS))
]


def kept(dask_worker):
    return len(dask_worker.plugins[PLUGIN].kept)


@pytest.mark.parametrize(("form", "number"), CASES)
def test_workers_change_no_bit(form, number, cluster):
    client = cluster(2)
    found = trained(client=client, form=form, **WAYS[number])
    assert found == expected(number)
    assert set(client.run(kept).values()) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_will_do(form, workers, cluster):
    found = trained(client=cluster(workers), form=form, stages=3)
    assert found == expected(0)


def test_a_large_state_stays_on_workers(cluster, monkeypatch):
    monkeypatch.setattr(engine, "SMALL_STATE", 0)
    run = pipeline(cluster(2), stages=2)
    losses = [run.step(*batch(step)).loss for step in range(3)]
    assert run._engine.kept.step == 0
    assert (run.params_sha256, losses) == expected(0)[:2]
    assert run._engine.kept.step == 3
    run.close()


@pytest.mark.parametrize("form", FORMS)
def test_large_batches_are_sent_ahead_and_directly(form, cluster, monkeypatch):
    monkeypatch.setattr(pipeline_cluster, "_SENT_APART", 0)
    alone, run = pipeline(), pipeline(cluster(2), stages=2, form=form)
    assert run.fit(batch, 4) == alone.fit(batch, 4)
    assert run.params_sha256 == alone.params_sha256
    run.close()


class Fragile(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(2, 2)

    def forward(self, x):
        if float(x.detach().abs().sum()) > 1e3:
            raise ArithmeticError("too much")
        return self.map(x)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_layer_raises_is_raised_and_undoes_the_step(form, cluster):
    client = cluster(2)
    torch.manual_seed(0)
    given = nn.Sequential(nn.Linear(2, 2), Fragile())
    how = {"stages": 2, "micro_batches": 2, "client": client, "form": form}
    run = Pipeline(given, nn.functional.mse_loss, **how)
    x = np.ones((4, 2), np.float32)
    run.step(x, x)
    before = run.params_sha256
    with pytest.raises(ArithmeticError, match="too much"):
        run.step(x * 1e5, x)
    assert set(client.run(held_here).values()) == {0}
    assert run.params_sha256 == before
    assert run.step(x, x).step == 1
    run.close()
