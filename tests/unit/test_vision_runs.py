"""Runs over images: the same bits as plain torch, logs, resuming, bad input."""

from __future__ import annotations

import csv
import json
import os
import signal
from itertools import pairwise

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.nn import functional

from daskgnn.cli import gnn
from daskgnn.errors import CheckpointError, DatasetError, InputError
from daskgnn.nn import Draws
from daskgnn.train.compute.state import flatten, hash_parameters
from daskgnn.vision import evaluate, make_model, resume, train
from daskgnn.vision.data.batches import Batches, BatchPlan, parse_changes
from daskgnn.vision.data.datasets import load_images
from daskgnn.vision.feed import Feed
from daskgnn.vision.rates import Rates
from daskgnn.vision.recipes import with_recipe

SMALL = {
    "data": "digits",
    "workers": 0,
    "channels": 8,
    "depth": 2,
    "batch_size": 128,
    "epochs": 2,
    "micro_batches": 2,
    "drop_path": 0.3,
    "dropout": 0.2,
}
STEPS = 9
"""Of an epoch."""


class Stop(Exception):
    """Raised in the middle of a run."""


class Progress:
    """Notes down what it is told, and stops a run after some steps."""

    def __init__(self, stop_at=None):
        self.events, self.info, self.stop_at = [], {}, stop_at

    def started(self, info):
        self.info = info

    def step(self, record):
        if record["step"] + 1 == self.stop_at:
            raise Stop

    def epoch(self, record):
        self.events.append(record)

    def event(self, record):
        self.events.append(record)

    def finished(self, summary):
        self.events.append(summary)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the directory of a run, its log and its summary."""
    folder = tmp_path_factory.mktemp("runs")
    out, log = folder / "run", folder / "log.csv"
    given = {**SMALL, "out": str(out), "filename": str(log)}
    return out, log, train(given)


def plain_training(steps, norm, copies=1):
    """Train with plain torch: one model, micro-batches in order."""
    options = {"channels": 8, "depth": 2, "k": 4, "stride": 2, "norm": norm}
    options |= {"hidden_channels": 256, "drop_path": 0.3, "dropout": 0.2}
    options |= {"in_channels": 1, "num_classes": 10, "image_size": 8}
    torch.manual_seed(0)
    model = make_model("vig-mini", **options)
    images, moved = load_images("digits"), parse_changes("shift:1")
    plan = BatchPlan(images.splits["train"], 128, 2 * copies, 0, moved)
    rates = Rates.of(0.002, "cosine", None, STEPS, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002, weight_decay=0.05)
    model.train()
    for number in range(steps):
        place = divmod(number, STEPS)
        batches = Batches(images, plan).read(*place)
        count = sum(map(len, batches))
        sums = []
        for copy in range(copies):
            optimizer.zero_grad()
            for each in batches[2 * copy : 2 * copy + 2]:
                out = model(torch.tensor(each.x), Draws(each.key, each.ids))
                loss = functional.cross_entropy(out, torch.tensor(each.labels))
                (loss * (len(each) / count)).backward()
            sums.append([p.grad.clone() for p in model.parameters()])
        for p, *grads in zip(model.parameters(), *sums, strict=True):
            p.grad = sum(grads[1:], grads[0])
        optimizer.param_groups[0]["lr"] = rates.at(number)
        optimizer.step()
    return flatten(list(model.parameters()))


def parameters_of(out):
    (last,) = sorted((out / "checkpoints").iterdir())[-1:]
    with np.load(last / "arrays.npz") as arrays:
        return arrays["parameters"]


@pytest.fixture
def one_thread():
    """Have plain torch compute with one thread, as runs do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_run_is_plain_training_with_the_same_micro_batches(tmp_path, norm):
    given = {**SMALL, "norm": norm, "stages": 3, "schedule": "zero-bubble"}
    given |= {"checkpoint_every": 4, "out": str(tmp_path / "a")}
    with pytest.raises(Stop):
        train(given, progress=Progress(stop_at=5))
    assert np.array_equal(parameters_of(tmp_path / "a"), plain_training(4, norm))


@pytest.mark.usefixtures("one_thread")
def test_copies_train_on_other_micro_batches(tmp_path):
    given = {**SMALL, "copies": 2, "out": str(tmp_path / "a"), "checkpoint_every": 2}
    with pytest.raises(Stop):
        train(given, progress=Progress(stop_at=3))
    expected = plain_training(2, "batch", copies=2)
    assert np.array_equal(parameters_of(tmp_path / "a"), expected)


def rows_of(log):
    with log.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_run_writes(whole):
    out, _, summary = whole
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["params_sha256"] == hash_parameters(parameters_of(out))
    counts = {"num_images": 1078, "epochs": 2, "steps": 2 * STEPS, "num_classes": 10}
    assert counts.items() <= summary.items()
    assert summary["num_parameters"] == len(parameters_of(out))
    assert 0 < summary["test_accuracy"] < 1
    text = (out / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [s["step"] for s in steps] == list(range(2 * STEPS))
    assert epochs[-1]["loss"] == summary["train_loss"] < steps[0]["loss"]
    best = max(epochs, key=lambda line: line["val_accuracy"])
    assert (best["epoch"], best["val_accuracy"]) == (
        summary["best_epoch"],
        summary["val_accuracy"],
    )
    settings = json.loads((out / "run.json").read_text())
    assert (settings["kind"], settings["channels"], settings["k"]) == ("images", 8, 4)


def test_the_log_has_the_columns_of_published_ones(whole):
    _, log, summary = whole
    rows = rows_of(log)
    assert list(rows[0]) == ["epoch", "batch", "batch_time(s)", "loss", "phase"]
    trained = [row for row in rows if row["phase"] == "0"]
    validated = [row for row in rows if row["phase"] == "1"]
    assert [(r["epoch"], r["batch"]) for r in trained] == [
        (str(e), str(b)) for e in range(2) for b in range(STEPS)
    ]
    assert len(validated) == 2 * 2  # 359 images in batches of 256
    assert all(float(row["batch_time(s)"]) > 0 for row in rows)
    last = [float(row["loss"]) for row in trained[STEPS:]]
    weights = [128] * (STEPS - 1) + [1078 - 128 * (STEPS - 1)]
    assert np.isclose(np.average(last, weights=weights), summary["train_loss"])


@pytest.mark.parametrize(("stop_at", "every"), [(5, 2), (STEPS + 3, None)])
def test_a_resumed_run_ends_with_the_same_bits(whole, tmp_path, stop_at, every):
    _, log, summary = whole
    out, other = tmp_path / "run", tmp_path / "log.csv"
    given = {
        **SMALL,
        "out": str(out),
        "filename": str(other),
        "checkpoint_every": every,
    }
    with pytest.raises(Stop):
        train(given, progress=Progress(stop_at=stop_at))
    progress = Progress()
    again = resume(out, progress=progress, stages=2)
    assert again["params_sha256"] == summary["params_sha256"]
    assert {"event": "resume", "step": progress.info["first_step"]} in progress.events
    same = ("epoch", "batch", "loss", "phase")
    assert [[r[n] for n in same] for r in rows_of(other)] == [
        [r[n] for n in same] for r in rows_of(log)
    ]
    assert again["stages"] == 2


class Interrupting(Progress):
    """Sends this process a signal after some steps."""

    def step(self, record):
        if record["step"] + 1 == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(whole, tmp_path):
    _, log, summary = whole
    out, other = tmp_path / "run", tmp_path / "log.csv"
    progress = Interrupting(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        train({**SMALL, "out": str(out), "filename": str(other)}, progress=progress)
    assert {"event": "stopped", "signal": "SIGINT", "step": 4} in progress.events
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-00000004"]
    assert resume(out)["params_sha256"] == summary["params_sha256"]
    assert len(rows_of(other)) == len(rows_of(log))


def test_a_run_that_never_had_a_checkpoint_begins_again(whole, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stop):
        train({**SMALL, "out": str(out)}, progress=Progress(stop_at=1))
    assert resume(out)["params_sha256"] == whole[2]["params_sha256"]


def test_evaluation_scores_the_best_parameters(whole):
    out, _, summary = whole
    found = evaluate(out)
    assert found["accuracy"] == summary["test_accuracy"]
    assert (found["num_images"], found["best_epoch"]) == (360, summary["best_epoch"])
    assert evaluate(out, "val")["loss"] == summary["val_loss"]


def test_resuming_keeps_what_decides_the_result(whole, tmp_path):
    out, *_ = whole
    with pytest.raises(InputError, match=r"batch_size=64 cannot be given to a resumed"):
        resume(out, batch_size=64)
    with pytest.raises(InputError, match=r"epochs=9: the learning rate of this run"):
        resume(out, epochs=9)
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read"):
        resume(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds a run over a graph"):
        evaluate(tmp_path)


def test_damaged_images_are_refused_or_left_out(tmp_path):
    photos = tmp_path / "photos"
    for name in ("ant", "bee"):
        (photos / name).mkdir(parents=True)
        for i in range(6):
            shade = np.full((12, 12, 3), 100 * (name == "bee") + i, np.uint8)
            Image.fromarray(shade).save(photos / name / f"{i}.png")
    (photos / "ant" / "3.png").write_bytes(b"no image")
    given = {**SMALL, "data": str(photos), "batch_size": 6, "epochs": 1}
    given |= {"image_size": 12, "validation": 0, "out": str(tmp_path / "a"), "k": 3}
    with pytest.raises(DatasetError, match=r"3\.png cannot be read"):
        train(given)
    given |= {"out": str(tmp_path / "b"), "damaged": "skip"}
    with pytest.warns(UserWarning, match=r"left out: image .*ant/3\.png"):
        summary = train(given)
    assert (summary["num_images"], summary["skipped_images"]) == (11, 1)
    assert "test_accuracy" not in summary
    assert summary["best_epoch"] is None


class Broken:
    """A client whose cluster is gone."""

    def get(self, *args, **options):
        raise OSError("no scheduler")

    def gather(self, futures, **options):
        raise OSError("no scheduler")


def test_batches_are_read_here_where_tasks_are_lost():
    images = load_images("digits")
    batches = Batches(images, BatchPlan(images.splits["train"], 128, 2, 0))
    places = [(0, 7), (0, 8), (1, 0)]
    found = list(Feed(batches, Broken(), "run").read(places))
    assert [place for place, _ in found] == places
    for (_, ours), place in zip(found, places, strict=True):
        for a, b in zip(ours, batches.read(*place), strict=True):
            assert np.array_equal(a.x, b.x)


def test_learning_rates_rise_and_fall():
    rates = Rates.of(1.0, "cosine", 3, 10, 2)
    found = [rates.at(step) for step in range(20)]
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(a > b for a, b in pairwise(found[3:]))
    assert 0 < found[-1] < 0.02
    assert Rates.of(1.0, "none", 0, 10, 2).at(19) == 1.0


def test_a_recipe_fills_in_what_is_not_given():
    found = with_recipe("digits", 8, {"data": "digits", "out": "x", "lr": 0.5})
    assert (found["model"], found["channels"], found["lr"]) == ("vig-mini", 48, 0.5)
    other = with_recipe("digits", 8, {"data": "digits", "out": "x", "model": "vig-ti"})
    assert (other["channels"], other["stride"]) == (None, None)
    unknown = with_recipe("photos", 224, {"data": "photos", "out": "x"})
    assert (unknown["model"], unknown["augment"]) == ("vig-ti", "none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], ["DATA"]),
        (["train", "digit"], ["'digit'", "did you mean 'digits'"]),
        (["train", "digits", "--stages", "40"], ["40", "layers"]),
        (["train", "digits", "--k", "50"], ["--k 50", "16"]),
        (["train", "digits", "--micro-batches", "70"], ["--micro-batches"]),
        (["train", "digits", "--micro-batches", "30"], ["one image", "--norm group"]),
        (["train", "digits", "--augment", "flop"], ["--augment", "flop"]),
        (["train", "digits", "--model", "pvig-ti"], ["--image-size 8", "32"]),
        (["train", "digits", "--model", "vig"], ["--model", "vig-ti"]),
        (["train", "digits", "--image-size", "9"], ["8 x 8", "--image-size 9"]),
        (["train", "digits", "--workers", "1", "--scheduler", "tcp://a:1"], ["--work"]),
        (["train", "--resume", "x", "--lr", "1"], ["--lr", "--resume DIR"]),
        (["train", "--resume", "x"], ["run.json"]),
        (["evaluate", "x"], ["run.json"]),
        (["evaluate", "x", "--split", "all"], ["train", "val", "test"]),
        (["nothing"], ["nothing"]),
    ],
)
def test_bad_input_gets_one_line(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    result = CliRunner().invoke(gnn, ["vision", *words], prog_name="daskgnn")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("daskgnn: ")
    assert result.stderr.count("\n") == 1
    for word in said:
        assert word in result.stderr
    assert not list(tmp_path.glob("runs/*/*"))


def test_the_commands_train_resume_and_evaluate(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "vision train digits --workers 0 --channels 8 --depth 2 --batch-size 128"
    words += " --micro-batches 2 --drop-path 0.3 --dropout 0.2 --epochs 2 --stages 2"
    words += " --schedule gpipe --filename log.csv"
    result = CliRunner().invoke(gnn, words.split(), prog_name="daskgnn")
    assert result.exit_code == 0, result.output
    for word in ("epoch 2/2", "test accuracy", "runs/digits/summary.json"):
        assert word in result.output
    made = json.loads((tmp_path / "runs" / "digits" / "summary.json").read_text())
    assert made["params_sha256"] == whole[2]["params_sha256"]
    assert (tmp_path / "log.csv").exists()
    again = CliRunner().invoke(gnn, ["vision", "evaluate", "runs/digits"])
    assert json.loads(again.output)["accuracy"] == made["test_accuracy"]
    resumed = ["vision", "train", "--resume", "runs/digits", "--workers", "0"]
    done = CliRunner().invoke(gnn, resumed, prog_name="daskgnn")
    assert done.exit_code == 0, done.output
    assert "which are done" in done.output
