"""The trainer: what it refuses, resumes, records and stops at. No cluster."""

import json

import numpy as np
import pytest
import torch
from training import mostly_slow, planted_graph, small_sage, stored, trainer

import daskgnn
from daskgnn import nn
from daskgnn.errors import CheckpointError, InputError, ModelError
from daskgnn.train.persist.checkpoint import load_checkpoint, newest_checkpoint


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, 2, None)
    run.fit(4)
    return run


class Interrupted(Exception):
    pass


class StopAt:
    """A progress that raises at a step, as an interrupt would."""

    def __init__(self, step):
        self.stop_at = step

    def step(self, record):
        if record["step"] == self.stop_at:
            raise Interrupted

    def started(self, info):
        pass

    epoch = event = finished = started


def records(directory, event):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["event"] == event]


@pytest.mark.parametrize("stop_at", mostly_slow([2, 7, 13], 7))
def test_a_stopped_run_resumes_exact_to_the_step(path, undisturbed, tmp_path, stop_at):
    options = {"out": tmp_path / "run", "checkpoint_every": 2, "window": 3}
    with pytest.raises(Interrupted):
        trainer(path, 2, None, progress=StopAt(stop_at), **options).fit(4)
    again = trainer(path, 2, None, **options)
    again.fit(4, resume=True)
    assert again.params_sha256 == undisturbed.params_sha256
    (resume,) = records(tmp_path / "run", "resume")
    assert stop_at - 2 <= resume["step"] <= stop_at
    steps = [r["step"] for r in records(tmp_path / "run", "step")]
    assert set(steps) == set(range(undisturbed.run_state.state.step))
    assert len(steps) - len(set(steps)) <= 2
    mine = [r["loss"] for r in records(tmp_path / "run", "epoch")]
    theirs = [r["loss"] for r in undisturbed.recorder.history.epochs]
    assert mine == theirs


def test_schedules_and_early_stopping_resume_too(path, tmp_path):
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", patience=0, factor=0.5
        )

    options = {"lr_scheduler": plateau, "patience": 4, "lr": 0.03}
    whole = trainer(path, 2, None, **options)
    whole.fit(40)
    assert whole.run_state.stopped
    assert whole.run_state.position.epoch < 40
    rates = [e["lr"] for e in whole.recorder.history.epochs]
    assert len(set(rates)) > 1
    options |= {"out": tmp_path / "run", "checkpoint_every": 3}
    stop = 5 * whole.plan.steps_per_epoch + 1
    with pytest.raises(Interrupted):
        trainer(path, 2, None, progress=StopAt(stop), **options).fit(40)
    again = trainer(path, 2, None, **options)
    again.fit(40, resume=True)
    assert again.params_sha256 == whole.params_sha256
    assert again.run_state.best.epoch == whole.run_state.best.epoch
    once_more = trainer(path, 2, None, **options)
    assert once_more.fit(40, resume=True).steps == []


def test_a_second_fit_goes_on_where_the_first_ended(path, undisturbed):
    run = trainer(path, 2, None)
    run.fit(1)
    run.fit(4)
    assert run.params_sha256 == undisturbed.params_sha256


def test_the_model_gets_the_best_parameters(path):
    run = trainer(path, 2, None)
    run.fit(3)
    flat = torch.cat([p.detach().reshape(-1) for p in run.model.parameters()])
    np.testing.assert_array_equal(flat.numpy(), run.best_parameters)
    val = max(e["val_accuracy"] for e in run.recorder.history.epochs)
    assert run.summary()["val_accuracy"] == val


def test_checkpoints_hold_no_pickle_and_are_verified(path, tmp_path):
    run = trainer(path, 1, None, out=tmp_path / "run")
    run.fit(3)
    folder = tmp_path / "run" / "checkpoints"
    names = sorted(p.name for p in folder.iterdir())
    assert len(names) == 2
    for file in (folder / names[-1]).iterdir():
        assert b"cdatetime" not in file.read_bytes()
    arrays = np.load(folder / names[-1] / "arrays.npz", allow_pickle=False)
    np.testing.assert_array_equal(arrays["parameters"], run.run_state.state.parameters)
    damaged = folder / names[-1] / "arrays.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder / names[-1])
    assert newest_checkpoint(folder).step == int(names[0].split("-")[1])
    (folder / names[0] / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        newest_checkpoint(folder)


def test_a_checkpoint_of_another_run_is_refused(path, tmp_path):
    trainer(path, 2, None, out=tmp_path / "run").fit(1)
    other = [
        ({"batch_size": 50}, "batch_size=48, this run has batch_size=50"),
        ({"num_neighbors": [3, 3]}, "num_neighbors"),
        ({"seed": 9}, "seed=0, this run has seed=9"),
    ]
    for options, said in other:
        run = trainer(path, 2, None, out=tmp_path / "run", **options)
        with pytest.raises(CheckpointError, match=said):
            run.fit(2, resume=True)
    with pytest.raises(CheckpointError, match="num_parts"):
        trainer(path, 3, None, out=tmp_path / "run").fit(2, resume=True)
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        trainer(path, 2, None, out=tmp_path / "empty").fit(2, resume=True)


def test_weighted_draws_train_and_need_weights(tmp_path):
    rng = np.random.default_rng(0)
    graph = planted_graph(200, edge_weight=rng.random(1000) + 0.1)
    path = stored(graph, tmp_path / "g.zarr")
    hashes = {by: fitted(path, by) for by in ("uniform", "edge_weight", "degree")}
    assert len(set(hashes.values())) == 3
    zero = planted_graph(200, edge_weight=np.zeros(1000))
    with pytest.raises(InputError, match="weights of all edges are 0"):
        fitted(stored(zero, tmp_path / "zero.zarr"), "edge_weight")


def fitted(path, sample_by):
    run = trainer(path, 2, None, sample_by=sample_by)
    run.fit(1)
    return run.params_sha256


def test_several_labels_a_node(tmp_path):
    np.random.default_rng(0)
    base = planted_graph(200)
    labels = (base.labels[:, None] == np.arange(3)).astype(np.float32)
    labels[np.flatnonzero(base.labels == 3)[:5], 0] = np.nan
    inside = np.isnan(labels).any(axis=1)
    splits = {k: v[~inside[v]] for k, v in base.splits.items()}
    graph = planted_graph(200, labels=labels, metric="rocauc", **splits)
    path = stored(graph, tmp_path / "g.zarr")
    run = trainer(path, 2, None, lr=0.03)
    run.fit(8)
    scores = run.evaluate("test")
    assert scores["rocauc"] > 0.8
    assert run.summary()["val_metric"] == run.run_state.best.score
    alone = trainer(path, 1, None, lr=0.03)
    alone.fit(8)
    assert alone.evaluate("test")["rocauc"] == pytest.approx(scores["rocauc"], abs=0.02)


class OnlyForward(torch.nn.Module):
    """A user's model without the method for layer-wise evaluation."""

    def __init__(self, graph):
        super().__init__()
        self.convs = torch.nn.ModuleList(
            [nn.SAGEConv(graph.num_features, 8), nn.SAGEConv(8, graph.num_classes)]
        )

    def forward(self, x, blocks):
        h = self.convs[0](x, blocks[0])
        return self.convs[1](torch.relu(h), blocks[1])


class WithLayers(OnlyForward):
    num_layers = 2

    def layer(self, i, h, block):
        h = self.convs[i](h, block)
        return torch.relu(h) if i == 0 else h


def test_models_without_layers_are_evaluated_exactly_too(path):
    outputs = []
    for make in (OnlyForward, WithLayers):
        torch.manual_seed(0)
        run = trainer(path, 2, None, model=make)
        run.fit(2)
        outputs.append((run.params_sha256, run.predict().compute()))
    assert outputs[0][0] == outputs[1][0]
    np.testing.assert_allclose(outputs[0][1], outputs[1][1], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_neighbors": [5]}, r"num_neighbors=\[5\] has 1 hops, the model has 2"),
        ({"num_neighbors": [5, 0]}, "expected at least 1, or -1"),
        ({"num_neighbors": [5, 2.5]}, "expected at least 1, or -1"),
        ({"batch_size": 0}, "batch_size=0, expected a whole number of at least 1"),
        ({"window": -1}, "window=-1"),
        ({"sample_by": "color"}, "sample_by='color'"),
        ({"optimizer": "adamm"}, "optimizer='adamm'"),
        ({"scheduler_interval": "day"}, "scheduler_interval='day'"),
    ],
)
def test_bad_options_get_one_line(path, options, said):
    with pytest.raises(InputError, match=said) as caught:
        trainer(path, 2, None, **options)
    assert "\n" not in str(caught.value)


class Drawing(WithLayers):
    def forward(self, x, blocks):
        return super().forward(torch.nn.functional.dropout(x, 0.5), blocks)


class WrongShape(WithLayers):
    def forward(self, x, blocks):
        return super().forward(x, blocks)[:, :2]


class Double(WithLayers):
    def __init__(self, graph):
        super().__init__(graph)
        self.double()


class Failing(WithLayers):
    def forward(self, x, blocks):
        return x @ torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Drawing, "daskgnn.nn.Dropout"),
        (WrongShape, r"out_channels=4"),
        (Double, r"expected torch.float32"),
        (Failing, "forward"),
        (lambda g: torch.nn.Identity(), "no parameters"),
    ],
)
def test_unfit_models_get_one_line_before_any_work(path, model, said):
    with pytest.raises(ModelError, match=said) as caught:
        trainer(path, 2, None, model=model)
    assert "\n" not in str(caught.value)


def test_graphs_that_cannot_be_trained_say_why(tmp_path):
    bare = {"train": None, "val": None, "test": None}
    cases = {
        "features": planted_graph(60, features=None),
        "labels": planted_graph(60, labels=None, **bare),
        "training split": planted_graph(60, **bare),
    }
    for what, graph in cases.items():
        path = stored(graph, tmp_path / f"{what[:4]}.zarr", num_clusters=4)
        opened = daskgnn.open_graph(path, 2)
        torch.manual_seed(0)
        with pytest.raises(InputError, match=f"no {what}"):
            daskgnn.Trainer(
                nn.GraphSAGE(12, 8, 4, 2), opened, num_neighbors=[2, 2], client=None
            )


def test_an_absent_split_is_named(path):
    with pytest.raises(InputError, match="split='holdout' has no node"):
        trainer(path, 1, None).evaluate("holdout")


def test_memory_is_planned_before_the_run(path):
    from daskgnn.dataflow.memory import StepSize, WindowBudget, plan_window

    step = StepSize(nodes=1000, edges=1000, nbytes=10 * 2**20)
    assert plan_window(step, WindowBudget(10**12, 8, 1, 0.3), 1) == 8
    assert plan_window(step, WindowBudget(200 * 2**20, 8, 1, 0.3), 1) == 3
    with pytest.raises(InputError, match="lower batch_size"):
        plan_window(step, WindowBudget(50 * 2**20, 8, 1, 0.3), 2)


class Negated(nn.GraphSAGE):
    """Overrides forward and inherits layer: the loop says something else."""

    def forward(self, x, blocks):
        return -super().forward(x, blocks)


def test_a_forward_of_its_own_is_what_is_evaluated(path):
    run = trainer(path, 2, None, model=lambda g: Negated(12, 16, 4, 2), lr=0.03)
    run.fit(8)
    last = run.recorder.history.epochs[-1]
    assert last["val_accuracy"] > 0.6
    assert run.evaluate("test")["accuracy"] > 0.6


class InPlace(WithLayers):
    def forward(self, x, blocks):
        return super().forward(x.mul_(0.5), blocks)


class InPlaceLater(WithLayers):
    def layer(self, i, h, block):
        return super().layer(i, h.mul_(0.5), block)


@pytest.mark.parametrize("model", [InPlace, InPlaceLater])
def test_models_that_write_into_their_input_are_refused(path, model):
    with pytest.raises(ModelError, match="in place"):
        trainer(path, 2, None, model=model)


def test_frozen_parameters_stay(path):
    def frozen(graph):
        model = small_sage(graph)
        model.convs[0].lin_l.weight.requires_grad_(False)
        return model

    run = trainer(path, 2, None, model=frozen)
    before = run.model.convs[0].lin_l.weight.clone()
    run.fit(2)
    assert torch.equal(run.model.convs[0].lin_l.weight, before)
    assert run.params_sha256 == twice(path, frozen)


def twice(path, model):
    run = trainer(path, 2, None, model=model)
    run.fit(1)
    run.fit(2)
    return run.params_sha256


def test_a_directory_holds_one_run(path, tmp_path):
    trainer(path, 1, None, out=tmp_path / "run").fit(1)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == 1
    with pytest.raises(InputError, match="already holds a run"):
        trainer(path, 1, None, out=tmp_path / "run").fit(1)
    again = trainer(path, 1, None, out=tmp_path / "run")
    again.fit(1, resume=True)
    assert again.recorder.last_summary["train_loss"] == summary["train_loss"]


def test_an_edited_manifest_is_refused(path, tmp_path):
    trainer(path, 1, None, out=tmp_path / "run").fit(1)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    manifest = newest / "manifest.json"
    told = json.loads(manifest.read_text())
    told["step"] += 1
    for content in (json.dumps(told), "[]", "{}"):
        manifest.write_text(content)
        with pytest.raises(CheckpointError):
            load_checkpoint(newest)


def test_numpy_numbers_are_numbers(path, tmp_path):
    options = {"batch_size": np.int64(48), "seed": np.int64(0)}
    run = trainer(path, 2, None, out=tmp_path / "run", **options)
    run.fit(1)
    for seed in (1.5, "x", None, True):
        with pytest.raises(InputError, match="seed="):
            trainer(path, 2, None, seed=seed)


def test_degrees_and_weights_as_draws(tmp_path):
    directed = planted_graph(150, directed=True)
    fitted(stored(directed, tmp_path / "directed.zarr"), "degree")
    plain = stored(planted_graph(150), tmp_path / "plain.zarr")
    with pytest.raises(InputError, match="no edge weights"):
        fitted(plain, "edge_weight")


def test_sparse_features_cross_as_sparse_rows(tmp_path):
    rng = np.random.default_rng(0)
    dense = (rng.random((400, 300)) < 0.02).astype(np.float32)
    graph = planted_graph(features=dense)
    path = stored(graph, tmp_path / "g.zarr")
    run = trainer(path, 2, None)
    run.fit(1)
    whole = trainer(path, 1, None)
    whole.fit(1)
    losses = [[s["loss"] for s in r.recorder.history.steps] for r in (run, whole)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert run.run_state.total.halo_rows > 0


def test_a_thread_that_evaluates_first_can_train_afterwards(path):
    """A worker's thread may meet the model first in an evaluation."""
    run = trainer(path, 1, None, model=OnlyForward)
    run.predict()
    run.fit(1)
    assert run.run_state.state.step > 0
