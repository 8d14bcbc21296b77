"""Runs are the same whoever made them, can be prolonged, and can start others."""

import json
import time
import warnings
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import torch
from training import inside, invoked, planted_graph, small_sage, stored

import daskgnn
from daskgnn import nn
from daskgnn.sampling import ClusterSampler, LaborSampler, NeighborSampler
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.deployment import Deployment
from daskgnn.train.evaluator import Evaluator
from daskgnn.train.finetune import starting_from
from daskgnn.train.modelsettings import build_model, describe_model
from daskgnn.train.persist.history import History
from daskgnn.train.run import evaluate, resume, train

OPTIONS = {"num_neighbors": [4, 3], "batch_size": 48, "client": None}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    graph = planted_graph(150)
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr", num_clusters=4)


def read(out, name):
    return json.loads((Path(out) / name).read_text())


def made_in_python(source, out, model=small_sage, epochs=2, **options):
    graph = daskgnn.open_graph(source, 2)
    trainer = daskgnn.Trainer(model(graph), graph, out=out, **{**OPTIONS, **options})
    trainer.fit(epochs)
    return trainer


class Own(nn.GraphSAGE):
    """A model of a user's own class."""


def own(graph):
    return Own(graph.num_features, 16, graph.num_classes)


MODELS = {
    "sage": lambda sizes: nn.GraphSAGE(*sizes, num_layers=3, aggr="max", dropout=0.5),
    "sage of one layer": lambda sizes: nn.GraphSAGE(*sizes, num_layers=1),
    "gcn": lambda sizes: nn.GCN(*sizes, norm="layer", input_dropout=0.25),
    "gat": lambda sizes: nn.GAT(*sizes, heads=2, dropout=0.25),
    "own class": lambda sizes: Own(*sizes),
    "residual": lambda sizes: nn.GCN(*sizes, residual=True),
    "own layer": lambda sizes: nn.GAT(*sizes, out_heads=3),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_the_library_are_settings_of_a_run(kind, path):
    graph = daskgnn.open_graph(path)
    model = MODELS[kind]((graph.num_features, 8, graph.num_classes))
    settings = describe_model(model, graph)
    if kind in ("own class", "residual", "own layer"):
        assert settings is None
        return
    again = build_model({**settings, "seed": 0}, graph)
    again.load_state_dict(model.state_dict())
    assert repr(again) == repr(model)


def test_a_run_made_in_python_is_one_of_the_command_line(path, tmp_path):
    out = str(tmp_path / "run")
    trainer = made_in_python(path, out, lr=0.02)
    scores = json.loads(inside("evaluate", out))
    assert scores == pytest.approx(trainer.evaluate("test"))
    inside("train", "--resume", out, "--epochs", "4")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["epochs"] == 4
    trainer.fit(4)
    assert trainer.params_sha256 == summary["params_sha256"]


@pytest.mark.parametrize(
    ("sampler", "given"),
    [
        (NeighborSampler([4, 3], replace=True), {}),
        (LaborSampler([3, 0.5], variant="i", estimator="ht"), {}),
        ("labor", {"num_neighbors": [4, 3]}),
        (ClusterSampler(clusters=2), {"batch_size": 1024}),
    ],
    ids=["neighbor", "labor", "name", "cluster"],
)
def test_a_sampler_made_in_python_is_one_of_the_command_line(
    path, tmp_path, sampler, given
):
    out, graph = str(tmp_path / "run"), daskgnn.open_graph(path, 2)
    options = {"batch_size": 48, "client": None, "sampler": sampler, **given}
    trainer = daskgnn.Trainer(small_sage(graph), graph, out=out, **options)
    trainer.fit(1)
    scores = evaluate(out)
    assert scores == pytest.approx(trainer.evaluate("test"))
    summary = resume(out, epochs=2)
    trainer.fit(2)
    assert trainer.params_sha256 == summary["params_sha256"]


def test_a_graph_in_memory_is_stored_with_its_run(tmp_path):
    out = str(tmp_path / "run")
    trainer = made_in_python(planted_graph(150).partition(4), out)
    assert json.loads(inside("evaluate", out)) == pytest.approx(trainer.evaluate())
    assert daskgnn.open_graph(f"{out}/graph.zarr").num_nodes == 150


def test_what_only_a_program_has_is_named(path, tmp_path):
    out = str(tmp_path / "own")
    made_in_python(path, out, own)
    done = invoked("evaluate", out)
    assert done.returncode == 2
    assert "a model (Own) of its own" in done.stderr
    out = str(tmp_path / "loss")

    def squares(outputs, labels):
        return ((outputs - torch.eye(4)[labels]) ** 2).sum()

    trainer = made_in_python(path, out, loss=squares, deterministic=False)
    scores = json.loads(inside("evaluate", out))
    assert scores == pytest.approx(trainer.evaluate())
    done = invoked("train", "--resume", out)
    assert done.returncode == 2
    assert "a loss (" in done.stderr


def test_a_resumed_run_trains_more_epochs(path, tmp_path):
    words = ["--workers", "0", "--hidden-channels", "8", "--batch-size", "64"]
    once, twice = str(tmp_path / "once"), str(tmp_path / "twice")
    inside("train", path, "--out", once, "--epochs", "3", *words)
    inside("train", path, "--out", twice, "--epochs", "1", *words)
    told = inside("train", "--resume", twice, "--epochs", "3")
    assert "3 epochs" in told
    assert "the learning rate rose in the first 20 steps" in told
    summaries = [read(out, "summary.json") for out in (once, twice)]
    told = summaries[1]["warmup_steps"], summaries[1]["ramp_steps"]
    assert told == (20, 0)
    assert summaries[0]["params_sha256"] == summaries[1]["params_sha256"]
    assert read(twice, "run.json")["epochs"] == 3
    done = invoked("train", "--resume", twice, "--lr", "0.5")
    assert done.returncode == 2
    assert "--from" in done.stderr


def test_a_run_starts_from_the_best_parameters_of_another(path, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    words = ["--workers", "0", "--hidden-channels", "8", "--batch-size", "64"]
    inside("train", path, "--out", first, "--epochs", "3", "--lr", "0.02", *words)
    told = inside(
        *("train", "--from", first, "--lr", "0", "--epochs", "1", "--workers", "0"),
        *("--out", second),
    )
    assert f"start from: run={first}" in told
    settings = read(second, "run.json")
    assert (settings["lr"], settings["hidden_channels"]) == (0.0, 8)
    # Nothing was learnt at a rate of 0: the scores are those of the other run.
    scores = [json.loads(inside("evaluate", out)) for out in (first, second)]
    assert scores[0] == pytest.approx(scores[1])
    done = invoked(
        *("train", "--from", first, "--hidden-channels", "9", "--workers", "0"),
        *("--out", str(tmp_path / "third")),
    )
    assert done.returncode == 2
    assert f"--from {first} has" in done.stderr


def test_what_a_new_run_cannot_take_from_another_is_said(path, tmp_path):
    graph, out = daskgnn.open_graph(path, 2), str(tmp_path / "first")
    own = {"optimizer": lambda params: torch.optim.SGD(params, 0.1), "out": out}
    daskgnn.Trainer(small_sage(graph), graph, **OPTIONS | own).fit(1)
    with pytest.warns(
        UserWarning, match="only its program can make .optimizer.: this run"
    ):
        starting_from({"start_from": out})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert starting_from({"start_from": out, "optimizer": "sgd"})


def test_fewer_epochs_than_are_done_are_said(path):
    graph = daskgnn.open_graph(path, 2)
    trainer = daskgnn.Trainer(small_sage(graph), graph, **OPTIONS)
    trainer.fit(2)
    before = trainer.params_sha256
    with pytest.warns(UserWarning, match="2 epochs are done.*epochs=3 trains 1 more"):
        trainer.fit(1)
    assert trainer.params_sha256 == before
    assert len(trainer.fit(3).epochs) == 3


def test_patience_that_ends_a_run_is_said_and_can_grow(path, tmp_path):
    settings = {"graph": path, "out": str(tmp_path / "run"), "workers": 0}
    settings |= {
        "epochs": 9,
        "lr": 0.0,
        "patience": 2,
        "num_parts": 2,
        "warmup_steps": 0,
    }
    summary = train(settings)
    assert (summary["epochs"], summary["stopped_early"]) == (3, True)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    (told,) = [e for e in events if e["event"] == "stopped_early"]
    expected = {"epoch": 2, "patience": 2, "best_epoch": 0}
    assert told == {"event": "stopped_early", **expected}
    assert resume(settings["out"])["epochs"] == 3
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    (told,) = [e for e in map(json.loads, lines) if e["event"] == "nothing_to_train"]
    assert "patience=2 ended the run after 3 epochs" in told["why"]
    summary = resume(settings["out"], patience=4)
    assert summary["epochs"] == 5


class ToldClock:
    """A clock that goes on only where something takes its time."""

    def __init__(self, monkeypatch):
        self.now, self._patch, self._lock = 0.0, monkeypatch, Lock()
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def takes(self, seconds, owner, name):
        """Let each call of a method take so long."""
        method = getattr(owner, name)

        def slow(*args, **kwargs):
            with self._lock:
                self.now += seconds
            return method(*args, **kwargs)

        self._patch.setattr(owner, name, slow)


@pytest.mark.parametrize("num_parts", [1, 2])
def test_times_of_records_add_up_to_the_wall_clock(
    path, tmp_path, num_parts, monkeypatch
):
    clock = ToldClock(monkeypatch)
    clock.takes(0.125, TrainSession, "gradient")  # of a part
    clock.takes(0.5, Evaluator, "scores")
    clock.takes(2.0, Deployment, "load")
    graph = daskgnn.open_graph(path, num_parts)
    given = {**OPTIONS, "batch_size": 8, "out": tmp_path / "run"}
    trainer = daskgnn.Trainer(small_sage(graph), graph, **given)
    trainer.fit(4)
    history, summary = History.read(tmp_path / "run"), trainer.recorder.last_summary
    taken = 0.125 * num_parts * len(history.steps)
    shares = [step["seconds"] for step in history.steps]  # rounded to millionths
    assert sum(shares) == pytest.approx(taken, abs=1e-4)
    for record in history.epochs:
        steps = [s["seconds"] for s in history.steps if s["epoch"] == record["epoch"]]
        assert record["seconds"] == pytest.approx(sum(steps), abs=1e-4)
        assert record["eval_seconds"] == 0.5
    assert summary["seconds"] == taken
    assert summary["eval_seconds"] == 0.5 * 5  # and the final scores
    assert summary["start_seconds"] == 2 * 2.0 + 0.125  # with a step to warm up
    assert summary["wall_seconds"] == clock.now
    assert clock.now == taken + 0.5 * 5 + 2 * 2.0 + 0.125
    figures = trainer.step_profile.to_dict()
    assert figures["steps"] == len(history.steps)
    evaluated = figures["lines"]["evaluation"]["ms"] * figures["steps"] / 1000
    assert evaluated == pytest.approx(0.5 * 4)


def test_time_goes_on_where_a_run_is_resumed(path, tmp_path):
    out = tmp_path / "run"
    trainer = made_in_python(path, out)
    first = trainer.recorder.last_summary
    later = daskgnn.Trainer(
        small_sage(trainer.graph), trainer.graph, out=out, **OPTIONS
    )
    later.fit(3, resume=True)
    second = later.recorder.last_summary
    for name in ("seconds", "eval_seconds", "wall_seconds", "start_seconds"):
        assert second[name] > first[name] * 0.5
    assert second["wall_seconds"] > second["seconds"]
    assert np.isfinite(second["seeds_per_second"])


def test_an_own_model_is_called_by_its_class(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_in_python(path, "runs/own", own, epochs=1)
    made_in_python(path, "runs/plain", epochs=1)
    (own_row, plain_row) = sorted(inside("runs").splitlines()[-2:])
    assert ("own" in own_row, " Own " in own_row, " sage " in own_row) == (1, 1, 0)
    assert " sage " in plain_row
    inside("report", "runs/own")
    page = Path("runs/own/report.html").read_text()
    assert "<th>model</th><td>Own</td>" in page
    for unused in ("heads", "hidden_channels"):
        assert f"<th>{unused}</th>" not in page
