"""Batch normalisation's running statistics are state: the oracle is torch's own."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from field_steps import OfSeeds, batches, cross_entropy, flat, run_of
from torch import nn
from training import mostly_slow, small_sage, trainer

import daskgnn
from daskgnn.errors import ModelError
from daskgnn.kernels.seeds import cut_runs
from daskgnn.train.compute.state import weights_of


def normalised(seed=0, **options):
    """Return a model with two batch normalisations, one of them without parameters."""
    torch.manual_seed(seed)
    first = nn.BatchNorm1d(8, **options)
    second = nn.BatchNorm1d(6, affine=False, momentum=0.3)
    return OfSeeds(
        nn.Linear(12, 8), first, nn.ReLU(), nn.Linear(8, 6), second, nn.Linear(6, 4)
    )


class Pooled(nn.BatchNorm1d):
    """What the running statistics are: of the rows of all parts as one batch."""

    def forward(self, x):
        rows, self.seen = x, [*getattr(self, "seen", []), x.detach()]
        if len(rows) > 1:
            mean, variance = rows.mean(0), rows.var(0, unbiased=False)
        else:
            mean, variance = self.running_mean, self.running_var
            self.seen.pop()
        h = (x - mean) / torch.sqrt(variance + self.eps)
        return h if self.weight is None else h * self.weight + self.bias

    def step(self):
        """Take the statistics of the parts' rows, by torch itself."""
        if not self.seen:
            return
        plain = nn.BatchNorm1d(self.num_features, momentum=self.momentum, affine=False)
        plain.load_state_dict(self.state_dict(), strict=False)
        plain(torch.cat(self.seen))
        self.load_state_dict(plain.state_dict(), strict=False)
        self.seen = []


def by_hand(model, run, num_parts, epochs, lr):
    """Train as torch does, each part's rows by themselves."""
    layers = [
        Pooled(m.num_features, m.eps, m.momentum, m.affine)
        if isinstance(m, nn.BatchNorm1d)
        else m
        for m in model.layers
    ]
    theirs = nn.Sequential(*layers)
    theirs.load_state_dict(model.layers.state_dict())
    optimizer = torch.optim.SGD(theirs.parameters(), lr=lr)
    for x, y in batches(run, epochs):
        optimizer.zero_grad()
        for first, last in pairwise(cut_runs(len(x), num_parts)):
            if last > first:
                rows = slice(first, last)
                loss = cross_entropy(theirs(x[rows]), y[rows], reduction="sum")
                (loss / len(x)).backward()
        optimizer.step()
        for layer in layers:
            if isinstance(layer, Pooled):
                layer.step()
    return theirs


def same_buffers(model, theirs):
    mine, wanted = model.layers.state_dict(), theirs.state_dict()
    assert mine.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(mine[name], tensor, rtol=1e-5, atol=1e-5)


CASES = [
    (3, 16, None, 0.3),
    (4, 4, 0.1, 0.3),
    (1, 16, 0.1, 0.3),
    (3, 16, 0.1, 0.3),
    # Two rows become 1 and -1, whose gradients are mostly rounding.
    (4, 5, 0.1, 1e-4),
    (7, 4, 0.1, 0.3),
]


@pytest.mark.parametrize(
    ("num_parts", "batch_size", "momentum", "lr"), mostly_slow(CASES, *CASES[:2])
)
def test_running_statistics_are_of_all_parts_rows(num_parts, batch_size, momentum, lr):
    model = normalised(momentum=momentum)
    run = run_of(model, num_parts, batch_size=batch_size, lr=lr, eval_every=99)
    theirs = by_hand(normalised(momentum=momentum), run, num_parts, 2, lr)
    run.fit(2)
    same_buffers(model, theirs)
    expected = theirs.eval()
    with torch.no_grad():
        features = torch.from_numpy(run.graph.features.compute())
        ids = run.graph.original_ids.compute()
        for layer in expected:
            if isinstance(layer, Pooled):
                layer.forward = nn.BatchNorm1d.forward.__get__(layer)
        wanted = expected(features)[np.argsort(ids)]
    np.testing.assert_allclose(run.predict().compute(), wanted, atol=1e-4)


WAYS = [
    {"gradients": "ring", "accumulate": 2, "precision": "fp16"},
    {"gradients": "async", "staleness": 2},
    {"local_steps": 3},
    {"compress": "topk:0.2"},
]


@pytest.mark.parametrize("options", mostly_slow(WAYS, WAYS[0], WAYS[2]), ids=str)
def test_every_way_of_gradients_keeps_them(options, tmp_path):
    """Windows of any length, a resumed run and another order of parts are the same."""
    whole = run_of(normalised(), 5, batch_size=6, window=7, **options)
    whole.fit(2)
    count = int(whole.model.layers[1].num_batches_tracked)
    assert 0 < count <= 2 * whole.plan.steps_per_epoch
    cut = {"window": 2, "checkpoint_every": 2, "out": str(tmp_path / "run"), **options}
    first = run_of(normalised(), 5, batch_size=6, **cut)
    first.fit(1)
    again = run_of(normalised(3), 5, batch_size=6, **cut)
    again.fit(2, resume=True)
    assert again.run_state.state.weights.digest() == (
        whole.run_state.state.weights.digest()
    )
    assert (
        again.run_state.best_weights.digest() == whole.run_state.best_weights.digest()
    )
    assert weights_of(again.model).digest() == weights_of(whole.model).digest()


class Normalised(daskgnn.nn.GraphSAGE):
    """A model of two layers that are evaluated one by one."""

    def __init__(self, *widths, layered=True):
        super().__init__(*widths)
        self.norm = nn.BatchNorm1d(16)

    def layer(self, i, h, block):
        h = super().layer(i, h, block)
        return h if i else self.norm(h)


class InBatches(Normalised):
    """The same, evaluated by whole neighbourhoods."""

    layer = None

    def forward(self, x, blocks):
        for i, block in enumerate(blocks):
            x = Normalised.layer(self, i, x, block)
        return x


def norm_sage(graph, kind=Normalised):
    torch.manual_seed(0)
    return kind(graph.num_features, 16, graph.num_classes, 2)


def test_any_workers_and_both_forms_have_the_same_bits(path, cluster):
    runs = []
    for client, steps in (
        (None, "auto"),
        (cluster(2), "tasks"),
        (cluster(2), "window"),
    ):
        run = trainer(path, 4, client, norm_sage, steps=steps, checksum_every=2)
        run.fit(2)
        runs.append(run)
    digests = {run.run_state.state.weights.digest() for run in runs}
    assert len(digests) == 1
    for run in runs:
        predicted = run.predict().compute()
        np.testing.assert_array_equal(predicted, runs[0].predict().compute())
        assert run.summary()["val_accuracy"] == runs[0].summary()["val_accuracy"]


def test_a_parameter_server_keeps_them(path):
    run = trainer(path, 3, None, norm_sage, gradients="server", staleness=1)
    run.fit(1)
    count = int(run.model.norm.num_batches_tracked)
    assert count == 3 * run.plan.steps_per_epoch
    assert not torch.equal(run.model.norm.running_var, torch.ones(16))


def test_exact_evaluation_uses_them(path):
    """By layers, by batches, and by the model itself on the whole graph."""
    runs = [
        trainer(path, 2, None, lambda g, k=kind: norm_sage(g, k))
        for kind in (Normalised, InBatches)
    ]
    for run in runs:
        run.fit(2)
    one, other = (run.predict().compute() for run in runs)
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert one.std() > 0


def test_the_model_is_in_the_mode_it_was_given_in(path):
    run = trainer(path, 2, None, norm_sage)
    model = run.model
    model.train()
    model.norm.eval()
    before = {name: m.training for name, m in model.named_modules()}
    run.fit(1)
    assert {name: m.training for name, m in model.named_modules()} == before
    assert not model.norm._forward_hooks


def test_a_normalisation_that_stays_in_evaluation_is_left_alone(path):
    class Frozen(Normalised):
        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

    run = trainer(path, 2, None, lambda graph: norm_sage(graph, Frozen))
    run.fit(1)
    assert int(run.model.norm.num_batches_tracked) == 0
    assert torch.equal(run.model.norm.running_mean, torch.zeros(16))


def test_models_without_it_have_the_checkpoints_they_had(path, tmp_path):
    run = trainer(path, 2, None, out=tmp_path / "run")
    run.fit(1)
    arrays = run.recorder.newest().arrays
    assert arrays.keys() <= {
        "parameters",
        "best_parameters",
        "optimizer/exp_avg",
        "optimizer/exp_avg_sq",
        *(f"optimizer/step.{i}" for i in range(20)),
    }


class Counting(daskgnn.nn.GraphSAGE):
    def __init__(self, *widths):
        super().__init__(*widths)
        self.register_buffer("times", torch.zeros(()))

    def forward(self, x, blocks):
        self.times += 1
        return super().forward(x, blocks)


@pytest.mark.parametrize("deterministic", mostly_slow([True, False], True))
def test_other_buffers_that_change_are_refused_by_name(path, deterministic):
    def spectral(graph):
        model = norm_sage(graph, daskgnn.nn.GraphSAGE)
        linear = next(m for m in model.modules() if isinstance(m, nn.Linear))
        nn.utils.parametrizations.spectral_norm(linear)
        return model

    def counting(graph):
        return norm_sage(graph, Counting)

    for model, name in ((counting, "times"), (spectral, "parametrizations.*_u")):
        with pytest.raises(ModelError, match=f"buffer '.*{name}'") as caught:
            trainer(path, 2, None, model, deterministic=deterministic)
        assert "\n" not in str(caught.value)
        assert "deterministic" not in str(caught.value)


def test_small_sage_is_as_it_was(path):
    assert weights_of(trainer(path, 2, None, small_sage).model).statistics is None
    assert flat(normalised()).dtype == np.float32
