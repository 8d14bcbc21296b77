"""A trainer whose model's layers are on different workers."""

import numpy as np
import pytest
import torch
from training import mostly_slow, small_sage, trainer

from daskgnn import nn
from daskgnn.errors import InputError, ModelError

MAP = {"device_map": [0, 1]}


def fitted(path, client, epochs=2, **options):
    """Return the facts of a run of four parts."""
    run = trainer(path, 4, client, **{"batch_size": 40, **MAP, **options})
    run.fit(epochs)
    losses = [record["loss"] for record in run.recorder.history.steps]
    return run.params_sha256, losses, run.evaluate("test")["accuracy"]


@pytest.fixture(scope="module")
def expected(small_path):
    return fitted(small_path, None)


def test_workers_and_maps_change_no_bit(small_path, cluster, expected):
    named = {"layer.0": 1, "layer.1": 0}
    assert fitted(small_path, cluster(2)) == expected
    assert fitted(small_path, None, device_map=named) == expected
    assert fitted(small_path, None, device_map=[0, 0]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_any_workers_and_both_forms(small_path, cluster, expected, workers, steps):
    assert fitted(small_path, cluster(workers), steps=steps) == expected


class Normed(torch.nn.Module):
    """Has running statistics, and a layer without any parameters."""

    num_layers = 3

    def __init__(self, graph):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(16)
        self.first = nn.SAGEConv(graph.num_features, 16)
        self.second = nn.SAGEConv(16, graph.num_classes)

    def layer(self, i, h, block):
        if i == 0:
            return self.norm(self.first(h, block))
        if i == 1:
            return self.second(h, block)
        return block.aggregate(h, "mean") + block.dst(h)

    def forward(self, x, blocks):
        for i, block in enumerate(blocks):
            x = self.layer(i, x, block)
        return x


def normed(graph):
    torch.manual_seed(0)
    return Normed(graph)


def gat(graph):
    torch.manual_seed(0)
    return nn.GAT(graph.num_features, 8, graph.num_classes, 2, heads=2, dropout=0.2)


def momentum(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20)


LIKE = [
    {},
    {"model": gat, "weight_decay": 0.01},
    {
        "model": normed,
        "num_neighbors": [4, 3, 2],
        "device_map": [0, 1, 1],
        "optimizer": "sgd",
        "lr_scheduler": momentum,
        "scheduler_interval": "step",
    },
    {"optimizer": "sgd", "lr_scheduler": momentum, "scheduler_interval": "step"},
    {"batch_size": 3},
]


@pytest.mark.parametrize("how", mostly_slow(LIKE, LIKE[2]), ids=str)
def test_steps_are_those_of_data_parallelism_but_for_rounding(small_path, how):
    """In batches of three seeds some of the four parts have none."""
    more = {"batch_size": 40, **how}
    staged = trainer(small_path, 4, None, **{**MAP, **more})
    alike = trainer(small_path, 4, None, **{**more, "device_map": None})
    for run in (staged, alike):
        run.fit(1)
    ours, theirs = (
        [record["loss"] for record in run.recorder.history.steps]
        for run in (staged, alike)
    )
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    state, other = staged.run_state.state, alike.run_state.state
    np.testing.assert_allclose(state.parameters, other.parameters, atol=2e-4)
    if other.statistics is not None:
        np.testing.assert_allclose(state.statistics, other.statistics, rtol=1e-4)


def test_a_run_is_resumed_with_other_workers(small_path, cluster, tmp_path, expected):
    out = {"out": tmp_path / "run", "batch_size": 40, **MAP}
    first = trainer(small_path, 4, None, **out)
    first.fit(1)
    second = trainer(small_path, 4, cluster(2), **out)
    second.fit(2, resume=True)
    assert second.params_sha256 == expected[0]
    summary = second.summary()
    assert summary["steps_form"] == "pipeline"
    assert summary["params_sha256"] == expected[0]


class Plain(torch.nn.Module):
    """A model that does not say what its layers are."""

    num_layers = 2

    def __init__(self, graph):
        super().__init__()
        self.stack = small_sage(graph)

    def forward(self, x, blocks):
        return self.stack(x, blocks)


def weighted(outputs, labels):
    return torch.nn.functional.cross_entropy(
        outputs, labels, torch.arange(1.0, outputs.shape[1] + 1)
    )


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"device_map": [0]}, InputError, "leaves out layer.1"),
        ({"device_map": [0, 2]}, InputError, r"the devices \[0, 2\]"),
        ({"device_map": {"conv": 0}}, InputError, "device_map names 'conv'"),
        ({"device_map": "0,1"}, InputError, "the worker of each layer"),
        ({**MAP, "accumulate": 2}, InputError, "accumulate=2 cannot go together"),
        ({**MAP, "clip_norm": 1.0}, InputError, "clip_norm=1.0 cannot go"),
        ({**MAP, "gradients": "server"}, InputError, "gradients='server' cannot"),
        ({**MAP, "precision": "bf16"}, InputError, "precision='bf16' cannot"),
        ({**MAP, "loss": weighted}, InputError, "mean by weights of classes"),
        ({**MAP, "model": Plain}, ModelError, "num_layers and layer"),
    ],
)
def test_what_cannot_go_together_is_refused(small_path, options, error, said):
    with pytest.raises(error, match=said) as caught:
        trainer(small_path, 4, None, **options).fit(1)
    assert "\n" not in str(caught.value)
