"""A task of one's own: links predicted beside drawn ones that are not there."""

import os
from contextlib import suppress

import dask
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import softplus
from training import AtStep, die, mostly_slow, planted_graph, stop, stored

import daskgnn
from daskgnn import nn
from daskgnn.errors import InputError
from daskgnn.kernels.counter import EXPANSION, derive_key, keys_below
from daskgnn.tasks import NodeClassification, Ranking, Targets, Task

OPTIONS = {"num_neighbors": [4, 3], "batch_size": 128, "window": 3, "lr": 0.02}
EPOCHS = 2


class LinkPrediction(Task):
    """Tells an edge's other end from a node that is drawn, by products of outputs."""

    tables = ()

    def for_graph(self, graph):
        task = type(self)()
        task.__dict__.update(self.__dict__)
        task.original_ids = graph.original_ids.compute()
        task.places = np.argsort(task.original_ids)
        return task

    def __getstate__(self):
        """Leave out what only the driver uses."""
        left_out = ("original_ids", "places")
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def targets(self, graph, split):
        blocks = dask.compute(*graph.adjacency.blocks.ravel())
        counts = np.concatenate([np.diff(block.indptr) for block in blocks])
        rows = np.repeat(np.arange(graph.num_nodes), counts)
        columns = np.concatenate([block.indices for block in blocks])
        nodes = np.column_stack([rows, columns]).astype(np.int64)
        ends = np.sort(self.original_ids[nodes], axis=1)
        keys, first = np.unique(ends @ [graph.num_nodes, 1], return_index=True)
        tenth = keys_below(np.uint64(7), keys) % np.uint64(10)
        chosen = {"train": tenth > 1, "val": tenth == 0, "test": tenth == 1}
        # Both directions are stored: the end with the smaller original id is first.
        ends = self.places[ends[first]]
        return Targets(keys, ends).take(chosen.get(split, tenth > 10))

    def expand(self, targets, key):
        drawn = keys_below(np.uint64(key), targets.keys) % np.uint64(len(self.places))
        negatives = self.places[drawn.astype(np.int64)]
        nodes = np.column_stack([targets.nodes, negatives])
        return Targets(targets.keys, nodes)

    def loss(self, h, batch):
        one, other, negative = h[batch.rows].unbind(1)
        found, drawn = (one * other).sum(1), (one * negative).sum(1)
        return (softplus(-found) + softplus(drawn)).sum()

    def partial(self, h, batch):
        one, other, negative = np.moveaxis(h[batch.rows], 1, 0)
        scores = [(one * other).sum(1), (one * negative).sum(1)]
        truth = np.repeat([True, False], len(one))
        return Ranking.of(np.concatenate(scores), truth)

    def merge(self, left, right):
        return left.merge(right)

    def score(self, total):
        count = int(total.positives.sum())
        return {"num_targets": count, "auc": total.measure("rocauc")}

    def metric(self, graph):
        return "auc"


class Fatal(LinkPrediction):
    """The death of one process, in the middle of a run."""

    def __init__(self):
        self.driver, self.calls, self.once = os.getpid(), 0, None

    def loss(self, h, batch):
        self.calls += os.getpid() != self.driver
        if self.calls == 4:
            with suppress(FileExistsError):  # the other worker was first
                open(self.once, "x").close()
                die()
        return super().loss(h, batch)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    graph = planted_graph(200)
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr", num_clusters=8)


def new_trainer(path, client=None, num_parts=2, task=None, **options):
    graph = daskgnn.open_graph(path, num_parts)
    torch.manual_seed(0)
    model = nn.GraphSAGE(graph.num_features, 16, 6, 2)
    task = LinkPrediction() if task is None else task
    options = {**OPTIONS, **options}
    return daskgnn.Trainer(model, graph, task=task, client=client, **options)


def facts(run):
    losses = [record["loss"] for record in run.recorder.history.steps]
    return run.params_sha256, losses, run.evaluate("test"), run.run_state.best.score


@pytest.fixture(scope="module")
def alone(path):
    """What the run in this process gives."""
    run = new_trainer(path)
    history = run.fit(EPOCHS)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
    return facts(run)


def test_scores_equal_those_of_all_outputs_at_once(path):
    run = new_trainer(path, num_parts=3)
    run.fit(1)
    task, graph = run.task, run.graph
    h = run.predict().compute()
    places = task.original_ids
    for split in ("val", "test"):
        targets = task.targets(graph, split)
        expanded = task.expand(targets, derive_key(EXPANSION, 0))
        one, other, negative = (h[places[column]] for column in expanded.nodes.T)
        scores = [(one * other).sum(1), (one * negative).sum(1)]
        truth = np.repeat([True, False], len(one))
        found = run.evaluate(split)
        assert found["num_targets"] == len(targets) > 30
        auc = roc_auc_score(truth, np.concatenate(scores))
        assert found["auc"] == pytest.approx(auc, abs=1e-6)
    summary = run.summary()
    assert summary["metric"] == "auc"
    assert summary["test_auc"] == summary["test_metric"] == found["auc"]
    assert "test_accuracy" not in summary


def test_losses_do_not_depend_on_parts(path, alone):
    for num_parts in (1, 4):
        run = new_trainer(path, num_parts=num_parts)
        run.fit(EPOCHS)
        np.testing.assert_allclose(facts(run)[1], alone[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("workers", "steps"), mostly_slow([(1, "tasks"), (2, "auto")], (2, "auto"))
)
def test_hashes_do_not_depend_on_workers(path, alone, cluster, workers, steps):
    run = new_trainer(path, cluster(workers), steps=steps)
    run.fit(EPOCHS)
    assert facts(run) == alone


@pytest.mark.slow
def test_hashes_do_not_depend_on_the_lives_of_workers(path, alone, killable, tmp_path):
    task = Fatal()
    task.once = str(tmp_path / "died")
    run = new_trainer(path, killable, task=task)
    run.fit(EPOCHS)
    assert os.path.exists(task.once)
    assert facts(run) == alone


def test_a_stopped_run_is_resumed_to_the_same_bits(path, alone, tmp_path):
    options = {"out": tmp_path / "run", "checkpoint_every": 2}
    stopped = new_trainer(path, progress=AtStep(5, stop), **options)
    with pytest.raises(RuntimeError, match="stopped"):
        stopped.fit(EPOCHS)
    run = new_trainer(path, **options)
    run.fit(EPOCHS, resume=True)
    assert run.params_sha256 == alone[0]
    assert run.evaluate("test") == alone[2]
    other = new_trainer(path, task=OtherLinks(), **options)
    with pytest.raises(InputError, match="task=LinkPrediction, this run has task=Oth"):
        other.fit(EPOCHS, resume=True)


class OtherLinks(LinkPrediction):
    """Would continue with something else."""


class Unfinished(Task):
    """Has no loss."""

    targets = LinkPrediction.targets
    partial = LinkPrediction.partial
    score = LinkPrediction.score


class OtherArguments(LinkPrediction):
    def loss(self, h):
        return h.sum()


class NoTargets(LinkPrediction):
    def targets(self, graph, split):
        return np.arange(3)


class WrongTargets(LinkPrediction):
    def targets(self, graph, split):
        return Targets(np.arange(3), np.arange(3))


class NoNode(LinkPrediction):
    def expand(self, targets, key):
        return Targets(targets.keys, targets.nodes + 100_000)


class LossOfEach(LinkPrediction):
    def loss(self, h, batch):
        return h[batch.rows].sum(2).sum(1)


class LossOfNumpy(LinkPrediction):
    def loss(self, h, batch):
        return float(h.detach().sum())


class LossWithoutGradient(LinkPrediction):
    def loss(self, h, batch):
        return h.detach().sum()


class LossNotFinite(LinkPrediction):
    def loss(self, h, batch):
        return (h / 0).sum()


class DrawingLoss(LinkPrediction):
    def loss(self, h, batch):
        return (h * torch.rand(1)).sum()


class FailingPartial(LinkPrediction):
    def partial(self, h, batch):
        return h[batch.edges]


class OtherScore(LinkPrediction):
    def score(self, total):
        return {"accuracy": 1.0}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Unfinished(), r"task: Unfinished lacks loss\(self, h, batch\), which daskgnn"),
        (object(), r"task: object lacks "),
        (LinkPrediction, r"task=LinkPrediction is a class, .*task=LinkPrediction\(\)"),
        (OtherArguments(), r"OtherArguments.loss is not of the form loss\(self, h, b"),
        (NoTargets(), r"NoTargets.targets returned ndarray, expected daskgnn.tasks.T"),
        (WrongTargets(), r"WrongTargets.targets returned nodes of shape \(3,\)"),
        (NoNode(), r"NoNode.expand returned nodes from .*expected storage ids 0..199"),
        (LossOfEach(), r"LossOfEach.loss\(h, batch\) returned \(4,\) for 4 targets"),
        (
            LossOfNumpy(),
            r"LossOfNumpy.loss\(h, batch\) returned float for 4 targets, exp",
        ),
        (LossWithoutGradient(), "LossWithoutGradient.* a tensor without a gradient"),
        (LossNotFinite(), r"LossNotFinite.loss.* expected a finite loss"),
        (DrawingLoss(), r"DrawingLoss.loss.* drew from torch's generator"),
        (FailingPartial(), r"FailingPartial.partial\(h, batch\) fails: Attrib.*edges"),
        (OtherScore(), r"OtherScore.score.*expected a dict with a number for 'auc'"),
    ],
)
def test_a_task_that_is_none_is_refused_in_one_line(path, task, said):
    with pytest.raises(InputError, match=said) as refused:
        new_trainer(path, task=task)
    assert "\n" not in str(refused.value)


def test_a_loss_is_short_for_a_task(path):
    def loss(outputs, labels):
        return ((outputs.T - labels).T ** 2).sum()

    graph = daskgnn.open_graph(path, 2)
    hashes = []
    for given in ({"loss": loss}, {"task": NodeClassification(loss)}):
        torch.manual_seed(0)
        model = nn.GraphSAGE(graph.num_features, 8, graph.num_classes, 2)
        run = daskgnn.Trainer(model, graph, client=None, **OPTIONS, **given)
        run.fit(1)
        hashes.append(run.params_sha256)
    assert hashes[0] == hashes[1]
    with pytest.raises(InputError, match="task= and loss= say the same"):
        daskgnn.Trainer(model, graph, **OPTIONS, task=NodeClassification(), loss=loss)
