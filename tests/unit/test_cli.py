"""The command line's own work, with fakes in place of training."""

import io
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from daskgnn.cli import gnn
from daskgnn.cli.data import table
from daskgnn.cli.errors import explain
from daskgnn.cli.options import IntList
from daskgnn.cli.progress import LineProgress, TerminalProgress, make_progress
from daskgnn.cli.report import free_directory
from daskgnn.cluster.tls import Encryption
from daskgnn.errors import DatasetError, TrainingError
from daskgnn.train.signals import Terminated


def call(*args: str) -> Result:
    return CliRunner().invoke(gnn, list(args), prog_name="daskgnn")


def assert_one_line(result: Result, status: int, *words: str) -> None:
    assert result.exit_code == status, result.output
    assert result.stderr.startswith("daskgnn: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


class FakeRun(types.ModuleType):
    """Stands for ``daskgnn.train.run``: keeps what it was told."""

    def __init__(self) -> None:
        super().__init__("daskgnn.train.run")
        self.told: dict[str, Any] = {}
        self.error: BaseException | None = None

    def train(self, config: dict, *, progress: Any, yes: bool, profile: bool) -> dict:
        self.told = config | {"yes": yes, "profile": profile}
        out = Path(config["out"])
        return self._work(out, progress)

    def resume(self, directory: str, *, progress: Any, **cluster: Any) -> dict:
        self.told = {"directory": directory, **cluster}
        return self._work(Path(directory), progress)

    def _work(self, out: Path, progress: Any) -> dict:
        (out / "checkpoints").mkdir(parents=True, exist_ok=True)
        progress.started(
            {"total_steps": 2, "first_step": 0, "epochs": 1, "out": str(out)}
            | {"dashboard": "http://localhost:8787/status"}
        )
        step = {"step": 1, "epoch": 1, "loss": 1.0, "seconds": 0.1}
        progress.step(step)
        if self.error is not None:
            raise self.error
        (out / "metrics.jsonl").write_text(json.dumps({"event": "step", **step}) + "\n")
        summary = {"test_accuracy": 0.98, "out": str(out)}
        progress.finished(summary)
        return summary

    def evaluate(self, directory: str, split: str, **rest: Any) -> dict:
        return {"run": directory, "split": split, "accuracy": 0.5}

    def predict(self, directory: str, out: str, **rest: Any) -> str:
        return out


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRun:
    import daskgnn.train

    module = FakeRun()
    monkeypatch.setitem(sys.modules, "daskgnn.train.run", module)
    monkeypatch.setattr(daskgnn.train, "run", module, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    return module


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
        (["predict", "a", "--out", "x.csv"], ["x.csv", ".zarr", ".parquet"]),
        (["evaluate", "a", "--split", "all"], ["train", "val", "test"]),
        (["partition", "digits"], ["OUT"]),
    ],
)
def test_wrong_words_get_one_line_and_status_2(
    fake: FakeRun, args: list[str], words: list[str]
) -> None:
    assert_one_line(call(*args), 2, *words)
    assert not fake.told


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


def test_train_hands_on_what_was_given(fake: FakeRun) -> None:
    result = call(
        *[
            "train",
            "cora",
            "--num-parts",
            "2",
            "--workers",
            "3",
            "--num-neighbors",
            "15,-1",
            "--lr",
            "0.1",
        ],
        *["--no-recipe", "--yes", "--normalize-features", "--out", "a"],
    )
    assert result.exit_code == 0, result.output
    told = {name: value for name, value in fake.told.items() if value is not None}
    assert told == {
        "graph": "cora",
        "num_parts": 2,
        "workers": 3,
        "num_neighbors": [15, -1],
        "lr": 0.1,
        "recipe": False,
        "yes": True,
        "profile": False,
        "normalize_features": True,
        "out": "a",
    }
    for word in ("0.9800", "metrics.jsonl", "checkpoints", "curves.png", "8787"):
        assert word in result.stdout
    assert Path("a/curves.png").exists()


def test_train_finds_a_new_directory(fake: FakeRun) -> None:
    for expected in ("runs/digits", "runs/digits-2"):
        assert call("train", "digits").exit_code == 0
        assert fake.told["out"] == expected
    assert free_directory("data/cora.zarr").name == "cora"


def test_resume_needs_nothing_else(
    fake: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKGNN_DATA_DIR", "/somewhere")
    assert call("train", "--resume", "a", "--workers", "2").exit_code == 0
    told = {"directory": "a", "workers": 2, "scheduler": None}
    told |= {"encryption": Encryption(), "memory_limit": None}
    assert fake.told == told | {"profile": False}
    assert call("train", "--resume", "a", "--workers", "2", "--profile").exit_code == 0
    assert fake.told == told | {"profile": True}


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
    fake: FakeRun, error: BaseException, status: int, words: list[str]
) -> None:
    fake.error = error
    assert_one_line(call("train", "digits", "--out", "a"), status, *words)


def test_debug_shows_where(fake: FakeRun) -> None:
    fake.error = DatasetError("damaged")
    for args in (["--debug", "train", "digits"], ["train", "digits", "--debug"]):
        result = call(*args)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr
        assert result.stderr.endswith("daskgnn: damaged\n")


def test_evaluate_prints_one_json_object(fake: FakeRun) -> None:
    result = call("evaluate", "a", "--split", "val")
    assert json.loads(result.stdout) == {"run": "a", "split": "val", "accuracy": 0.5}
    assert call("predict", "a", "--out", "x.zarr").stdout == "x.zarr\n"


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
