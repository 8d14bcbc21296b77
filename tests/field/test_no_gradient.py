"""Parameters without a gradient do not move: the oracle is torch's AdamW."""

import numpy as np
import pytest
import torch
from field_steps import OfSeeds, batches, cross_entropy, flat, run_of
from torch import nn
from training import trainer

import daskgnn


class Partly(OfSeeds):
    """A layer is never used; another only for rows whose first feature is large."""

    def __init__(self, data_dependent):
        torch.manual_seed(0)
        super().__init__(nn.Linear(12, 4))
        self.unused = nn.Linear(3, 3)
        self.seldom = nn.Linear(12, 4)
        self.data_dependent = data_dependent

    def outputs(self, x):
        out = self.layers(x)
        if not self.data_dependent:
            return out
        chosen = x[:, :1] > 1.7
        return out + chosen * self.seldom(x) if chosen.any() else out

    def forward(self, x, blocks):
        return self.outputs(blocks[-1].dst(x))


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.3)


@pytest.mark.parametrize("num_parts", [1, 3])
@pytest.mark.parametrize("data_dependent", [False, True])
def test_a_layer_without_gradient_is_left_alone(data_dependent, num_parts):
    model, theirs = Partly(data_dependent), Partly(data_dependent)
    run = run_of(model, num_parts, optimizer=adamw, batch_size=4)
    run.fit(1)
    optimizer = adamw(theirs.parameters())
    given = []
    for x, y in batches(run):
        optimizer.zero_grad()
        cross_entropy(theirs.outputs(x), y).backward()
        given.append(theirs.seldom.weight.grad is not None)
        optimizer.step()
    if data_dependent:
        assert 0 < sum(given) < len(given)
    np.testing.assert_allclose(run.run_state.state.parameters, flat(theirs), atol=2e-5)


WAYS = [
    {"gradients": "ring", "accumulate": 3},
    {"gradients": "async", "staleness": 1},
    {"gradients": "server", "staleness": 1},
    {"local_steps": 2},
    {"compress": "int8"},
]


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_every_way_of_gradients_leaves_it_alone(options):
    """With more parts than seeds: a part without seeds has no say."""
    model = Partly(False)
    before = flat(model)
    run = run_of(model, 7, optimizer=adamw, batch_size=5, **options)
    run.fit(1)
    after = run.run_state.state.parameters
    np.testing.assert_array_equal(after[52:], before[52:])
    assert (after[:52] != before[:52]).all()


def test_frozen_parameters_do_not_drift_by_averages():
    model = Partly(False)
    model.unused.requires_grad_(False)
    before = flat(model)
    run = run_of(model, 3, optimizer=adamw, local_steps=2)
    run.fit(2)
    np.testing.assert_array_equal(run.run_state.state.parameters[52:], before[52:])


class Unused(daskgnn.nn.GraphSAGE):
    def __init__(self, *widths):
        super().__init__(*widths)
        self.extra = nn.Linear(4, 4)


def unused_sage(graph):
    torch.manual_seed(0)
    return Unused(graph.num_features, 16, graph.num_classes, 2)


def test_workers_and_forms_agree_and_runs_resume(path, cluster, tmp_path):
    options = {"optimizer": "adamw", "weight_decay": 0.2}
    whole = trainer(path, 3, None, unused_sage, **options)
    before = whole.model.extra.weight.detach().clone()
    whole.fit(2)
    assert torch.equal(whole.model.extra.weight, before)
    out = {"out": tmp_path / "run", "steps": "tasks"}
    trainer(path, 3, cluster(2), unused_sage, **options, **out).fit(1)
    again = trainer(path, 3, None, unused_sage, **options, **out)
    again.fit(2, resume=True)
    assert again.params_sha256 == whole.params_sha256
