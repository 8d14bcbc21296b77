"""Where models are cut into stages, and what is said where they cannot be."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import nn

from daskgnn.errors import InputError, ModelError
from daskgnn.nn import GraphSAGE
from daskgnn.pipeline import MicroBatch, Pipeline
from daskgnn.pipeline.cuts import Costs, cut_by_map, cut_evenly, described, time_costs
from daskgnn.pipeline.layers import Layers
from daskgnn.pipeline.plan import in_micro_batches
from daskgnn.pipeline.program import examine

NAMES = tuple(f"layer.{i}" for i in range(4))


class Blocks(nn.Module):
    """A stem, blocks with skip connections inside, a head."""

    def __init__(self):
        super().__init__()
        self.stem, self.shift = nn.Linear(4, 4), nn.Parameter(torch.ones(4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        h = self.stem(x) + self.shift
        for block in self.blocks:
            h = h + block(h)
        return self.head(h)


class Skipping(Blocks):
    """A skip connection over two blocks."""

    def forward(self, x):
        h = self.stem(x)
        return self.head(self.blocks[1](self.blocks[0](h)) + h)


class Branching(Blocks):
    def forward(self, x):
        return self.head(self.blocks[0](x) if x.sum() > 0 else x)


def costliest(costs, bounds):
    behind = [0, *costs.boundaries, 0]
    return max(
        sum(costs.layers[a:b]) + behind[a] + behind[b] for a, b in pairwise(bounds)
    )


def test_the_costliest_stage_costs_least():
    rng = np.random.default_rng(0)
    for stages in (1, 2, 3, 5):
        layers = tuple(rng.integers(1, 20, 7).astype(float))
        costs = Costs(layers, tuple(rng.integers(0, 5, 6).astype(float)))
        found = cut_evenly(costs, stages).bounds
        inner = combinations(range(1, 7), stages - 1)
        best = min(costliest(costs, (0, *bounds, 7)) for bounds in inner)
        assert costliest(costs, found) == best
        assert len(found) == stages + 1


def test_a_large_output_is_not_cut_behind():
    costs = time_costs([1.0, 1.0, 1.0, 1.0], [10, 10**9, 10, 10])
    assert cut_evenly(costs, 2).bounds != (0, 2, 4)
    assert cut_evenly(time_costs([1.0] * 4, [10] * 4), 2).bounds == (0, 2, 4)


def test_a_device_map_cuts_where_devices_change():
    given = {"layer.0": 0, "b": 1, "layer.2": 1, "layer.3": 0}
    found = cut_by_map(NAMES, ("a", "b", "c", "d"), given)
    assert found.bounds == (0, 1, 3, 4)
    assert found.devices == (0, 1, 0)
    assert "stage 1: layer.1 to layer.2 (5 things)" in described(
        found, NAMES, {"things": [1, 2, 3, 4]}
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layer.9": 0}, "names 'layer.9', which is not a layer: expected layer.0 to"),
        ({"layer.0": 0}, "leaves out layer.1, layer.2, layer.3: give each layer"),
        (dict.fromkeys(NAMES, "cpu"), "'layer.0': 'cpu', expected a whole number"),
        (dict.fromkeys(NAMES, 1), r"uses the devices \[1\], expected all numbers"),
        (3, "device_map=3, expected the device of each layer"),
    ],
)
def test_a_wrong_device_map_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        cut_by_map(NAMES, NAMES, given)


LOSS = nn.functional.mse_loss


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stages": 3}, "stages=3 for a model of 2 layers: give stages=2 or fewer"),
        ({"stages": 0}, "stages=0, expected a whole number from 1"),
        ({"micro_batches": 0}, "micro_batches=0, expected a whole number from 1"),
        ({"schedule": "fast"}, "schedule='fast', expected one of gpipe, 1f1b"),
        ({"form": "threads"}, "form='threads', expected one of auto"),
        ({"stages": 1, "device_map": {}}, "stages and device_map both say"),
        ({"balance": "time", "boundary": "bf16"}, "balance='time' with boundary="),
        ({"client": 7}, "client=7 is not a Dask client"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(InputError, match=said):
        Pipeline(model, LOSS, **{"client": None, **options})


def test_small_batches_and_other_counts_are_refused():
    run = Pipeline(nn.Sequential(nn.Linear(2, 2)), LOSS, micro_batches=4, client=None)
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(InputError, match="3 rows cannot be cut into 4 micro-batches"):
        run.step(x, x)
    with pytest.raises(InputError, match="1 micro-batches, expected 4"):
        run.step_on([MicroBatch(x, x)])
    with pytest.raises(InputError, match="expected an array of rows"):
        run.step(None, x)


def test_rows_left_over_go_to_the_first_micro_batches():
    x = np.arange(11)
    found = in_micro_batches(x, (x, x), 4)
    assert [batch.rows for batch in found] == [3, 3, 3, 2]
    assert np.array_equal(np.concatenate([batch.y[1] for batch in found]), x)


# -- models that are no Sequential


def test_pieces_compute_what_the_model_does():
    model, x = Blocks(), torch.randn(3, 4)
    layers = Layers(model, ["blocks.2", "head"])
    h = x
    for i in range(len(layers)):
        h = layers.run(i, h)
    assert torch.equal(h, model(x))
    assert layers.names == ("first", "blocks.2", "head")
    count = [len(list(layers.scope(i).parameters())) for i in range(3)]
    assert count == [7, 4, 2]


@pytest.mark.parametrize(
    ("model", "cut_at", "said"),
    [
        (Blocks(), [], "Blocks cannot be cut into stages: make it a torch.nn.Sequen"),
        (Blocks(), ["tail"], "names 'tail', and Blocks has no such module"),
        (Blocks(), ["head", "blocks.1"], "in the order in which forward"),
        (Blocks(), ["stem"], "without the first one"),
        (Skipping(), ["blocks.3"], "names 'blocks.3', which forward.. does not call"),
        (
            Skipping(),
            ["blocks.1"],
            "cut at 'blocks.1': what 'stem' returns is used behind it by 'add', too",
        ),
        (Branching(), ["head"], "torch.fx cannot follow its forward"),
    ],
)
def test_where_a_model_cannot_be_cut_is_said(model, cut_at, said):
    with pytest.raises(ModelError, match=said) as caught:
        Layers(model, cut_at)
    assert "\n" not in str(caught.value)


class Numbered(nn.Module):
    """A model with layers by number; the second uses a parameter of the model's."""

    num_layers = 2

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norm, self.scale = nn.BatchNorm1d(4), nn.Parameter(torch.ones(4))
        self.register_buffer("calls", torch.zeros(1))

    def layer(self, i, x):
        return self.maps[i](x) if i == 0 else self.norm(self.maps[i](x) * self.scale)


def test_a_trial_tells_which_layer_uses_what():
    first, second = examine(Layers(Numbered()), np.ones((2, 4), np.float32))
    names = [name for name, _ in Numbered().named_parameters()]
    assert [names[k] for k in first.parameters] == ["maps.0.weight", "maps.0.bias"]
    assert {names[k] for k in second.parameters} == {
        *("scale", "maps.1.weight", "maps.1.bias", "norm.weight", "norm.bias")
    }
    assert (first.norms, second.norms, second.calls) == ((), (0,), (1,))


def test_a_stack_of_graph_layers_is_cut_by_its_layers():
    layers = Layers(GraphSAGE(4, 8, 2, num_layers=3))
    assert layers.names == ("layer.0", "layer.1", "layer.2")


class Counting(Numbered):
    def layer(self, i, x):
        self.calls += 1
        return super().layer(i, x)


class Sharing(Numbered):
    def layer(self, i, x):
        return self.maps[0](x)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Counting(), "the buffer 'calls' changes in training"),
        (Sharing(), "layer.0 and layer.1 share 'maps.0.weight'"),
        (nn.Sequential(nn.Linear(4, 4).half()), "float16, expected all of float32"),
        (nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3)), "layer.1 cannot take what"),
        (nn.Sequential(nn.Identity(), nn.LSTM(4, 4)), "layer.1 returns tuple, expect"),
    ],
)
def test_what_a_trial_finds_wrong_is_said(model, said):
    with pytest.raises(ModelError, match=said) as caught:
        examine(Layers(model), np.ones((2, 4), np.float32))
    assert "\n" not in str(caught.value)
