"""Losses that are means train as in torch: the oracle is torch on the whole batch."""

from functools import partial

import numpy as np
import pytest
import torch
from field_steps import cross_entropy, flat, linear, recorded, run_of, torchs
from torch import nn
from training import planted_graph

from daskgnn.errors import InputError
from daskgnn.tasks import Targets, Task

WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.7])


def by_hand(outputs, labels):
    each = cross_entropy(outputs, labels, reduction="none")
    weight = WEIGHTS[labels]
    return (weight * each).sum() / weight.sum()


def brier(outputs, labels):
    target = nn.functional.one_hot(labels, 4)
    return ((outputs.softmax(1) - target) ** 2).mean()


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (nn.CrossEntropyLoss(), "mean"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "mean"),
        (nn.MultiMarginLoss(), "mean"),
        (brier, "mean"),
        (nn.CrossEntropyLoss(weight=WEIGHTS), "weighted mean"),
        (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2), "weighted mean"),
        (nn.CrossEntropyLoss(ignore_index=2), "weighted mean"),
        (partial(cross_entropy, weight=WEIGHTS), "weighted mean"),
        (by_hand, "weighted mean"),
    ],
)
def test_a_mean_is_that_of_the_whole_batch(loss, found):
    model, theirs = linear(), linear()
    run = run_of(model, 3, loss=loss)
    run.fit(1)
    wanted = torchs(theirs, run, loss)
    assert recorded(run) == pytest.approx(wanted, rel=2e-6)
    np.testing.assert_allclose(run.run_state.state.parameters, flat(theirs), atol=2e-6)
    assert run.summary()["loss_reduction"] == found


@pytest.mark.parametrize(
    ("options", "num_parts"),
    [
        ({"gradients": "ring"}, 3),
        ({"compress": "topk:1"}, 3),
        ({"local_steps": 1}, 1),
        ({"gradients": "server", "staleness": 0}, 1),
    ],
)
def test_weights_travel_every_way(options, num_parts):
    loss = nn.CrossEntropyLoss(weight=WEIGHTS)
    theirs = linear()
    run = run_of(linear(), num_parts, loss=loss, **options)
    run.fit(1)
    assert recorded(run) == pytest.approx(torchs(theirs, run, loss), rel=2e-6)


def test_a_sum_is_what_it_was():
    one = run_of(linear(), loss=nn.CrossEntropyLoss(reduction="sum"))
    other = run_of(linear())
    one.fit(1)
    other.fit(1)
    assert one.params_sha256 == other.params_sha256
    assert one.summary()["loss_reduction"] == "sum"


def test_seeds_without_a_label_do_not_count():
    data = planted_graph(120, name="small")
    data.labels[data.splits["train"][::3]] = -1
    loss = nn.CrossEntropyLoss(ignore_index=-1)
    theirs = linear()
    run = run_of(linear(), 4, data, loss=loss, batch_size=8)
    run.fit(1)
    assert recorded(run) == pytest.approx(torchs(theirs, run, loss), rel=2e-6)


def of_given(outputs, labels):
    """The mean over the labels that are given."""
    given = ~torch.isnan(labels)
    return nn.functional.binary_cross_entropy_with_logits(outputs[given], labels[given])


@pytest.mark.parametrize(
    ("loss", "missing"), [(nn.BCEWithLogitsLoss(), False), (of_given, True)]
)
def test_several_labels_a_node(loss, missing):
    data = planted_graph(120, name="small")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (120, 4)).astype(np.float32)
    data = planted_graph(120, name="small", labels=labels)
    if missing:
        data.labels[rng.random(labels.shape) < 0.3] = np.nan
    theirs = linear()
    run = run_of(linear(), 3, data, loss=loss)
    run.fit(1)
    assert recorded(run) == pytest.approx(torchs(theirs, run, loss), rel=2e-6)


def of_hard_seeds(outputs, labels):
    each = cross_entropy(outputs, labels, reduction="none")
    return (each * each.detach()).sum() / each.detach().sum()


class MeanTask(Task):
    tables = ()

    def targets(self, graph, split):
        nodes = graph.splits.get(split, np.empty(0, np.int64))
        return Targets(graph.original_ids_of(nodes), nodes[:, None])

    def loss(self, h, batch):
        return (h[batch.rows[:, 0]] ** 2).mean()

    def partial(self, h, batch):
        return {"n": len(h)}

    def score(self, total):
        return {"accuracy": float(total["n"])}


def weighted_by_batch(outputs, labels):
    counts = torch.bincount(labels, minlength=4).float()
    return cross_entropy(outputs, labels, weight=1 / (counts + 1))


def summed_by_batch(outputs, labels):
    most = labels.bincount(minlength=4).float()[labels] / len(labels)
    return (cross_entropy(outputs, labels, reduction="none") / (1 + most)).sum()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (nn.CrossEntropyLoss(reduction="none"), r"shape \(1,\).*reduction='mean'"),
        (lambda h, y: h, r"shape \(1, 4\)"),
        (lambda h, y: 1.0, "float"),
        (lambda h, y: cross_entropy(y, h), "fails: NotImplementedError"),
        (lambda h, y: cross_entropy(h, y, reduction="sum") + 1, "neither the sum nor"),
        (of_hard_seeds, "weights seeds by more than their labels"),
        (weighted_by_batch, "depends on which seeds are together"),
        (summed_by_batch, "depends on which seeds are together"),
        (nn.CrossEntropyLoss, r"is a class.*loss=torch\.nn\.CrossEntropyLoss\(\)"),
        (MeanTask, r"is a class.*loss=MeanTask\(\)"),
        (nn.MSELoss(), "loss=MSELoss"),  # without torch's warnings
        ("cross_entropy", "expected a function"),
    ],
)
def test_other_shapes_are_refused_in_one_line(loss, said):
    with pytest.raises(InputError, match=said) as caught:
        run_of(linear(), loss=loss)
    assert "\n" not in str(caught.value)


def test_a_mean_of_an_own_task_is_refused():
    with pytest.raises(InputError, match=r"MeanTask\.loss.*mean.*\.sum\(\)"):
        run_of(linear(), task=MeanTask())
