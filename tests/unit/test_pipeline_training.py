"""A pipeline in this process: gradients, schedules, checkpoints."""

import json
import os
import pickle
import signal

import numpy as np
import pytest
import torch
from pipelines import batch, model, pipeline, trained
from torch import nn
from torch.nn import functional

import daskgnn
from daskgnn import nn as gnn
from daskgnn.errors import CheckpointError, InputError, ModelError, TrainingError
from daskgnn.pipeline import MicroBatch, Pipeline
from daskgnn.pipeline.backward import backward, split_backward
from daskgnn.pipeline.gantt import bubble_share, draw_schedule
from daskgnn.pipeline.plan import in_micro_batches
from daskgnn.train.compute.state import flatten, hash_parameters


@pytest.fixture(scope="module")
def expected():
    """Return the facts of the run whose model is in one piece."""
    return {norm: trained(norm=norm) for norm in ("batch", "group")}


WAYS = [
    {"stages": 3, "schedule": "gpipe"},
    {"stages": 4, "schedule": "1f1b"},
    {"stages": 5, "schedule": "zero-bubble"},
    {"stages": 4, "schedule": "interleaved"},
    {"stages": 2, "recompute": True},
    {"stages": 3, "schedule": "zero-bubble", "recompute": True},
    {"device_map": {"layer.0": 0, "1": 1, "2": 1, "3": 0, "layer.4": 1}},
    {"stages": 2, "balance": "time"},
]


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("way", WAYS)
def test_cuts_and_schedules_change_no_bit(way, norm, expected):
    assert trained(norm=norm, **way) == expected[norm]


def test_group_norm_of_channels_last_rows_is_split():
    """Torch crashes where it is asked for the gradients of its parameters alone."""
    x, y = batch()
    found = []
    for way in ({}, {"stages": 5, "schedule": "zero-bubble"}):
        given = model("group").to(memory_format=torch.channels_last)
        how = {"micro_batches": 2, "client": None, **way}
        run = Pipeline(given, functional.cross_entropy, **how)
        found.append((run.step(x, y).loss, run.params_sha256))
    assert found[0] == found[1]


def test_copies_are_added_in_the_fixed_tree():
    expected = trained(copies=3, micro_batches=2)
    for schedule in ("gpipe", "zero-bubble"):
        way = {"copies": 3, "micro_batches": 2, "stages": 2, "schedule": schedule}
        assert trained(**way) == expected


def test_rounded_boundaries_belong_to_the_cut():
    half = trained(stages=2, boundary="bf16")
    assert trained(stages=2, boundary="bf16", schedule="zero-bubble") == half
    assert trained(stages=1, boundary="bf16") == trained()
    assert half != trained()


def test_gradients_are_those_of_plain_torch():
    plain, (x, y) = model("group", torch.float64), batch(dtype=np.float64)
    plain[3][0].p = 0.0
    sent = Pipeline(
        plain,
        functional.cross_entropy,
        stages=2,
        micro_batches=4,
        optimizer="sgd",
        lr=1.0,
        client=None,
    )
    sent.step(x, y)
    loss = functional.cross_entropy(plain(torch.tensor(x)), torch.tensor(y))
    loss.backward()
    moved = [
        p - q
        for p, q in zip(plain.parameters(), sent.module().parameters(), strict=True)
    ]
    for p, step in zip(plain.parameters(), moved, strict=True):
        assert torch.allclose(step, p.grad, atol=1e-12, rtol=1e-5)


def test_batch_norm_is_that_of_each_micro_batch():
    """Checked against plain torch, micro-batch by micro-batch."""
    plain, (x, y) = model(), batch()
    plain[3][0].p = 0.0
    loss = functional.cross_entropy
    sent = Pipeline(
        plain, loss, stages=3, micro_batches=4, optimizer="sgd", lr=1.0, client=None
    )
    sent.step(x, y)
    plain.train()
    for each in in_micro_batches(x, y, 4):
        share = each.rows / len(x)
        (loss(plain(torch.tensor(each.x)), torch.tensor(each.y)) * share).backward()
    after = sent.module()
    for p, q in zip(plain.parameters(), after.parameters(), strict=True):
        assert torch.allclose(p - p.grad, q, atol=1e-6)
    # Running statistics: those of all rows together, by torch's rule.
    norm = nn.BatchNorm2d(8)
    norm(model()[0][0](torch.tensor(x)))
    assert torch.allclose(after[0][1].running_mean, norm.running_mean, atol=1e-6)
    assert torch.allclose(after[0][1].running_var, norm.running_var, atol=1e-6)
    assert after[0][1].num_batches_tracked == 1


class Mixed(nn.Module):
    """Norms, groups, a parameter of its own, paths that meet again."""

    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1, groups=4),
            nn.BatchNorm2d(2 * width),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )
        self.scale, self.side = nn.Parameter(torch.randn(width, 1, 1)), nn.Linear(6, 6)

    def forward(self, x):
        h = self.body(x)
        return x + self.scale * torch.tanh(self.side(h) + h.mean(-1, keepdim=True))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 6)

    def forward(self, x):
        return self.map(self.map(x))


@pytest.mark.parametrize("layer", [Mixed, Twice, nn.ReLU, lambda: nn.Linear(6, 6)])
@pytest.mark.parametrize("is_first", [False, True])
def test_split_backward_gives_the_bits_of_the_whole(layer, is_first):
    torch.manual_seed(0)
    module = layer()
    x = torch.randn(2, 8, 6, 6)
    parameters = list(module.parameters())
    found = []
    for way in (backward, split_backward):
        source = None if is_first else x.clone().requires_grad_()
        out = module(x if source is None else source)
        by_source, rest = way(out, torch.cos(out.detach()), source, parameters)
        grads = rest if way is backward else rest.finish()
        found.append([by_source, *grads])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def test_few_micro_batches_are_held():
    (x, y), held = batch(), {}
    for schedule in ("gpipe", "1f1b", "zero-bubble"):
        run = pipeline(stages=3, schedule=schedule, micro_batches=8)
        held[schedule] = max(run.step(x, y).held.values())
    # One worker: a micro-batch goes through all stages before the next one begins.
    assert held["gpipe"] == 8
    assert held["1f1b"] <= 3
    assert held["zero-bubble"] <= 3


def test_graph_layers_take_their_blocks():
    torch.manual_seed(0)
    model = gnn.GraphSAGE(3, 4, 2, num_layers=2)
    block = gnn.Block.from_csr([0, 2, 3, 4], [1, 2, 0, 1])
    x, y = torch.randn(3, 3), torch.tensor([0, 1, 1])
    beside = {0: (block,), 1: (block,)}
    loss = functional.cross_entropy
    run = Pipeline(model, loss, stages=2, optimizer="sgd", lr=1.0, client=None)
    run.step_on([MicroBatch(x.numpy(), y.numpy(), beside)])
    loss(model(x, [block, block]), y).backward()
    for p, q in zip(model.parameters(), run.module().parameters(), strict=True):
        assert torch.allclose(p - p.grad, q, atol=1e-6)


def test_minibatches_of_a_graph_are_micro_batches(small_path):
    graph = daskgnn.open_graph(small_path, 1)
    torch.manual_seed(0)
    model = gnn.GraphSAGE(graph.num_features, 8, graph.num_classes, 2, dropout=0.5)
    found = []
    for way in ({"stages": 1}, {"device_map": {"layer.0": 0, "layer.1": 1}}):
        batches = iter(graph.minibatches([5, 5], batch_size=16))
        loss, how = functional.cross_entropy, {"micro_batches": 2, "client": None}
        run = Pipeline(model, loss, **how, **way)
        for _ in range(2):
            run.step_on([MicroBatch.of(next(batches)) for _ in range(2)])
        found.append(run.params_sha256)
    assert found[0] == found[1]
    pickle.loads(pickle.dumps(MicroBatch.of(next(batches))))


def test_a_loss_that_is_not_finite_stops_it():
    run = pipeline(stages=2)
    run.step(*batch())
    before, (x, y) = run.params_sha256, batch()
    with pytest.raises(TrainingError, match="the loss of step 1 is nan"):
        run.step(x * np.nan, y)
    assert run.params_sha256 == before


def test_what_cannot_be_sent_is_said():
    given = nn.Sequential(nn.Linear(2, 2))
    given.lock = __import__("threading").Lock()
    with pytest.raises(ModelError, match="cannot be sent to workers"):
        Pipeline(given, functional.mse_loss, client=None)


def test_the_module_is_left_as_it_is():
    given = model()
    before = hash_parameters(flatten(list(given.parameters())))
    run = Pipeline(given, functional.cross_entropy, client=None)
    assert run.params_sha256 == before
    run.step(*batch())
    assert hash_parameters(flatten(list(given.parameters()))) == before
    trained = run.module()
    assert run.params_sha256 == hash_parameters(flatten(list(trained.parameters())))
    out = trained(torch.tensor(batch()[0]))
    assert np.allclose(run.predict(batch()[0]), out.detach().numpy(), atol=1e-6)


def test_the_learning_rate_can_be_given_with_a_step():
    fixed, given = pipeline(lr=0.5, optimizer="sgd"), pipeline(optimizer="sgd")
    fixed.step(*batch())
    given.step(*batch(), lr=0.5)
    assert fixed.params_sha256 == given.params_sha256


# -- runs on record


def test_a_run_is_continued_to_the_same_bits(tmp_path):
    whole, first = pipeline(stages=2), pipeline(stages=2)
    losses = whole.fit(batch, 5, out=tmp_path / "whole")
    assert losses[:3] == first.fit(batch, 3, out=tmp_path / "cut", checkpoint_every=2)
    second = pipeline(stages=4, schedule="zero-bubble")
    assert second.fit(batch, 5, out=tmp_path / "cut", resume=True) == losses[3:]
    assert second.params_sha256 == whole.params_sha256
    summary = json.loads((tmp_path / "cut" / "summary.json").read_text())
    assert summary["params_sha256"] == whole.params_sha256
    lines = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    steps = [r["step"] for r in records if r["event"] == "step"]
    assert steps == list(range(5))
    with pytest.raises(InputError, match="already holds a run"):
        pipeline().fit(batch, 5, out=tmp_path / "cut")


def test_a_checkpoint_of_another_run_is_refused():
    run = pipeline(stages=2)
    with pytest.raises(CheckpointError, match="nothing to keep"):
        run.checkpoint()
    run.step(*batch())
    kept = run.checkpoint(epoch=3)
    assert (kept.step, kept.facts["epoch"]) == (1, 3)
    with pytest.raises(CheckpointError, match="micro_batches=4, this one has 2"):
        pipeline(micro_batches=2).restore(kept)
    run.step(*batch())
    run.restore(kept)
    assert run.steps_done == 1
    assert np.array_equal(
        run.checkpoint().arrays["parameters"], kept.arrays["parameters"]
    )


def test_ctrl_c_ends_a_run_with_a_checkpoint(tmp_path):
    def interrupted(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(step)

    run = pipeline(stages=2)
    with pytest.raises(KeyboardInterrupt):
        run.fit(interrupted, 5, out=tmp_path)
    again = pipeline(stages=2)
    assert len(again.fit(batch, 5, out=tmp_path, resume=True)) == 2
    whole = pipeline()
    whole.fit(batch, 5)
    assert again.params_sha256 == whole.params_sha256


def test_a_step_is_drawn():
    run = pipeline(stages=3, schedule="zero-bubble")
    result = run.step(*batch())
    assert len(result.spans) == 3 * 3 * 4
    assert 0 <= bubble_share(result.spans) < 1
    figure = draw_schedule(run.spans, "zero-bubble")
    assert "workers wait" in figure.axes[0].get_title(loc="left")
    assert figure.to_png().startswith(b"\x89PNG")
    assert run.cut_lines[0].startswith("stage 0: layer.0")
    first = [span for span in run.spans if span.operation.stage == 0]
    (label,) = draw_schedule(first, "", run.cut_lines).axes[0].get_yticklabels()
    assert label.get_text().startswith("w0, stage 0: layer.0")
