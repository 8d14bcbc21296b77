"""Targets of one or several nodes: planned, cut into parts, and scored."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training import planted_graph, stored

import daskgnn
from daskgnn import nn
from daskgnn.errors import InputError
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import PartTargets, distinct_nodes
from daskgnn.tasks import Targets, Task
from daskgnn.train.plan import Window, WindowPlanner


@st.composite
def some_targets(draw):
    """Draw targets of up to three nodes, of which all but the first may be none."""
    count, width = draw(st.integers(1, 30)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    nodes = rng.integers(-1, 20, (count, width))
    nodes[:, 0] = rng.integers(0, 20, count)
    values = rng.normal(size=(count, 2)).astype(np.float32)
    return Targets(rng.permutation(100)[:count], nodes, values)


@settings(deadline=None, max_examples=60)
@given(some_targets())
def test_every_target_finds_its_nodes_again(targets):
    nodes, found = distinct_nodes(targets)
    assert list(nodes) == sorted(set(targets.nodes.ravel()) - {-1})
    rows = np.arange(len(targets))[:, None] if found.rows is None else found.rows
    again = np.where(rows < 0, -1, nodes[rows])
    np.testing.assert_array_equal(again, targets.nodes)
    np.testing.assert_array_equal(found.values, targets.values)


def test_nodes_in_order_are_their_own_rows():
    ids = np.array([3, 5, 8])
    nodes, found = distinct_nodes(Targets(ids, ids[:, None]))
    assert found is None
    np.testing.assert_array_equal(nodes, ids)
    owned = PartTargets.of(Targets(ids, ids[:, None]))
    np.testing.assert_array_equal(owned.between(4, 8), [5])


@settings(deadline=None, max_examples=60)
@given(some_targets(), st.integers(1, 4), st.integers(1, 12))
def test_steps_are_the_same_targets_for_any_number_of_parts(targets, parts, batch):
    plan = SeedPlan(targets, batch, seed=3)

    def expand(some, key):
        extra = (some.keys[:, None] * 7 + key % 1000) % 20
        return Targets(some.keys, np.hstack([some.nodes, extra]), some.values)

    planner = WindowPlanner(plan, parts, np.dtype(np.int32), expand=expand)
    seen = []
    for epoch in (0, 1):
        window = Window(0, epoch, 0, plan.steps_per_epoch, True)
        seeds = planner.seeds(window)
        permutation = plan.permutation(epoch)
        for step in range(plan.steps_per_epoch):
            wanted = plan.step_targets(permutation, step)
            assert seeds.meta[step].num_seeds == len(wanted)
            runs = [(seeds.runs[p][step], seeds.targets[p][step]) for p in range(parts)]
            found = [
                np.where(rows.rows < 0, -1, run[rows.rows])
                for run, rows in runs
                if len(run)
            ]
            np.testing.assert_array_equal(np.concatenate(found)[:, :-1], wanted.nodes)
            lengths = [len(rows.values) for _, rows in runs]
            assert max(lengths) - min(lengths) <= 1
            seen += list(wanted.keys)
    half = len(targets)
    assert sorted(seen[:half]) == sorted(seen[half:]) == sorted(targets.keys)


class Regression(Task):
    """Predicts two numbers of each node."""

    tables = ()

    def __init__(self, numbers):
        self.numbers = numbers

    def num_outputs(self, graph):
        return 2

    def targets(self, graph, split):
        ids = graph.splits.get(split, np.empty(0, np.int64))
        keys = graph.original_ids_of(ids)
        return Targets(keys, ids[:, None], self.numbers[keys])

    def loss(self, h, batch):
        return ((h[batch.rows[:, 0]] - batch.values) ** 2).sum()

    def partial(self, h, batch):
        off = h[batch.rows[:, 0]] - batch.values
        return {"n": len(off), "off": np.abs(off).sum(0), "squares": (off**2).sum()}

    def score(self, total):
        mae = total["off"] / total["n"]
        rmse = (total["squares"] / total["n"]) ** 0.5
        return {"num_nodes": total["n"], "mae": mae.mean(), "-rmse": -float(rmse)}

    def metric(self, graph):
        return "-rmse"


class Pooled(Regression):
    """Predicts two numbers of each group of up to three nodes."""

    def targets(self, graph, split):
        ids = graph.splits.get(split, np.empty(0, np.int64))
        padded = np.pad(ids, (0, -len(ids) % 3), constant_values=-1).reshape(-1, 3)
        keys = graph.original_ids_of(padded[:, 0])
        return Targets(keys, padded, self.numbers[keys])

    def pooled(self, h, batch):
        there = (batch.rows >= 0)[:, :, None]
        return (h[batch.rows] * there).sum(1)

    def loss(self, h, batch):
        return ((self.pooled(h, batch) - batch.values) ** 2).sum()

    def partial(self, h, batch):
        off = self.pooled(h, batch) - batch.values
        return {"n": len(off), "off": np.abs(off).sum(0), "squares": (off**2).sum()}


@pytest.mark.parametrize("kind", [Regression, Pooled])
def test_values_of_nodes_and_of_groups_are_learnt_and_scored(tmp_path, kind):
    data = planted_graph(120)
    path = stored(data, tmp_path / "g.zarr", num_clusters=6)
    numbers = np.stack([data.labels, -data.labels], 1).astype(np.float32)
    runs = []
    for num_parts in (1, 3):
        graph = daskgnn.open_graph(path, num_parts)
        torch.manual_seed(0)
        model = nn.GraphSAGE(graph.num_features, 8, 2, 2)
        options = {"num_neighbors": [-1, -1], "batch_size": 16, "client": None}
        options["warmup_steps"] = 0
        run = daskgnn.Trainer(model, graph, task=kind(numbers), **options)
        history = run.fit(3)
        assert history.epochs[-1]["loss"] < history.epochs[0]["loss"] * 0.7
        assert history.epochs[-1]["val_-rmse"] == history.epochs[-1]["val_metric"]
        runs.append((run, [s["loss"] for s in history.steps]))
    np.testing.assert_allclose(runs[0][1], runs[1][1], rtol=1e-3)
    run = runs[1][0]
    h = run.predict().compute()
    targets = run.task.targets(run.graph, "test")
    places = np.append(run.graph.original_ids.compute(), -1)
    rows = places[targets.nodes]
    off = (h[rows] * (rows >= 0)[:, :, None]).sum(1) - targets.values
    found = run.evaluate("test")
    assert found["num_nodes"] == len(targets)
    assert found["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-5)
    rmse = (off**2).sum(1).mean() ** 0.5
    assert found["-rmse"] == pytest.approx(-rmse, rel=1e-5)
    assert run.summary()["test_mae"] == pytest.approx(found["mae"])


class OfAllNodes(Regression):
    """Predicts two numbers of each node of a graph without splits."""

    def targets(self, graph, split):
        nodes = np.arange(graph.num_nodes if split == "train" else 0)
        return Targets(nodes, nodes[:, None], self.numbers[nodes])


class OfLabels(OfAllNodes):
    tables = ("labels",)


def test_a_graph_needs_no_labels_that_nothing_wants(tmp_path):
    nothing = dict.fromkeys(("labels", "train", "val", "test"))
    path = stored(planted_graph(80, **nothing), tmp_path / "g.zarr", num_clusters=4)
    numbers = np.ones((80, 2), np.float32)
    for task in (OfAllNodes(numbers), OfLabels(numbers), None):
        graph = daskgnn.open_graph(path, 2)
        torch.manual_seed(0)
        model = nn.GraphSAGE(graph.num_features, 8, 2, 2)
        options = {"num_neighbors": [3, 2], "batch_size": 16, "client": None}
        if isinstance(task, OfLabels) or task is None:
            said = "OfLabels.tables names 'labels'" if task else "has no labels"
            with pytest.raises(InputError, match=said):
                daskgnn.Trainer(model, graph, task=task, **options)
            continue
        run = daskgnn.Trainer(model, graph, task=task, **options)
        history = run.fit(2)
        assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
        assert run.run_state.best is None
        with pytest.raises(InputError, match=r"split='test' has no node, .* train$"):
            run.evaluate("test")
        assert run.evaluate("train")["num_nodes"] == 80
