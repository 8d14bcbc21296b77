"""Runs listed, reported and compared; completion, colours, and names nearly right."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import daskgnn
from daskgnn.cli import gnn
from daskgnn.train.run import train

ROOT = Path(__file__).parents[2]


def call(*args):
    return CliRunner().invoke(gnn, list(args), prog_name="daskgnn")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two runs: one is done, one was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    given = {"graph": "karate", "workers": 0, "epochs": 2}
    train({**given, "out": str(folder / "first")}, profile=True)
    train({**given, "out": str(folder / "second"), "seed": 1})
    with (folder / "second" / "metrics.jsonl").open("a") as file:
        file.write('{"event": "stopped", "signal": "SIGINT", "step": 2}\n')
    (folder / "second" / "summary.json").unlink()
    return folder


def test_runs_are_listed(runs):
    result = call("runs", str(runs))
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.output.splitlines()[1:]}
    assert rows["first"][1:5] == ["karate", "sage", "done", "2"]
    assert rows["second"][1:5] == ["karate", "sage", "stopped", "2"]


def test_no_run_is_told(tmp_path):
    result = call("runs", str(tmp_path))
    assert result.exit_code == 0
    assert "no run in" in result.output


class Links(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found, self.headings = [], []
        self._heading = False

    def handle_starttag(self, tag, attributes):
        names = {"src", "href"}
        self.found += [value for name, value in attributes if name in names]
        self._heading = tag == "h2"

    def handle_data(self, data):
        if self._heading:
            self.headings.append(data)
            self._heading = False


def test_a_report_is_one_page_with_all_in_it(runs):
    result = call("report", str(runs / "first"))
    assert result.exit_code == 0, result.output
    page = Links()
    page.feed((runs / "first" / "report.html").read_text())
    assert page.headings == [
        *("Result", "Curves", "Where a step's time goes", "Partition"),
        *("Events", "Settings", "Environment"),
    ]
    assert len(page.found) == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.found)


def test_a_report_of_a_run_that_has_not_ended(runs):
    assert call("report", str(runs / "second")).exit_code == 0
    text = (runs / "second" / "report.html").read_text()
    assert "The run has not ended" in text
    assert "signal=SIGINT" in text


def test_runs_are_drawn_together(runs, tmp_path):
    out = tmp_path / "both.png"
    result = call("plot", str(runs / "first"), str(runs / "second"), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("command", ["report", "plot"])
def test_what_is_no_run_is_refused_in_one_line(command, tmp_path):
    result = call(command, str(tmp_path))
    assert result.exit_code == 2
    assert re.match(r"daskgnn: .*holds no metrics.jsonl.*\n$", result.stderr)


# -- the shell

COMPLETE = "from daskgnn.cli import main; main()"


def completed(words, shell="bash"):
    """Return what a shell is offered for words, the last of which is incomplete."""
    line = "daskgnn " + " ".join(words)
    variables = {"_DASKGNN_COMPLETE": f"{shell}_complete", "COMP_WORDS": line}
    variables["COMP_CWORD"] = words[-1] if shell == "fish" else str(len(words))
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


def test_shells_complete_commands_options_and_choices():
    assert completed(["tr"]) == ["plain,train"]
    assert completed(["train", "--log-f"]) == ["plain,--log-format"]
    offered = completed(["train", "--log-format", ""])
    assert offered == ["plain,text", "plain,json"]
    assert completed(["tr"], "fish")[0].startswith("plain,train")
    assert completed(["tr"], "zsh")[:2] == ["plain", "train"]


SHELLS = {
    "bash": """eval "$(_DASKGNN_COMPLETE=bash_source daskgnn)"
        COMP_WORDS=(daskgnn tr) COMP_CWORD=1; _daskgnn_completion daskgnn
        echo "${COMPREPLY[@]}"; complete -p daskgnn""",
    # _describe is what shows them, and works in a terminal alone.
    "zsh": """autoload -Uz compinit; compinit -u
        eval "$(_DASKGNN_COMPLETE=zsh_source daskgnn)"
        _describe() { print -l -- ${(P)3} }; words=(daskgnn tr); CURRENT=2
        _daskgnn_completion; echo $_comps[daskgnn]""",
    "fish": """_DASKGNN_COMPLETE=fish_source daskgnn | source
        complete -C "daskgnn tr"; complete -C "daskgnn train --log-f" """,
}
"""What each shell runs: the line of its configuration, then "daskgnn tr" and a tab."""


@pytest.mark.parametrize("shell", SHELLS)
def test_real_shells_complete(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}: apt-get install {shell}")
    program = tmp_path / "daskgnn"
    program.write_text(f"#!{sys.executable}\n{COMPLETE}\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", SHELLS[shell]],
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert re.split(r"[:\t]", first)[0] == "train"
    assert "_daskgnn_completion" in second or "--log-format" in second


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--epoch", "--epochs"),
        ("--batchsize", "--batch-size"),
        ("--metric-port", "--metrics-port"),
        ("--logformat", "--log-format"),
    ],
)
def test_a_wrong_option_is_told_the_nearest(wrong, right):
    result = call("train", "karate", wrong, "3")
    assert result.exit_code == 2
    assert right in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_wrong_command_is_told_the_nearest():
    result = call("trains")
    assert result.exit_code == 2
    assert "train" in result.stderr


def on_a_terminal(command, **variables):
    """Return what a command writes to a terminal."""
    import pty

    mine, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=os.environ | variables
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                chunk = os.read(mine, 65536)
            except OSError:  # the other end was closed
                break
            if not chunk:
                break
            said += chunk
    os.close(mine)
    return process.returncode, said.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals to open")
def test_neither_terminals_nor_pipes_get_colours(tmp_path):
    command = [sys.executable, "-m", "daskgnn", "train", "karate", "--workers", "0"]
    command += ["--epochs", "1", "--out", str(tmp_path / "run")]
    status, said = on_a_terminal(command, NO_COLOR="1", TERM="xterm-256color")
    assert status == 0, said
    assert "100%" in said  # a bar
    assert not re.search(r"\x1b\[[0-9;]*m", said)


# -- trackers


def test_tensorboard_reads_what_was_tracked(tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="no tensorboard: pip install 'daskgnn[tensorboard]'",
    )
    out = tmp_path / "run"
    summary = train(
        {"graph": "karate", "workers": 0, "epochs": 3, "out": str(out)}
        | {"track": ["tensorboard"]}
    )
    found = reading.EventAccumulator(str(out / "tensorboard"))
    found.Reload()
    history = daskgnn.History.read(out)
    losses = [event.value for event in found.Scalars("loss")]
    assert losses == pytest.approx([record["loss"] for record in history.steps])
    scores = [event.value for event in found.Scalars("epoch/val_accuracy")]
    assert scores == pytest.approx([r["val_accuracy"] for r in history.epochs])
    assert [event.step for event in found.Scalars("loss")][-1] == summary["steps"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow and what it needs
def test_mlflow_reads_what_was_tracked(tmp_path):
    mlflow = pytest.importorskip(
        "mlflow", reason="no mlflow: pip install 'daskgnn[mlflow]'"
    )
    place = tmp_path / "tracked"
    train(
        {"graph": "karate", "workers": 0, "epochs": 3, "out": str(tmp_path / "run")}
        | {"track": [f"mlflow:{place}"]}
    )
    client = mlflow.tracking.MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("daskgnn")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    losses = [m.value for m in client.get_metric_history(run.info.run_id, "loss")]
    history = daskgnn.History.read(tmp_path / "run")
    assert losses == pytest.approx([record["loss"] for record in history.steps])


@pytest.mark.slow
def test_wandb_writes_an_offline_run(tmp_path):
    pytest.importorskip("wandb", reason="no wandb: pip install 'daskgnn[wandb]'")
    place = tmp_path / "tracked"
    train(
        {"graph": "karate", "workers": 0, "epochs": 3, "out": str(tmp_path / "run")}
        | {"track": [f"wandb:{place}"]}
    )
    assert list(place.glob("wandb/offline-run-*/*.wandb"))
