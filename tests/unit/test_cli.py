"""The command line: what it runs, prints and refuses, in this process."""

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import torch
import zarr
from click.testing import CliRunner, Result
from training import planted_graph, stored

import daskgnn
from daskgnn.cli import gnn
from daskgnn.cli.data import table
from daskgnn.cli.errors import explain
from daskgnn.cli.options import IntList
from daskgnn.cli.progress import LineProgress, TerminalProgress, make_progress
from daskgnn.cli.report import free_directory
from daskgnn.errors import DatasetError, TrainingError
from daskgnn.train import run
from daskgnn.train.persist.signals import Terminated


def call(*args: str) -> Result:
    return CliRunner().invoke(gnn, list(args), prog_name="daskgnn")


def assert_one_line(result: Result, status: int, *words: str) -> None:
    assert result.exit_code == status, result.output
    assert result.stderr.startswith("daskgnn: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


class Ending:
    """Stands for training: begins, and ends with an error after a step."""

    error: BaseException

    def __call__(self, config: dict, *, progress: Any, **_: Any) -> dict:
        progress.started(
            {"total_steps": 2, "first_step": 0, "epochs": 1, "out": config["out"]}
            | {"dashboard": None}
        )
        progress.step({"step": 1, "epoch": 1, "loss": 1.0, "seconds": 0.1})
        raise self.error


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, here: Path) -> Ending:
    stand_in = Ending()
    monkeypatch.setattr(run, "train", stand_in)
    return stand_in


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make an empty folder the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return stored(planted_graph(120), tmp_path_factory.mktemp("graph") / "g.zarr")


def test_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    for name in ("datasets", "partition", "info", "train", "evaluate", "predict"):
        assert name in result.output
        assert call(name, "--help").exit_code == 0


def test_the_group_is_called_gnn_under_dask() -> None:
    assert isinstance(gnn, click.Group)
    assert gnn.name == "gnn"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nothing"], ["nothing"]),
        (["--nothing"], ["--nothing"]),
        (["train"], ["GRAPH", "daskgnn train --help"]),
        (["train", "digits", "--batch-size", "0"], ["--batch-size", "0"]),
        (["train", "digits", "--num-neighbors", "15,x"], ["15,x", "15,10"]),
        (["train", "digits", "--dropout", "1.0"], ["--dropout"]),
        (["train", "digits", "--lr", "x"], ["--lr", "'x' is not a number"]),
        (["train", "digits", "--model", "mlp"], ["sage", "gcn", "gat"]),
        (
            ["train", "digits", "--workers", "2", "--scheduler", "tcp://a:1"],
            ["--workers 2", "tcp://a:1"],
        ),
        (["train", "--resume", "a", "--lr", "0.1"], ["--lr", "--resume DIR"]),
        (["train", "digits", "--resume", "a"], ["graph", "--resume DIR"]),
        (["train", "--resume", "a", "--no-recipe"], ["--recipe"]),
        (["predict", "a"], ["--out"]),
        (["generate", "planted", "a"], ["--num-nodes"]),
        (["predict", "a", "--out", "x.csv"], ["x.csv", ".zarr", ".parquet"]),
        (["evaluate", "a", "--split", "all"], ["train", "val", "test"]),
        (["partition", "digits"], ["OUT"]),
    ],
)
def test_wrong_words_get_one_line_and_status_2(
    here: Path, args: list[str], words: list[str]
) -> None:
    assert_one_line(call(*args), 2, *words)
    assert not list(here.iterdir())


def test_dask_runs_the_same_group(capfd: pytest.CaptureFixture[str]) -> None:
    outer = click.Group("dask")
    outer.add_command(gnn)
    with pytest.raises(SystemExit) as stop:
        outer.main(["gnn", "train", "digits", "--lr", "x"], prog_name="dask")
    assert stop.value.code == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "dask gnn train --help" in error


def test_an_existing_store_is_kept(tmp_path: Path) -> None:
    assert_one_line(call("partition", "karate", str(tmp_path)), 2, "--force")


SHELL = (
    "--num-parts 3 --workers 0 --num-neighbors 4,-1 --lr 0.1 --hidden-channels 8 "
    "--batch-size 20 --epochs 2 --dropout 0.3 --normalize-features --seed 5"
)
PYTHON = {"num_neighbors": [4, -1], "lr": 0.1, "batch_size": 20}
PYTHON |= {"normalize_features": True, "seed": 5}


@pytest.fixture(scope="module")
def finished(
    store: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    """Return the directory of a run from the shell, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "a"
    result = call("train", store, *SHELL.split(), "--out", str(out))
    assert result.exit_code == 0, result.output
    return out, result


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def test_the_shell_trains_what_python_trains(
    store: str, finished: tuple[Path, Result]
) -> None:
    out, result = finished
    graph = daskgnn.open_graph(store, num_parts=3)
    torch.manual_seed(5)
    model = daskgnn.nn.GraphSAGE(12, 8, 4, num_layers=2, dropout=0.3)
    trainer = daskgnn.Trainer(model, graph, client=None, **PYTHON)
    trainer.fit(2)
    summary = summary_of(out)
    assert summary["params_sha256"] == trainer.params_sha256
    accuracy = trainer.evaluate("test")["accuracy"]
    assert summary["test_accuracy"] == accuracy
    for word in (f"{accuracy:.4f}", "metrics.jsonl", "checkpoints", "curves.png"):
        assert word in result.stdout
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "profile.json").exists()


def test_train_finds_a_new_directory(ending: Ending, here: Path) -> None:
    ending.error = KeyboardInterrupt()
    assert "--resume runs/digits\n" in call("train", "digits").stderr
    (here / "runs" / "digits").mkdir(parents=True)
    assert "--resume runs/digits-2\n" in call("train", "digits").stderr
    assert free_directory("data/cora.zarr").name == "cora"


def test_resume_needs_nothing_else(
    finished: tuple[Path, Result],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DASKGNN_DATA_DIR", "/somewhere")
    out = shutil.copytree(finished[0], tmp_path / "a")
    settings = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**settings, "epochs": 3}))
    result = call("train", "--resume", str(out), "--workers", "0", "--profile")
    assert result.exit_code == 0, result.output
    assert summary_of(out)["epochs"] == 3
    assert "forward" in result.stdout
    assert (out / "profile.json").exists()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DatasetError("unknown data set 'x'"), 2, ["unknown data set 'x'"]),
        (FileNotFoundError(2, "No such file", "x.npz"), 2, ["x.npz: No such file"]),
        (TrainingError("step 3:\n lost"), 1, ["step 3: lost"]),
        (OSError(28, "No space left"), 1, ["No space left", "--debug"]),
        (ZeroDivisionError("a\nb"), 1, ["ZeroDivisionError: a (--debug"]),
        (KeyboardInterrupt(), 130, ["daskgnn train --resume a"]),
        (Terminated(), 143, ["terminated", "daskgnn train --resume a"]),
    ],
)
def test_errors_of_a_run_get_one_line(
    ending: Ending, error: BaseException, status: int, words: list[str]
) -> None:
    ending.error = error
    assert_one_line(call("train", "digits", "--out", "a"), status, *words)


def test_debug_shows_where(ending: Ending) -> None:
    ending.error = DatasetError("damaged")
    for args in (["--debug", "train", "digits"], ["train", "digits", "--debug"]):
        result = call(*args)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr
        assert result.stderr.endswith("daskgnn: damaged\n")


def test_evaluate_prints_one_json_object(
    finished: tuple[Path, Result], here: Path
) -> None:
    out, _ = finished
    scores = json.loads(call("evaluate", str(out), "--workers", "0").stdout)
    assert scores["split"] == "test"
    assert scores["accuracy"] == summary_of(out)["test_accuracy"]
    words = ("--out", "x.zarr", "--workers", "0")
    assert call("predict", str(out), *words).stdout == "x.zarr\n"
    assert zarr.open_array(here / "x.zarr", mode="r").shape == (120, 4)


def test_lists_of_numbers() -> None:
    assert IntList()("15, -1") == [15, -1]
    assert IntList()([1, 2]) == [1, 2]


def test_every_click_error_is_bad_input() -> None:
    assert explain(click.FileError("x", hint="gone")).exit_code == 2


def test_tables_align_numbers_to_the_right() -> None:
    rows = [{"name": "a", "num_nodes": "1,000"}, {"name": "bcdef", "num_nodes": "2"}]
    assert table(rows).splitlines() == [
        "name   num nodes",
        "a          1,000",
        "bcdef          2",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def drive(progress: LineProgress | TerminalProgress) -> None:
    progress.started(
        {"total_steps": 4, "first_step": 2, "epochs": 2, "dashboard": None}
    )
    progress.event({"event": "resume", "step": 2})
    for step in (2, 3):
        progress.step({"step": step, "epoch": 1, "loss": 0.5})
    progress.event({"event": "checkpoint", "step": 4})
    progress.epoch({"epoch": 1, "loss": 0.5, "val_accuracy": 0.75, "seconds": 1.5})
    progress.finished({})
    progress.close()


def test_a_pipe_gets_lines() -> None:
    stream = io.StringIO()
    drive(make_progress(stream))  # type: ignore[arg-type]
    assert stream.getvalue().splitlines() == [
        "2 epochs, 4 steps from step 2",
        "resume: step=2",
        "epoch 2/2 loss 0.5000 val_accuracy 0.7500 1.50 s",
    ]


def test_long_epochs_show_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("daskgnn.cli.progress.time.monotonic", clock)
    stream = io.StringIO()
    progress = LineProgress(stream)
    for step in range(30):
        clock.now += 1.0
        progress.step({"step": step, "loss": 0.5})
    assert [line.split("/")[0] for line in stream.getvalue().splitlines()] == [
        "step 10",
        "step 20",
        "step 30",
    ]


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    drive(make_progress(stream))
    text = stream.getvalue()
    assert "\r" in text
    assert "100%" in text
    assert "epoch 2/2" in text
    assert "val_accuracy=0.7500" in text
    assert "resume: step=2" in text
